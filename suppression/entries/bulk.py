"""Many entries at once: lists that are brought in, and lists that are carried out, a page at a time."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Insert, Update, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session
from sqlmodel import SQLModel, col

from suppression.entries.keeping import NewEntry, row_of
from suppression.entries.table import LIVE_COLUMNS, NOT_LIFTED, Entry
from suppression.rules import Ender, Origin

_entry = SQLModel.metadata.tables["suppression"]
#: What a statement about one of many entries is given.
_THIS: tuple[ColumnElement[bool], ...] = (
    *(_entry.c[name] == bindparam(f"this_{name}") for name in LIVE_COLUMNS),
    _entry.c.lifted_at.is_(None),
)
_INSERTS: dict[str, Insert] = {
    "postgresql": postgresql.insert(_entry).on_conflict_do_nothing(index_elements=LIVE_COLUMNS, index_where=NOT_LIFTED),
    "sqlite": sqlite.insert(_entry).on_conflict_do_nothing(index_elements=LIVE_COLUMNS, index_where=NOT_LIFTED),
}
_CLOSE_EXPIRED = (
    update(_entry)
    .where(*_THIS, _entry.c.expires_at <= bindparam("present"))
    .values(lifted_at=_entry.c.expires_at, lifted_by=Ender.TIME.value)
)
_EXTEND = (
    update(_entry).where(*_THIS, _entry.c.expires_at < bindparam("ends_at")).values(expires_at=bindparam("ends_at"))
)


def add_new(session: Session, news: Sequence[NewEntry], now: datetime) -> list[Entry]:
    """Add some hundred entries unless they stand already, and return the new ones; what stands is kept as it is.

    As with `add`, a later end extends an entry that time ends, and nothing shortens it. The entries that are returned
    belong to no session.
    """
    passing = [new for new in news if new.passes]
    if passing:
        _each(session, _CLOSE_EXPIRED, [{**_this(new), "present": now} for new in passing])
    rows = [row_of(new, now) for new in news]
    if not rows:
        return []
    session.connection().execute(_INSERTS[session.get_bind().dialect.name], rows)
    known = select(_entry.c.id).where(_entry.c.id.in_([row["id"] for row in rows]))
    inserted = set(session.connection().execute(known).scalars())
    late = [new for new, row in zip(news, rows, strict=True) if new.passes and row["id"] not in inserted]
    if late:
        _each(session, _EXTEND, [{**_this(new), "ends_at": new.expires_at} for new in late])
    return [Entry(**row) for row in rows if row["id"] in inserted]


def standing(session: Session, tenant_id: int, prints: Collection[bytes], now: datetime) -> set[tuple[bytes, str, str]]:
    """Return what is in force for some hundred mailboxes: fingerprint, reason, scope."""
    statement = select(_entry.c.fingerprint, _entry.c.reason, _entry.c.scope).where(
        _entry.c.tenant_id == tenant_id,
        _entry.c.fingerprint.in_(list(prints)),
        _entry.c.lifted_at.is_(None),
        _entry.c.expires_at.is_(None) | (_entry.c.expires_at > now),
    )
    return {tuple_of(*row) for row in session.execute(statement)}


def erased(session: Session, tenant_id: int, prints: Collection[bytes]) -> set[bytes]:
    """Return which of some hundred mailboxes are of people who were erased and have not come back by themselves."""
    statement = select(_entry.c.fingerprint).where(
        _entry.c.tenant_id == tenant_id,
        _entry.c.fingerprint.in_(list(prints)),
        _entry.c.origin == Origin.ERASURE,
        _entry.c.lifted_at.is_(None),
    )
    return {bytes(fingerprint) for fingerprint in session.execute(statement).scalars()}


def tuple_of(fingerprint: bytes, reason: str, scope: str) -> tuple[bytes, str, str]:
    """Return by what an entry is known to stand already."""
    return bytes(fingerprint), str(reason), scope


def page(session: Session, tenant_id: int, *, limit: int, after: str | None = None) -> list[Entry]:
    """Return entries of a tenant in the order added; `after` is the id of the last one of the page before."""
    statement = select(Entry).where(col(Entry.tenant_id) == tenant_id).order_by(col(Entry.id)).limit(limit)
    if after is not None:
        statement = statement.where(col(Entry.id) > after)
    return list(session.scalars(statement))


def _this(new: NewEntry) -> dict[str, object]:
    return {f"this_{name}": getattr(new, name) for name in LIVE_COLUMNS}


def _each(session: Session, statement: Update, given: list[dict[str, object]]) -> None:
    session.connection().execute(statement, given)
