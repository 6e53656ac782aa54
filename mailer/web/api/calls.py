"""One request of product code: who asks, what was sent, and how it is answered."""

import asyncio
import hmac
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Protocol, TypeVar

import orjson
from pydantic import BaseModel
from sqlmodel import Session
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from mailer import audit, drafts, storable, tenancy
from mailer.audit import Act, Actor, Via
from mailer.database import Database
from mailer.errors import Forbidden, Invalid, Problem, Unauthorized
from mailer.feedback.inbound import Mailroom
from mailer.inbox import Store
from mailer.models import ApiKey, Scope
from mailer.settings import Settings
from mailer.submission import Intake, Submitter
from mailer.web.api.gathering import Gathering
from mailer.web.clients import client_of
from mailer.web.problems import Malformed, TooLarge
from mailer.webhooks import Hooks
from suppression.rules import Stream

T = TypeVar("T")
B = TypeVar("B", bound=BaseModel)

#: The largest body that is read, and how much more is taken from the wire so that its sender reads our answer.
MOST_BODY = 25 * 1024 * 1024
MOST_DRAINED = 128 * 1024 * 1024
_PATIENCE = 300.0

#: For how many seconds a key counts as known, and how many are.
_FRESH = 1.0
_MOST_KEYS = 4096

#: Who goes first where SQLite has one writer.
URGENT, USUAL, BULK = 0, 1, 2


class Service(Protocol):
    """What the API needs of the process."""

    settings: Settings
    database: Database
    intake: Intake
    store: Store
    hooks: Hooks

    @property
    def mailroom(self) -> Mailroom:
        """Return what takes mail to our domain of return paths."""

    def ring(self, stream: Stream) -> None:
        """Say that a stream has mail."""

    def now(self) -> datetime:
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


class KnownKeys:
    """Keys that were good a moment ago: enough to let a request in that asks for its key again where it writes."""

    def __init__(self) -> None:
        """Know none."""
        self._found: dict[str, tuple[float, ApiKey]] = {}

    def get(self, plain: str) -> ApiKey | None:
        """Return a key that was asked for within the last second."""
        digest = tenancy.digest_of(plain)
        since, key = self._found.get(digest, (0.0, None))
        if key is None or time.monotonic() - since > _FRESH or not hmac.compare_digest(key.digest, digest):
            return None
        return key

    def put(self, key: ApiKey, asked_at: float) -> None:
        """Remember a key, and since when it is known to be good (of the monotonic clock)."""
        if len(self._found) >= _MOST_KEYS:
            self._found.clear()
        self._found[key.digest] = (asked_at, key)

    def renew(self, digests: Collection[str], asked_at: float) -> None:
        """Remember that keys were still good at a moment."""
        for digest in digests:
            if found := self._found.get(digest):
                self._found[digest] = (max(found[0], asked_at), found[1])


@dataclass(slots=True)
class Call:
    """A request whose key is known and has the scope."""

    service: Service
    request: Request
    key: ApiKey
    now: datetime
    gathering: Gathering
    raw: bytes = field(default=b"")

    @property
    def tenant_id(self) -> int:
        """Return whose data this is about."""
        return self.key.tenant_id

    @property
    def submitter(self) -> Submitter:
        """Return who sends."""
        return Submitter.of(self.key)

    def sender(self, session: Session) -> Submitter:
        """Return who sends, as it stands in this transaction; raises `Unauthorized` where the key was revoked."""
        held = tenancy.held(session, [self.key.digest]).get(self.key.digest)
        if held is None:
            raise Unauthorized(tenancy.UNKNOWN_KEY)
        return Submitter(*held)

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
        asked = dict(self.request.query_params)
        if (path := storable.unstorable(asked)) is not None:
            raise Invalid(Problem(path, storable.SENTENCE))
        return drafts.parse(kind, asked)

    def path(self, name: str) -> str:
        """Return a part of the path."""
        return str(self.request.path_params[name])

    async def read(self, verb: Callable[[Session], T]) -> T:
        """Run a verb that only reads."""
        return await self.service.database.read(verb)

    async def run(self, verb: Callable[[Session], T], *, urgency: int = USUAL, conclusive: bool = False) -> T:
        """Run a verb in a transaction of its own; after a `conclusive` one no older decision is written any more."""
        return await self.service.database.run(verb, urgency=urgency, conclusive=conclusive)

    def log(self, session: Session, act: Act, target: str = "", **data: object) -> None:
        """Write into the audit log, in the transaction of the act, what is done with this key."""
        actor = Actor(Via.API, client=client_of(self.request, self.service.settings))
        told = {"key": self.key.id, **data}
        audit.write(session, actor, act, self.now, tenant_id=self.tenant_id, target=target, data=told)


async def authorised(
    service: Service, request: Request, scopes: frozenset[Scope], known: KnownKeys | None = None
) -> ApiKey:
    """Return the request's key where it has one of the scopes; raises `Unauthorized` or `Forbidden`.

    With `known`, a key that was good within the last second will do: whoever passes it asks again (`Call.sender`).
    """
    scheme, _, plain = request.headers.get("authorization", "").partition(" ")
    plain = plain.strip()
    if scheme.lower() != "bearer" or not plain:
        raise Unauthorized("send your key as Authorization: Bearer mk_…")
    key = known.get(plain) if known is not None else None
    if key is None:
        asked_at = time.monotonic()
        key = await service.database.read(lambda session: tenancy.authenticate(session, plain))
        if known is not None:
            known.put(key, asked_at)
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
