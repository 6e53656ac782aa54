"""Replacing the suppression key: what older keys made gets kin by the others, then a key may go."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import exists, func, update
from sqlmodel import Session, SQLModel, col, select

from mailer.errors import Conflict, NotFound
from mailer.models import Consent, OptIn, Person
from suppression import address, entries
from suppression.address import AddressError, Fingerprints
from suppression.entries import Entry, KeyProof, KinKind

#: Rows a step; each is a transaction of the caller's.
STEP = 500
_kin = SQLModel.metadata.tables["suppression_kin"]
#: What is walked, in this order, each by its id; mail last, for there is most of it.
_TABLES = ("suppression", "opt_in", "person", "email")
#: What holds fingerprints with the key that made them.
_LABELLED: Mapping[str, type[SQLModel]] = {
    "suppressions": Entry,
    "consents": Consent,
    "people": Person,
    "opt-ins": OptIn,
}


class Place(NamedTuple):
    """How far a walk has come: the table, and the last row of it that was read."""

    table: str = _TABLES[0]
    after: str | bytes | None = None
    #: The tenant of that row, where it takes both to name one.
    tenant_id: int = 0


class Step(NamedTuple):
    """What one step did, and where the next begins; None at the end."""

    read: int
    next: Place | None


def step(session: Session, prints: Fingerprints, place: Place, now: datetime) -> Step:
    """Give the next rows kin by every key of the ring; run it again with what it answers until that is None."""
    rows = _rows(session, place)
    groups: dict[int, list[dict[bytes, str]]] = {}
    for row in rows:
        try:
            named = prints.named(row.tenant_id, address.parse(row.address).canonical)
        except AddressError:
            continue
        if row.fingerprint in named:
            groups.setdefault(row.tenant_id, []).append(named)
            _relabel(session, place.table, row, named[row.fingerprint])
    for tenant_id in sorted(groups):
        entries.relate(session, tenant_id, groups[tenant_id], KinKind.KEY, now)
    if len(rows) == STEP:
        return Step(len(rows), Place(place.table, rows[-1].key, rows[-1].tenant_id))
    if place.table == _TABLES[-1]:
        return Step(len(rows), None)
    return Step(len(rows), Place(_TABLES[_TABLES.index(place.table) + 1]))


class _Row(NamedTuple):
    key: str | bytes
    tenant_id: int
    fingerprint: bytes
    address: str
    key_id: str | None


def _rows(session: Session, place: Place) -> list[_Row]:
    table = SQLModel.metadata.tables[place.table]
    label = table.c.key_id if "key_id" in table.c else None
    key = table.c.fingerprint if place.table == "person" else table.c.id
    columns = [key, table.c.tenant_id, table.c.fingerprint, table.c.address, *([label] if label is not None else [])]
    statement = select(*columns).where(table.c.address.is_not(None), table.c.fingerprint.is_not(None))
    if place.table == "person":
        statement = statement.order_by(table.c.tenant_id, key)
        if place.after is not None:
            later = (table.c.tenant_id > place.tenant_id) | (
                (table.c.tenant_id == place.tenant_id) & (key > place.after)
            )
            statement = statement.where(later)
    else:
        statement = statement.order_by(key)
        if place.after is not None:
            statement = statement.where(key > place.after)
    found = session.execute(statement.limit(STEP))
    return [_Row(row[0], row[1], row[2], row[3], row[4] if label is not None else None) for row in found]


def _relabel(session: Session, name: str, row: _Row, key_id: str) -> None:
    """Write down which key made a fingerprint, where a link that did not say it led to a guess."""
    if row.key_id is None or row.key_id == key_id:
        return
    table = SQLModel.metadata.tables[name]
    which = (table.c.tenant_id == row.tenant_id, table.c.fingerprint == row.fingerprint)
    session.execute(update(table).where(*which).values(key_id=key_id))


def bound(session: Session, key_id: str) -> Iterator[tuple[str, int]]:
    """Return what would be lost without a key: rows by it that no fingerprint of another key in use leads to."""
    leading = select(KeyProof.key_id).where(col(KeyProof.retired_at).is_(None), col(KeyProof.key_id) != key_id)
    for name, model in _LABELLED.items():
        table = SQLModel.metadata.tables[str(model.__tablename__)]
        led = exists().where(
            _kin.c.tenant_id == table.c.tenant_id,
            _kin.c.fingerprint == table.c.fingerprint,
            _kin.c.other_key_id.in_(leading),
        )
        statement = select(func.count()).select_from(table).where(table.c.key_id == key_id, ~led)
        if model is Entry:
            statement = statement.where(table.c.lifted_at.is_(None))
        if number := session.execute(statement).scalar_one():
            yield name, number


def retire(session: Session, prints: Fingerprints, key_id: str, now: datetime) -> None:
    """End a key that was walked: the ring may be without it. Raises `Conflict` where an opt-out would be lost."""
    proof = session.get(KeyProof, key_id)
    if proof is None:
        raise NotFound(f"there is no suppression key {key_id}")
    if prints.primary_id == key_id:
        raise Conflict(f"{key_id} is the first key of the ring: put another one in front, and restart every process")
    if lost := [f"{number} {name}" for name, number in bound(session, key_id)]:
        raise Conflict(
            f"without the key {key_id} these could not be found any more: {', '.join(lost)}; their addresses were "
            "erased before they had kin by another key, so keep the key in the ring"
        )
    if proof.retired_at is None:
        proof.retired_at = now
        session.add(proof)
        session.flush()
