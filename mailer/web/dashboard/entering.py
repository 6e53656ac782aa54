"""The door: sign in, show the second factor, set a password by a link, leave."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from mailer import audit
from mailer.audit import Act, Actor, Via
from mailer.models import LinkKind, User
from mailer.sealing import Seals
from mailer.users import accounts, factors, knocking, passwords, signing
from mailer.users.knocking import Door
from mailer.users.signing import Browser, Opened, Visit
from mailer.web.clients import client_of
from mailer.web.dashboard import cookies
from mailer.web.dashboard.gate import Gate, checked
from mailer.web.recipient.asking import Form

#: Each verification takes 64 MiB and a processor: more at once would only make all of them slow.
_AT_ONCE = asyncio.Semaphore(2)


async def hashed(plain: str) -> str:
    """Return what is kept of a password, worked out beside the event loop."""
    async with _AT_ONCE:
        return await asyncio.to_thread(passwords.hashed, plain)


async def is_password(kept: str | None, plain: str) -> bool:
    """Return whether a password is the kept one, worked out beside the event loop."""
    async with _AT_ONCE:
        return await asyncio.to_thread(passwords.matches, kept, plain)


@dataclass(frozen=True, kw_only=True)
class Entrance:
    """The pages for whoever is not signed in yet."""

    gate: Gate
    seals: Seals

    def routes(self) -> list[Route]:
        """Return the routes at the door; everybody may ask them."""
        route = self.gate.route
        return [
            route("/app", self.front, posts=False),
            route("/app/style.css", self.style, posts=False),
            route("/app/sign-in", self.sign_in, posts=True),
            route("/app/code", self.code, posts=True),
            route("/app/password/{token}", self.password, posts=True),
            route("/app/enter/{token}", self.enter, posts=True),
            route("/app/sign-out", self.sign_out, posts=True),
        ]

    async def front(self, request: Request) -> Response:
        """Lead to the first tenant of whoever is signed in, else to the door."""
        visit = await self.gate.visit(request)
        if visit is None:
            return self._to(request, "/sign-in")
        key = next(iter(visit.seats), None)
        return self._to(request, "/account" if key is None else f"/t/{key}")

    async def style(self, _request: Request) -> Response:
        """Return the style sheet."""
        return self.gate.pages.style()

    async def sign_in(self, request: Request) -> Response:
        """Show the form, or let in whoever knows an address and its password."""
        if request.method == "GET":
            return self._form(request, "sign-in.html", {"next": _within(request.query_params.get("next", ""))})
        form = await checked(request, cookies.AT_THE_DOOR)
        email, plain = form.one("email").strip(), form.one("password")
        doors = [knocking.account(email), knocking.network(self._browser(request).client)]
        waits = await self._knock(doors)
        if waits:
            return self._refused(request, form, "sign_in_wait", waits)
        user = await self.gate.service.database.read(lambda session: accounts.named(session, email))
        kept = user.password if user is not None and user.disabled_at is None else None
        if not await is_password(kept, plain) or user is None:
            # Written down for nobody's account too, so that the answer takes as long.
            await self._log(request, user, Act.SIGN_IN_FAILED)
            return self._refused(request, form, "sign_in_wrong")
        fresh = await hashed(plain) if kept is not None and passwords.is_dated(kept) else None
        opened = await self._let_in(request, user, doors, fresh)
        going = _within(form.one("next")) or "/app"
        if not opened.sign_in.proven:
            return self._entered(request, opened, f"/app/code?next={going}")
        return self._entered(request, opened, going)

    async def code(self, request: Request) -> Response:
        """Ask for the second factor, and take each of its codes once."""
        pending = await self.gate.pending(request)
        if pending is None or pending.sign_in.proven:
            return self._to(request, "" if pending else "/sign-in")
        going = _within(request.query_params.get("next", ""))
        say = self.gate.voice(request, pending.user.locale)
        csrf = cookies.form_token(cookies.token_of(request, cookies.SIGNED_IN))
        shown: dict[str, object] = {"next": going, "csrf": csrf, "problem": "", "wait": ""}
        if request.method == "GET":
            return self.gate.pages.page(request, say, "code.html", shown)
        form = await checked(request, cookies.SIGNED_IN)
        shown["next"] = going = _within(form.one("next"))
        door = knocking.second(pending.user.id)
        if waits := await self._knock([door]):
            shown |= {"problem": "sign_in_wait", "wait": _minutes(waits)}
            return self.gate.pages.page(request, say, "code.html", shown, status=429)
        opened = await self._proven(request, pending, door, form.one("code"))
        if opened is None:
            shown["problem"] = "code_wrong"
            return self.gate.pages.page(request, say, "code.html", shown, status=403)
        return self._entered(request, opened, going or "/app")

    async def password(self, request: Request) -> Response:
        """Set a password by a one-time link; looking at the page uses nothing up."""
        token, now = str(request.path_params["token"]), self.gate.service.now()
        user = await self.gate.service.database.read(
            lambda session: accounts.linked(session, token, LinkKind.PASSWORD, now)
        )
        if user is None:
            return self._form(request, "link-gone.html", {}, status=404)
        shown: dict[str, object] = {"email": user.email, "problem": ""}
        if request.method == "GET":
            return self._form(request, "password.html", shown)
        form = await checked(request, cookies.AT_THE_DOOR)
        if problem := passwords.weakness(form.one("password"), user.email) or _unlike(form):
            return self._form(request, "password.html", {**shown, "problem": problem}, status=422)
        kept = await hashed(form.one("password"))

        def keep(session: Session) -> bool:
            owner = accounts.spend(session, token, LinkKind.PASSWORD, now)
            if owner is None:
                return False
            accounts.set_password(session, owner, kept)
            audit.write(session, self._actor(request, owner), Act.PASSWORD_CHANGED, now)
            return True

        if not await self.gate.service.database.run(keep, urgency=0):
            return self._form(request, "link-gone.html", {}, status=404)
        return self._to(request, "/sign-in?done=password_set")

    async def enter(self, request: Request) -> Response:
        """Sign in by the demo's one-time link; its page has one button, for looking must change nothing."""
        token, now, database = str(request.path_params["token"]), self.gate.service.now(), self.gate.service.database
        user = await database.read(lambda session: accounts.linked(session, token, LinkKind.ENTER, now))
        if user is None:
            return self._form(request, "link-gone.html", {}, status=404)
        if request.method == "GET":
            return self._form(request, "enter.html", {"email": user.email})
        await checked(request, cookies.AT_THE_DOOR)

        def let_in(session: Session) -> Opened | None:
            owner = accounts.spend(session, token, LinkKind.ENTER, now)
            if owner is None:
                return None
            audit.write(session, self._actor(request, owner), Act.SIGNED_IN, now)
            return signing.open_one(session, owner, self._browser(request), now, proven=owner.totp_at is None)

        opened = await database.run(let_in, urgency=0)
        if opened is None:
            return self._form(request, "link-gone.html", {}, status=404)
        return self._entered(request, opened, "/app" if opened.sign_in.proven else "/app/code")

    async def sign_out(self, request: Request) -> Response:
        """End this browser's sign-in; only a button of ours can."""
        visit = await self.gate.pending(request)
        if request.method == "POST" and visit is not None:
            await checked(request, cookies.SIGNED_IN)

            def leave(session: Session) -> None:
                signing.end(session, visit.sign_in.id)
                audit.write(session, self._actor(request, visit.user), Act.SIGNED_OUT, self.gate.service.now())

            await self.gate.service.database.run(leave, urgency=0)
        elif request.method == "GET":
            return self._to(request, "")
        response = self._to(request, "/sign-in?done=signed_out")
        cookies.drop(response, request, self.gate.service.settings, cookies.SIGNED_IN)
        return response

    async def _knock(self, doors: list[Door]) -> timedelta:
        now = self.gate.service.now()
        return await self.gate.service.database.run(lambda session: knocking.knock(session, doors, now), urgency=0)

    async def _let_in(self, request: Request, user: User, doors: list[Door], fresh: str | None) -> Opened:
        """Open a sign-in with a token of its own, whatever the browser had before (session fixation)."""
        now = self.gate.service.now()

        def verb(session: Session) -> Opened:
            owner = accounts.get(session, user.id)
            if fresh is not None:
                owner.password = fresh
                session.add(owner)
            proven = owner.totp_at is None
            knocking.let_in(session, doors[0], doors[1:])
            self._end_earlier(session, request)
            if proven:
                audit.write(session, self._actor(request, owner), Act.SIGNED_IN, now)
            return signing.open_one(session, owner, self._browser(request), now, proven=proven)

        return await self.gate.service.database.run(verb, urgency=0)

    async def _proven(self, request: Request, pending: Visit, door: Door, typed: str) -> Opened | None:
        """Take a code of the device or a recovery code, and open the sign-in that it was asked for."""
        now = self.gate.service.now()

        def verb(session: Session) -> Opened | None:
            owner = accounts.get(session, pending.user.id)
            actor = self._actor(request, owner)
            if not factors.proves(session, owner, self.seals, typed, now):
                if not factors.spend_code(session, owner, typed):
                    audit.write(session, actor, Act.SIGN_IN_FAILED, now, data={"second_factor": True})
                    return None
                audit.write(session, actor, Act.CODE_SPENT, now)
            knocking.let_in(session, door, ())
            self._end_earlier(session, request)
            audit.write(session, actor, Act.SIGNED_IN, now)
            return signing.open_one(session, owner, self._browser(request), now, proven=True)

        return await self.gate.service.database.run(verb, urgency=0)

    def _end_earlier(self, session: Session, request: Request) -> None:
        """End the sign-in that this browser had: its token would open doors that nobody closes any more."""
        earlier = signing.visit(session, cookies.token_of(request, cookies.SIGNED_IN), self.gate.service.now())
        if earlier is not None:
            signing.end(session, earlier.sign_in.id)

    async def _log(self, request: Request, user: User | None, act: Act) -> None:
        write = partial(audit.write, actor=self._actor(request, user), act=act, now=self.gate.service.now())
        await self.gate.service.database.run(write, urgency=0)

    def _actor(self, request: Request, user: User | None) -> Actor:
        return Actor(Via.DASHBOARD, user.id if user is not None else None, self._browser(request).client)

    def _browser(self, request: Request) -> Browser:
        return Browser(client_of(request, self.gate.service.settings), request.headers.get("user-agent", ""))

    def _refused(self, request: Request, form: Form, problem: str, waits: timedelta | None = None) -> Response:
        values = {"problem": problem, "email": form.one("email")[:320], "next": _within(form.one("next"))}
        shown = {**values, "wait": _minutes(waits) if waits else ""}
        return self._form(request, "sign-in.html", shown, status=429 if waits else 403)

    def _form(self, request: Request, template: str, values: Mapping[str, object], *, status: int = 200) -> Response:
        """Return a page for whoever is not signed in; its form belongs to a cookie of this browser."""
        cookie = cookies.token_of(request, cookies.AT_THE_DOOR) or cookies.fresh()
        shown = {"problem": "", "wait": "", "email": "", "csrf": cookies.form_token(cookie), **values}
        response = self.gate.pages.page(request, self.gate.voice(request), template, shown, status=status)
        cookies.put(response, request, self.gate.service.settings, cookies.AT_THE_DOOR, cookie)
        return response

    def _entered(self, request: Request, opened: Opened, path: str) -> Response:
        response = RedirectResponse(str(request.scope.get("root_path", "")) + path, 303)
        cookies.put(response, request, self.gate.service.settings, cookies.SIGNED_IN, opened.token)
        cookies.drop(response, request, self.gate.service.settings, cookies.AT_THE_DOOR)
        return response

    def _to(self, request: Request, path: str) -> Response:
        return RedirectResponse(f"{request.scope.get('root_path', '')}/app{path}", 303)


def _within(path: str) -> str:
    """Return a path where it is one of the dashboard's own, else nothing: no sign-in leads elsewhere."""
    plain = path.isascii() and path.isprintable() and "\\" not in path and ".." not in path and "//" not in path
    return path if plain and path.startswith("/app/t/") and "?" not in path else ""


def _unlike(form: Form) -> str | None:
    return None if form.one("password") == form.one("again") else "password_unlike"


def _minutes(length: timedelta) -> str:
    return str(max(1, -(-int(length.total_seconds()) // 60)))
