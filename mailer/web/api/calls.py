"""One request of product code: who asks, what was sent, and how it is answered."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Protocol, TypeVar

import orjson
from pydantic import BaseModel
from sqlmodel import Session
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from mailer import drafts, tenancy
from mailer.database import Database
from mailer.errors import Forbidden, Unauthorized
from mailer.models import ApiKey, Scope
from mailer.settings import Settings
from mailer.submission import Intake, Submitter
from mailer.web.problems import Malformed, TooLarge
from suppression.rules import Stream

T = TypeVar("T")
B = TypeVar("B", bound=BaseModel)

#: The largest body that is read, and how much more is taken from the wire so that its sender reads our answer.
MOST_BODY = 25 * 1024 * 1024
MOST_DRAINED = 128 * 1024 * 1024
_PATIENCE = 300.0

#: Who goes first where SQLite has one writer.
URGENT, USUAL, BULK = 0, 1, 2


class Service(Protocol):
    """What the API needs of the process."""

    settings: Settings
    database: Database
    intake: Intake

    def ring(self, stream: Stream) -> None:
        """Say that a stream has mail."""

    @staticmethod
    def now() -> datetime:
        """Return the present moment."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler says: plain data and its status."""

    data: object
    status: HTTPStatus = HTTPStatus.OK

    @property
    def body(self) -> bytes:
        """Return the data as JSON; times are RFC 3339 in UTC."""
        return orjson.dumps(self.data, option=orjson.OPT_UTC_Z)

    def response(self) -> Response:
        """Return the answer as it goes out."""
        return Response(self.body, self.status.value, headers=NO_STORE, media_type="application/json")


#: Answers are about people: no cache on the way keeps them.
NO_STORE: Mapping[str, str] = {"Cache-Control": "no-store"}


@dataclass(slots=True)
class Call:
    """A request whose key is known and has the scope."""

    service: Service
    request: Request
    key: ApiKey
    now: datetime
    raw: bytes = field(default=b"")

    @property
    def tenant_id(self) -> int:
        """Return whose data this is about."""
        return self.key.tenant_id

    @property
    def submitter(self) -> Submitter:
        """Return who sends."""
        return Submitter.of(self.key)

    def json(self) -> object:
        """Return the body as plain data, or raise `Malformed`."""
        try:
            return orjson.loads(self.raw)
        except orjson.JSONDecodeError as error:
            raise Malformed(f"the body is not JSON: {error}") from None

    def draft(self, kind: type[B]) -> B:
        """Return the body, checked."""
        return drafts.parse(kind, self.json())

    def query(self, kind: type[B]) -> B:
        """Return the query, checked."""
        return drafts.parse(kind, dict(self.request.query_params))

    def path(self, name: str) -> str:
        """Return a part of the path."""
        return str(self.request.path_params[name])

    async def read(self, verb: Callable[[Session], T]) -> T:
        """Run a verb that only reads."""
        return await self.service.database.read(verb)

    async def run(self, verb: Callable[[Session], T], *, urgency: int = USUAL, conclusive: bool = False) -> T:
        """Run a verb in a transaction of its own; after a `conclusive` one no older decision is written any more."""
        return await self.service.database.run(verb, urgency=urgency, conclusive=conclusive)


async def authorised(service: Service, request: Request, scopes: frozenset[Scope]) -> ApiKey:
    """Return the request's key where it has one of the scopes; raises `Unauthorized` or `Forbidden`."""
    scheme, _, plain = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not plain.strip():
        raise Unauthorized("send your key as Authorization: Bearer mk_…")
    key = await service.database.read(lambda session: tenancy.authenticate(session, plain.strip()))
    if Scope.ADMIN not in key.scopes and scopes.isdisjoint(key.scopes):
        raise Forbidden(f"the key lacks the scope {' or '.join(sorted(scopes))}")
    return key


async def body_of(request: Request) -> bytes:
    """Return the whole body; of one that is too large, take the rest from the wire, then raise `TooLarge`.

    A client that is still writing when we answer and close would read a reset connection instead of the answer.
    """
    chunks: list[bytes] = []
    taken = 0
    try:
        async with asyncio.timeout(_PATIENCE):
            async for chunk in request.stream():
                taken += len(chunk)
                if taken <= MOST_BODY:
                    chunks.append(chunk)
                elif taken > MOST_DRAINED:
                    break
                else:
                    chunks.clear()
    except (TimeoutError, ClientDisconnect):
        raise Malformed("the body did not arrive") from None
    if taken > MOST_BODY:
        raise TooLarge("the body is larger than 25 MB")
    return b"".join(chunks)
