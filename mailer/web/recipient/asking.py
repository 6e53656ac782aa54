"""What a recipient's request says: its token, and the little of its body that may mean anything."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NamedTuple, Protocol, TypeVar
from urllib.parse import parse_qs

from sqlalchemy.exc import DBAPIError
from sqlmodel import Session
from starlette.requests import Request

from mailer.database import Database, unreachable
from mailer.feedback.optouts import How, Kind
from mailer.feedback.tracking.hits import Hits
from mailer.feedback.tracking.networks import NetworkFile
from mailer.inbox import Store
from mailer.links import Links
from mailer.settings import Settings
from mailer.submission import Intake
from mailer.web.clients import client_of
from mailer.web.drain import drain
from suppression.rules import Stream

_KEPT = 8 * 1024
_DRAINED = 16 * 1024 * 1024
_PATIENCE = 20.0
_TRIES = 3
_MANY_FIELDS = 500
_FORM = "application/x-www-form-urlencoded"
T = TypeVar("T")


class Service(Protocol):
    """What the pages need of the running service."""

    @property
    def settings(self) -> Settings:
        """Return what the operator decided."""

    @property
    def database(self) -> Database:
        """Return where emails wait."""

    @property
    def links(self) -> Links:
        """Return what reads and makes the tokens."""

    @property
    def intake(self) -> Intake:
        """Return what accepting a mail needs."""

    @property
    def store(self) -> Store:
        """Return the mails that were captured, which know people too."""

    @property
    def hits(self) -> Hits:
        """Return where loaded pictures and clicks wait to be written."""

    @property
    def networks(self) -> NetworkFile:
        """Return which networks say who is behind a request."""

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""

    def ring(self, stream: Stream) -> None:
        """Say that a stream has mail; called after the commit."""

    def view(self, email_id: str) -> Awaitable[str | None]:
        """Return the HTML of a mail without its pixel, None where it cannot be shown (any more)."""


class Form(NamedTuple):
    """The fields of a form of ours; empty for whatever else was posted."""

    fields: dict[str, list[str]]

    def one(self, name: str) -> str:
        """Return a field, empty where it is missing."""
        return self.fields.get(name, [""])[0]

    def many(self, name: str) -> frozenset[str]:
        """Return every value of a field."""
        return frozenset(self.fields.get(name, []))


def token_of(request: Request) -> str:
    """Return the token of a link; a slash that some program put behind it is no part of it."""
    return str(request.path_params["token"]).rstrip("/")


async def read_form(request: Request) -> Form:
    """Read the body whatever it is, and return its fields where it can be a form of ours.

    One-click bodies come as multipart, urlencoded, empty and broken (RFC 8058 section 8.3 is itself malformed): none of
    them may fail here, so only a small urlencoded body is looked at.
    """
    body = await drain(request.stream(), keep=_KEPT, limit=_DRAINED, patience=_PATIENCE)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM or not body.whole:
        return Form({})
    try:
        return Form(parse_qs(body.kept.decode("utf-8", "replace"), max_num_fields=_MANY_FIELDS))
    except ValueError:
        return Form({})


def how(request: Request, kind: Kind, settings: Settings) -> How:
    """Return by which way and from where a request came."""
    return How(kind, client_of(request, settings) or None)


async def committed(database: Database, verb: Callable[[Session], T]) -> T:
    """Run a verb, commit it and return what it says; one that met a deadlock is simply tried again."""
    for left in reversed(range(_TRIES)):
        try:
            return await database.run(verb, urgency=0, conclusive=True)
        except Exception as error:
            if not (left and (isinstance(error, DBAPIError) or unreachable(error))):
                raise
    raise AssertionError("the last try returns or raises")
