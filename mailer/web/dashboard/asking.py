"""A request of somebody who is signed in: who, for which tenant, what was typed, and how to answer."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qs, urlencode

from sqlmodel import Session
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

from mailer import audit
from mailer.audit import Act, Actor, Via
from mailer.errors import NotFound, Problem
from mailer.models import Tenant
from mailer.service import Service
from mailer.users import permissions
from mailer.users.permissions import May
from mailer.users.signing import Seat, Visit
from mailer.web.clients import client_of
from mailer.web.dashboard import cookies
from mailer.web.dashboard.figures import Figures
from mailer.web.dashboard.menu import shown_to
from mailer.web.dashboard.pages import Pages
from mailer.web.dashboard.telling import Teller
from mailer.web.drain import drain
from mailer.web.multipart import Part, Reader
from mailer.web.problems import Malformed, TooLarge
from mailer.web.recipient.asking import Form
from mailer.web.voices import Voice
from suppression.rules import Ender

T = TypeVar("T")
Handler = Callable[["Asked"], Awaitable[Response]]
#: How much a form may hold, unless its screen says more.
FORM = 64 * 1024
#: In the query of a page that asks for itself again: nobody clicked, so nobody is known to be there.
UNATTENDED = "unattended"
_DRAINED = 64 * 1024 * 1024
_PATIENCE = 60.0
_MANY_FIELDS = 2000


class Screen(NamedTuple):
    """A path below a tenant, `/keys/{id}`: who may see it, what shows it, what a POST does.

    Where `act` raises `Invalid`, `show` shows the form again with what was typed and what is wrong with it.
    """

    path: str
    #: To see it.
    may: May
    show: Handler
    act: Handler | None = None
    #: To post; None: whoever may see it.
    may_act: May | None = None
    #: How many octets a form of it may have.
    most: int = FORM
    #: Its form carries a file, of any length, behind all other fields: `asked.file`.
    takes_file: bool = False


class OwnScreen(NamedTuple):
    """A path of a user's own affairs, below `/app/account`: whoever is signed in may."""

    path: str
    show: Handler
    act: Handler | None = None


@dataclass(kw_only=True)
class Asked:
    """What a screen is asked, and by whom."""

    service: Service
    pages: Pages
    request: Request
    visit: Visit
    teller: Teller
    #: What each form must carry.
    csrf: str
    say: Voice
    #: The tenant of the path; None on a user's own pages.
    seat: Seat | None
    form: Form = field(default_factory=lambda: Form({}))
    #: What is in the file of a form that has one, as it arrives.
    file: AsyncIterator[bytes] | None = None
    #: What is wrong with what was typed.
    problems: Sequence[Problem] = ()

    @cached_property
    def told(self) -> Mapping[str, object]:
        """Return what the act before this page left for it, this once; nothing for every other request."""
        cookie = cookies.token_of(self.request, cookies.TOLD)
        if not cookie or self.request.method != "GET":
            return {}
        here = self.request.url.path.removeprefix(self._root)
        return self.teller.opened(cookie, self.visit.sign_in.id, here)

    @property
    def figures(self) -> Figures:
        """Return what writes numbers and times in the language of the page."""
        return Figures(self.say.language)

    @property
    def now(self) -> datetime:
        """Return the present moment."""
        return self.service.now()

    @property
    def tenant(self) -> Tenant:
        """Return the tenant that the path names; raises `NotFound` on a user's own pages."""
        if self.seat is None:
            raise NotFound("this page belongs to no tenant")
        return self.seat.tenant

    @property
    def tenant_id(self) -> int:
        """Return the number of the tenant."""
        return 0 if self.seat is None else self.seat.tenant_id

    @property
    def actor(self) -> Actor:
        """Return whom the audit log names."""
        return Actor(Via.DASHBOARD, self.visit.user.id, client_of(self.request, self.service.settings))

    @property
    def operator(self) -> str:
        """Return who ends an entry here, as `entries.lift` names them: by id, and `whom.operators` says the name."""
        return f"{Ender.OPERATOR}:{self.visit.user.id}"

    def may(self, permission: May) -> bool:
        """Return whether the user has a permission at the tenant."""
        return self.seat is not None and permissions.may(self.seat.role, permission)

    def param(self, name: str) -> str:
        """Return a part of the path."""
        return str(self.request.path_params[name])

    def query(self, name: str, most: int = 200) -> str:
        """Return a value of the query, stripped and cut; empty where it is missing."""
        return self.request.query_params.get(name, "").strip()[:most]

    def at(self, path: str, **query: str) -> str:
        """Return the address of a screen of this tenant, or of an own page where there is none."""
        asked = {name: value for name, value in query.items() if value}
        return self._root + self._below(path) + (f"?{urlencode(asked)}" if asked else "")

    def _below(self, path: str) -> str:
        tenant = f"/t/{self.seat.tenant.key}" if self.seat is not None else ""
        return f"/app{tenant}{path}"

    def link(self, token: str) -> str:
        """Return a one-time link by which a user sets a password, to be handed over."""
        url = self.service.settings.public_url.rstrip("/") or str(self.request.base_url).rstrip("/")
        return f"{url}/app/password/{token}"

    @property
    def _root(self) -> str:
        return str(self.request.scope.get("root_path", ""))

    async def read(self, verb: Callable[[Session], T]) -> T:
        """Run a verb that only reads."""
        return await self.service.database.read(verb)

    async def run(self, verb: Callable[[Session], T], *, conclusive: bool = False) -> T:
        """Run a verb in a transaction of its own, and commit it; what stops mail is `conclusive`."""
        return await self.service.database.run(verb, urgency=0, conclusive=conclusive)

    def log(self, session: Session, act: Act, target: str = "", **data: object) -> None:
        """Write into the audit log, in the transaction of the act, what this user does to the tenant's affairs."""
        tenant_id = self.seat.tenant_id if self.seat is not None else None
        audit.write(session, self.actor, act, self.now, tenant_id=tenant_id, target=target, data=data)

    def page(self, template: str, values: Mapping[str, object] | None = None, *, status: int = 200) -> Response:
        """Return a page in the frame of the dashboard; with problems it is a 422.

        `called` among the values is field -> key of words, where a form calls a field by other words than `field_…`.
        """
        shared: dict[str, object] = {
            "at": self.at,
            "may": lambda name: self.may(May(name)),
            "csrf": self.csrf,
            "user": self.visit.user,
            "seat": self.seat,
            "seats": self.visit.seats,
            "menu": shown_to(self.seat.role) if self.seat is not None else (),
            "form": self.form,
            "problems": {problem.path: problem.message for problem in reversed(self.problems)},
            "called": {},
        }
        return self.pages.page(
            self.request, self.say, template, {**shared, **(values or {})}, status=422 if self.problems else status
        )

    def to(self, path: str, *, done: str = "", **query: str) -> Response:
        """Lead to a screen after an act; `done` is the key of the sentence that says what was done: `done_…`."""
        return RedirectResponse(self.at(path, done=done, **query), 303)

    def tell(self, path: str, what: Mapping[str, object], **query: str) -> Response:
        """Lead to a screen that shows, this once (`asked.told`), what an act left for it and no address may hold."""
        response = self.to(path, **query)
        sealed = self.teller.sealed(what, self.visit.sign_in.id, self._below(path))
        cookies.put(response, self.request, self.service.settings, cookies.TOLD, sealed)
        return response


