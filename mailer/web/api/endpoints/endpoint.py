"""One method of one path, and what keys may do."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from pydantic import BaseModel
from starlette.responses import Response

from mailer.models import Scope
from mailer.web.api.calls import Answer, Call

Handler = Callable[[Call], Awaitable[Answer | Response]]

SEND = frozenset({Scope.SEND_TRANSACTIONAL, Scope.SEND_PROMOTIONAL})
READ = frozenset({Scope.READ})
LOOK = SEND | READ
SUPPRESSIONS = frozenset({Scope.SUPPRESSIONS})
CAMPAIGNS = frozenset({Scope.CAMPAIGNS})
PEOPLE = frozenset({Scope.PEOPLE})
ADMIN = frozenset({Scope.ADMIN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one path."""

    method: str
    path: str
    #: A key with any of these may call it; `admin` may call everything.
    scopes: frozenset[Scope]
    handler: Handler
    #: What it answers, as JSON; several where the request decides.
    answers: tuple[type[BaseModel], ...]
    status: HTTPStatus = HTTPStatus.OK
    body: type[BaseModel] | None = None
    body_required: bool = True
    query: type[BaseModel] | None = None
    #: Takes an Idempotency-Key.
    once: bool = False
    #: Asks for the key in the transaction that writes (`Call.sender`), so that at the door a recent look will do.
    asks_key_again: bool = False
    #: The other types of body that it takes, of any length: the handler reads them from the wire.
    streamed: tuple[str, ...] = ()
    #: The other types in which it answers, of any length.
    files: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """Return what it does, in one sentence."""
        return (self.handler.__doc__ or "").strip().partition("\n")[0]

    @property
    def name(self) -> str:
        """Return what a generated client calls it."""
        return f"{self.handler.__module__.rpartition('.')[2]}_{getattr(self.handler, '__name__', '')}"
