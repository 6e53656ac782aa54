"""Answers kept for repeated requests, so that a request that was sent twice is done once (`Idempotency-Key`)."""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias

from sqlalchemy import any_, bindparam, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Session, SQLModel

from mailer import database
from mailer.errors import Conflict
from mailer.models import StoredAnswer

#: Whose, where, and under which key.
Place: TypeAlias = tuple[int, str, str]

_answer = SQLModel.metadata.tables[str(StoredAnswer.__tablename__)]

#: How long an answer is repeated.
KEPT = timedelta(hours=24)
#: After how long without an answer the process that had the request counts as dead.
ABANDONED = timedelta(minutes=5)
IN_FLIGHT = 0
_BUSY = "a request with this Idempotency-Key is being worked on: ask again in a moment"
_USED = "this Idempotency-Key was used with another body: use a new key"
# Built once: building a statement costs more than running it.
_KEEPING = _answer.insert()
_PLACES = select(_answer.c.tenant_id, _answer.c.route, _answer.c.key).where(
    _answer.c.tenant_id.in_(bindparam("tenants", expanding=True)),
    _answer.c.route.in_(bindparam("routes", expanding=True)),
)
#: On SQLite and on PostgreSQL, which prepares one text for any number of keys.
_BEGUN = (
    _PLACES.where(_answer.c.key.in_(bindparam("keys", expanding=True))),
    _PLACES.where(_answer.c.key == any_(bindparam("keys", type_=ARRAY(_answer.c.key.type)))),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request with a key: whose, where, under which key, and the digest of its bytes."""

    tenant_id: int
    route: str
    key: str
    digest: str

    @property
    def place(self) -> Place:
        """Return what nobody else's request has."""
        return self.tenant_id, self.route, self.key

    @classmethod
    def of(cls, tenant_id: int, route: str, key: str, body: bytes) -> "Asked":
        """Return what a request asks, known by its bytes."""
        return cls(tenant_id, route, key, hashlib.sha256(body).hexdigest())


class Fresh(NamedTuple):
    """Nobody asked this before: do it, then `finish` or `forget`."""

    id: int
    #: When it was begun; another process may begin it anew once it counts as abandoned.
    begun_at: datetime


class Replay(NamedTuple):
    """This was answered before."""

    status_code: int
    body: bytes


Begun: TypeAlias = Fresh | Replay


def begin(session: Session, asked: Asked, now: datetime) -> Begun:
    """Take a request up, or return its answer; raises `Conflict` where it runs elsewhere, or its key is another's.

    Of two at once one is `Fresh`, as soon as its transaction is committed.
    """
    statement = database.insert(session, _answer).values(
        tenant_id=asked.tenant_id,
        route=asked.route,
        key=asked.key,
        digest=asked.digest,
        status_code=IN_FLIGHT,
        body=b"",
        created_at=now,
    )
    taken = statement.on_conflict_do_update(
        index_elements=["tenant_id", "route", "key"],
        set_={"digest": asked.digest, "status_code": IN_FLIGHT, "body": b"", "created_at": now},
        where=or_(
            _answer.c.created_at <= now - KEPT,
            (_answer.c.status_code == IN_FLIGHT) & (_answer.c.created_at <= now - ABANDONED),
        ),
    ).returning(_answer.c.id)
    fresh = session.execute(taken).scalar_one_or_none()
    if fresh is not None:
        return Fresh(fresh, now)
    same = (_answer.c.tenant_id == asked.tenant_id, _answer.c.route == asked.route, _answer.c.key == asked.key)
    kept = session.execute(_answer.select().where(*same)).first()
    if kept is None or (kept.digest == asked.digest and kept.status_code == IN_FLIGHT):
        raise Conflict(_BUSY)
    if kept.digest != asked.digest:
        raise Conflict(_USED)
    return Replay(kept.status_code, kept.body)


def finish(session: Session, fresh: Fresh, status_code: int, body: bytes) -> None:
    """Keep the answer, in the very transaction that did the work; raises `Conflict` where another process took over."""
    mine = (_answer.c.id == fresh.id, _answer.c.status_code == IN_FLIGHT, _answer.c.created_at == fresh.begun_at)
    kept = _answer.update().where(*mine).values(status_code=status_code, body=body).returning(_answer.c.id)
    if session.execute(kept).first() is None:
        raise Conflict("this request took so long that another one took it over: ask again for its answer")


def begun(session: Session, asked: Collection[Asked]) -> set[Place]:
    """Return the places of those requests that were begun before, whatever became of them since."""
    if not asked:
        return set()
    tenants, routes, keys = (list(set(part)) for part in zip(*(each.place for each in asked), strict=True))
    rows = session.execute(
        _BEGUN[database.on_postgresql(session)], {"tenants": tenants, "routes": routes, "keys": keys}
    )
    return {(row.tenant_id, row.route, row.key) for row in rows}


def keep(session: Session, told: Iterable[tuple[Asked, int, bytes]], now: datetime) -> None:
    """Keep the status and the body that requests were answered with, in the very transaction that did their work.

    Raises the database's `IntegrityError` where another process began one of them since: roll everything back then.
    """
    rows = [
        {
            "tenant_id": asked.tenant_id,
            "route": asked.route,
            "key": asked.key,
            "digest": asked.digest,
            "status_code": status_code,
            "body": body,
            "created_at": now,
        }
        for asked, status_code, body in told
    ]
    if rows:
        session.connection().execute(_KEEPING, rows)


def clash(earlier: Asked, later: Asked) -> Conflict:
    """Return why a request is not begun while an earlier one with its key is being worked on."""
    return Conflict(_USED if earlier.digest != later.digest else _BUSY)


def forget(session: Session, fresh: Fresh) -> None:
    """Let the key be used again: the request came to nothing that would last."""
    mine = (_answer.c.id == fresh.id, _answer.c.status_code == IN_FLIGHT, _answer.c.created_at == fresh.begun_at)
    session.execute(_answer.delete().where(*mine))