async def read_upload(request: Request, pieces: AsyncIterator[bytes]) -> tuple[Form, AsyncIterator[bytes]]:
    """Return the fields before the file of a form, and the file, which is read from the wire as it is asked for."""
    arriving = _parts(Reader(request.headers.get("content-type", "")), pieces)
    fields: dict[str, list[bytearray]] = {}
    name, size, parts = "", 0, 0
    async for each in arriving:
        if isinstance(each, Part):
            if each.filename is not None:
                break
            name = each.name
            parts, size = parts + 1, size + len(name)
            if parts > _MANY_FIELDS or size > FORM:
                raise TooLarge(f"the form has more than {_MANY_FIELDS} fields or {FORM // 1024} KB without its file")
            fields.setdefault(name, []).append(bytearray())
        else:
            size += len(each)
            if size > FORM:
                raise TooLarge(f"the form is larger than {FORM // 1024} KB without its file")
            fields[name][-1] += each
    told = {name: [value.decode("utf-8", "replace") for value in values] for name, values in fields.items()}
    return Form(told), _content(arriving)


async def _parts(reader: Reader, pieces: AsyncIterator[bytes]) -> AsyncIterator[Part | bytes]:
    try:
        async for piece in pieces:
            for each in reader.feed(piece):
                yield each
    except ClientDisconnect:
        raise Malformed("the upload was cut off: what came is kept, send all of it again") from None
    reader.close()


async def _content(arriving: AsyncIterator[Part | bytes]) -> AsyncIterator[bytes]:
    """Return the octets of the part that was named last; what follows it is only taken from the wire."""
    own = True
    async for each in arriving:
        if isinstance(each, Part):
            own = False
        elif own:
            yield each


async def read_form(request: Request, most: int = FORM) -> Form:
    """Return the fields of a form; raises `TooLarge` where there is more than it may have."""
    body = await drain(request.stream(), keep=most, limit=_DRAINED, patience=_PATIENCE)
    if not body.whole:
        raise TooLarge(f"the form is larger than {most // 1024} KB")
    try:
        return Form(parse_qs(body.kept.decode("utf-8", "replace"), max_num_fields=_MANY_FIELDS))
    except ValueError:
        return Form({})
