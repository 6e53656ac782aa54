"""Who is let in: the cookie of a sign-in, a membership, a permission, and the token of each form."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from mailer.errors import Forbidden, Invalid, NotFound, Problem
from mailer.service import Service
from mailer.users import signing
from mailer.users.signing import Seat, Visit
from mailer.web import problems
from mailer.web.api.uploads import arriving
from mailer.web.clients import is_same_origin
from mailer.web.dashboard import cookies
from mailer.web.dashboard.asking import FORM, UNATTENDED, Asked, Handler, OwnScreen, Screen, read_form, read_upload
from mailer.web.dashboard.pages import Pages
from mailer.web.dashboard.telling import Teller
from mailer.web.dashboard.words import voice
from mailer.web.recipient.asking import Form
from mailer.web.voices import Voice

logger = logging.getLogger(__name__)
Endpoint = Callable[[Request], Awaitable[Response]]


class Stale(Forbidden):
    """The form's token is not the one of this browser: it was opened before a sign-in, or by another site."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Stands before every screen."""

    service: Service
    pages: Pages
    teller: Teller

    def screen(self, screen: Screen) -> Route:
        """Return the route of a tenant's screen."""

        async def endpoint(request: Request) -> Response:
            visit = await self.visit(request)
            if visit is None:
                return self._to_the_door(request)
            asked = self._asked(request, visit, visit.seats.get(request.path_params["tenant"]))
            if asked.seat is None:
                # Whether there is such a tenant is not for those who do not belong to it.
                raise NotFound("there is nothing at this address")
            posted = request.method == "POST"
            if not asked.may((screen.may_act or screen.may) if posted else screen.may):
                raise Forbidden(f"the role {asked.seat.role} may not do this")
            if screen.takes_file and posted:
                return await self._take(asked, screen)
            return await self._answer(asked, screen.show, screen.act, screen.most)

        return self.route(f"/app/t/{{tenant}}{screen.path}", endpoint, posts=screen.act is not None)

    def own(self, screen: OwnScreen) -> Route:
        """Return the route of a user's own page."""

        async def endpoint(request: Request) -> Response:
            visit = await self.visit(request)
            if visit is None:
                return self._to_the_door(request)
            return await self._answer(self._asked(request, visit, None), screen.show, screen.act, FORM)

        return self.route(f"/app/account{screen.path}", endpoint, posts=screen.act is not None)

    def route(self, path: str, endpoint: Endpoint, *, posts: bool) -> Route:
        """Return a route whose failures are pages."""

        async def answer(request: Request) -> Response:
            try:
                return await endpoint(request)
            except Exception as error:  # noqa: BLE001 - whatever it is, a person reads a page
                return self._failed(request, error)

        return Route(path, answer, methods=["GET", "POST"] if posts else ["GET"])

    def nothing(self) -> Route:
        """Return the route of every other path, to stand behind all: a page that says so, in the user's language."""

        async def endpoint(request: Request) -> Response:
            await self.visit(request)
            raise NotFound("there is nothing at this address")

        return self.route("/app/{rest:path}", endpoint, posts=True)

    async def visit(self, request: Request) -> Visit | None:
        """Return who is signed in, with the second factor shown; None for everybody else."""
        visit = await self.pending(request)
        return visit if visit is not None and visit.sign_in.proven else None

    async def pending(self, request: Request) -> Visit | None:
        """Return who has signed in, the second factor still waited for or not."""
        token = cookies.token_of(request, cookies.SIGNED_IN)
        if not token:
            return None
        now, database = self.service.now(), self.service.database
        visit = await database.read(lambda session: signing.visit(session, token, now))
        # For a page that says what failed, wherever that was.
        request.state.locale = visit.user.locale if visit is not None else None
        attended = request.method == "POST" or UNATTENDED not in request.query_params
        if visit is not None and attended and now - visit.sign_in.seen_at >= signing.NOTICED:
            await database.run(lambda session: signing.notice(session, visit.sign_in.id, now))
        return visit

    def voice(self, request: Request, own: str | None = None) -> Voice:
        """Return the language of a page: the user's own, else the browser's."""
        return voice(own, request.headers.get("accept-language", ""))

    def _asked(self, request: Request, visit: Visit, seat: Seat | None) -> Asked:
        return Asked(
            service=self.service,
            pages=self.pages,
            request=request,
            visit=visit,
            teller=self.teller,
            csrf=cookies.form_token(cookies.token_of(request, cookies.SIGNED_IN)),
            say=self.voice(request, visit.user.locale),
            seat=seat,
        )

    async def _answer(self, asked: Asked, show: Handler, act: Handler | None, most: int) -> Response:
        if asked.request.method != "POST" or act is None:
            page = await show(asked)
            if asked.told:
                cookies.drop(page, asked.request, self.service.settings, cookies.TOLD)
            return page
        asked.form = await checked(asked.request, cookies.SIGNED_IN, most)
        try:
            return await act(asked)
        except Invalid as error:
            asked.problems = error.problems
            return await show(asked)

    async def _take(self, asked: Asked, screen: Screen) -> Response:
        """Hand a file to the screen that takes it, once the fields before it have shown whose form it is."""
        try:
            # Whatever is refused is taken from the wire first: else a browser does not read why.
            async with arriving(asked.request) as pieces:
                asked.form, asked.file = await read_upload(asked.request, pieces)
                check(asked.request, cookies.SIGNED_IN, asked.form)
                return await (screen.act or screen.show)(asked)
        except Invalid as error:
            asked.problems = error.problems
            return await screen.show(asked)

    def _to_the_door(self, request: Request) -> Response:
        root = request.scope.get("root_path", "")
        here = request.url.path.removeprefix(root)
        back = f"?next={quote(here)}" if request.method == "GET" else ""
        return RedirectResponse(f"{root}/app/sign-in{back}", 303)

    def _failed(self, request: Request, error: Exception) -> Response:
        status = problems.status_of(error)
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.error("a page of the dashboard failed", exc_info=error)
        elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.warning("a page of the dashboard met %s", type(error).__name__)
        kind = "stale" if isinstance(error, Stale) else str(status.value)
        say = self.voice(request, getattr(request.state, "locale", None))
        known = f"failed_{kind}_title" in say.words
        values = {"kind": kind if known else "500", "said": _said(error, status), "called": {}}
        return self.pages.page(request, say, "failed.html", values, status=status.value)


def _said(error: Exception, status: HTTPStatus) -> Sequence[Problem]:
    """Return what an error tells whoever asked; what is our fault says nothing of our insides."""
    if isinstance(error, Invalid):
        return error.problems
    return (Problem("", str(error)),) if status < HTTPStatus.INTERNAL_SERVER_ERROR else ()


async def checked(request: Request, cookie: str, most: int = FORM) -> Form:
    """Return a form that a page of ours in this very browser sent; raises `Stale` for every other."""
    form = await read_form(request, most)
    check(request, cookie, form)
    return form


def check(request: Request, cookie: str, form: Form) -> None:
    """Raise `Stale` where a form was not sent by a page of ours in this very browser."""
    if not is_same_origin(request) or not cookies.is_form_of(cookies.token_of(request, cookie), form.one("csrf")):
        raise Stale("this form is not of this browser's sign-in any more")
