"""Entries added, lifted, listed and forgotten; never deleted, for the history is the evidence."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session
from sqlmodel import col

from suppression import rules
from suppression.entries.decision import in_force
from suppression.entries.table import LIVE_COLUMNS, NOT_LIFTED, Entry, insert_new, new_id
from suppression.rules import Ender, Origin, Reason, Scope

#: A few hundred rows a statement: SQLite and PostgreSQL bound the number of variables.
_CHUNK = 200
_TRIES = 5

#: Who stands behind the first word of `by`; whoever is not named here may lift nothing (imports, providers, the API).
_ENDERS: Mapping[str, Ender] = {
    Ender.PERSON: Ender.PERSON,
    Origin.RECIPIENT: Ender.PERSON,
    Ender.OPERATOR: Ender.OPERATOR,
    Origin.ADMIN: Ender.OPERATOR,
    Ender.DELIVERY: Ender.DELIVERY,
}
#: Evidence that survives erasure, where its value holds no address.
_KEPT_EVIDENCE = frozenset(
    {
        *("email_id", "campaign_id", "topic", "token", "event_id", "provider", "category", "status", "code", "channel"),
        *("inferred", "after", "again_at", "complaint"),
    }
)
_ADDRESS_IN_TEXT = re.compile(r"[^\s<>\"(),;:]+@[^\s<>\"(),;:]+")


class EntryError(ValueError):
    """The entry does not fit the policy."""


class LiftError(ValueError):
    """The entry may not be lifted so."""


class UnknownEntry(LiftError, LookupError):
    """There is no such entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntry:
    """An entry to be added, checked against the policy when it is made."""

    tenant_id: int
    fingerprint: bytes
    key_id: str
    reason: Reason
    scope: Scope
    origin: Origin
    address: str | None = None
    expires_at: datetime | None = None
    note: str | None = None
    evidence: Mapping[str, object] | None = None
    #: When it began, where that was before it is added here (another system's list); else it begins now.
    created_at: datetime | None = None

    def __post_init__(self) -> None:
        """Refuse what the policy does not know."""
        rules.parse_scope(self.scope)
        if len(self.fingerprint) != 16:
            raise EntryError("a fingerprint has 16 bytes")
        if not rules.may_stand(self.reason, self.scope):
            raise EntryError(f"an entry with the reason {self.reason} cannot have the scope {self.scope}")
        if self.passes and self.expires_at is None:
            raise EntryError(f"an entry with the reason {self.reason} needs the time when it ends")
        if not self.passes and self.expires_at is not None:
            raise EntryError(f"an entry with the reason {self.reason} does not end by time")

    @property
    def passes(self) -> bool:
        """Whether time ends the entry."""
        return rules.may_end(self.reason, Ender.TIME)


def add(session: Session, new: NewEntry, now: datetime) -> tuple[Entry, bool]:
    """Add an entry unless it stands already; return the one that stands and whether it is new.

    Two at once make one. A later end extends an entry that time ends; nothing shortens it.
    """
    if new.passes:
        _close_expired(session, new, now)
    for _ in range(_TRIES):
        created = _insert_rows(session, [new], now) == 1
        entry = session.scalars(
            select(Entry).where(*_same(new)).execution_options(populate_existing=True)
        ).one_or_none()
        if entry is not None:
            if not created and new.passes:
                _extend(session, entry, new)
            return entry, created
        # Somebody lifted the entry between the two statements, so there is room for a new one.
    raise RuntimeError("a suppression was lifted as often as it was added")


def add_many(session: Session, news: Iterable[NewEntry], now: datetime) -> int:
    """Add many entries, a few hundred a statement, and return how many are new."""
    created = 0
    remaining = iter(news)
    while chunk := list(islice(remaining, _CHUNK)):
        lasting = [new for new in chunk if not new.passes]
        created += _insert_rows(session, lasting, now) if lasting else 0
        created += sum(add(session, new, now)[1] for new in chunk if new.passes)
    return created


def lift(session: Session, tenant_id: int, entry_id: str, by: str, note: str | None, now: datetime) -> Entry:
    """End an entry, if the policy lets `by` end it, and keep it as history; lifting twice is lifting once.

    `by` is "person", "operator", "delivery", or an Origin, with a name behind a colon where one is known.
    """
    entry = session.scalars(
        select(Entry)
        .where(col(Entry.tenant_id) == tenant_id, col(Entry.id) == entry_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if entry is None:
        raise UnknownEntry("there is no such suppression")
    if entry.lifted_at is not None:
        return entry
    ender = _ENDERS.get(by.partition(":")[0])
    if ender is None or not rules.may_end(entry.reason, ender):
        raise LiftError(
            f"a suppression with the reason {entry.reason} is ended by {rules.rule_of(entry.reason).ended_by}"
        )
    if ender is Ender.OPERATOR and not (note and note.strip()):
        raise LiftError("an operator who lifts a suppression leaves a note that says why")
    entry.lifted_at, entry.lifted_by, entry.lift_note = now, str(by), note
    session.flush()
    return entry


def forget(session: Session, tenant_id: int, fingerprint: bytes) -> int:
    """Take the address out of every entry of a mailbox, keep the entries, and return how many there are."""
    statement = (
        select(Entry)
        .where(col(Entry.tenant_id) == tenant_id, col(Entry.fingerprint) == fingerprint)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    entries = session.scalars(statement).all()
    for entry in entries:
        entry.address = None
        entry.note, entry.lift_note = _scrub(entry.note), _scrub(entry.lift_note)
        if entry.evidence is not None:
            entry.evidence = {
                key: value for key, value in entry.evidence.items() if key in _KEPT_EVIDENCE and "@" not in str(value)
            }
    session.flush()
    return len(entries)


def list_entries(
    session: Session,
    tenant_id: int,
    *,
    limit: int,
    now: datetime,
    after: str | None = None,
    fingerprints: Sequence[bytes] | None = None,
    reason: Reason | None = None,
    live: bool | None = None,
) -> list[Entry]:
    """Return a page of entries, newest first; `after` is the id of the last one of the page before."""
    statement = select(Entry).where(col(Entry.tenant_id) == tenant_id).order_by(col(Entry.id).desc()).limit(limit)
    if after is not None:
        statement = statement.where(col(Entry.id) < after)
    if fingerprints is not None:
        statement = statement.where(col(Entry.fingerprint).in_(fingerprints))
    if reason is not None:
        statement = statement.where(col(Entry.reason) == reason)
    if live is not None:
        statement = statement.where(in_force(Entry, now) if live else ~in_force(Entry, now))
    return list(session.scalars(statement))


def by_ids(session: Session, tenant_id: int, entry_ids: Collection[str]) -> dict[str, Entry]:
    """Return the entries of these ids that a tenant has, some hundred at most; what is no id of its own is left out."""
    if not entry_ids:
        return {}
    statement = select(Entry).where(col(Entry.tenant_id) == tenant_id, col(Entry.id).in_(sorted(entry_ids)))
    return {entry.id: entry for entry in session.scalars(statement)}


def _same(new: NewEntry) -> tuple[ColumnElement[bool], ...]:
    return (
        col(Entry.tenant_id) == new.tenant_id,
        col(Entry.fingerprint) == new.fingerprint,
        col(Entry.reason) == new.reason,
        col(Entry.scope) == new.scope,
        col(Entry.lifted_at).is_(None),
    )


def _insert_rows(session: Session, news: Sequence[NewEntry], now: datetime) -> int:
    rows = [row_of(new, now) for new in news]
    return insert_new(session, Entry, rows, LIVE_COLUMNS, NOT_LIFTED)


def row_of(new: NewEntry, now: datetime) -> dict[str, Any]:
    """Return the columns of a new entry; its id is of now, whenever it began, so that lists page in the order added."""
    return {
        "id": new_id(now),
        "tenant_id": new.tenant_id,
        "fingerprint": new.fingerprint,
        "key_id": new.key_id,
        "address": new.address,
        "reason": new.reason,
        "scope": new.scope,
        "origin": new.origin,
        "created_at": new.created_at or now,
        "expires_at": new.expires_at,
        "note": new.note,
        "evidence": None if new.evidence is None else dict(new.evidence),
    }


def _close_expired(session: Session, new: NewEntry, now: datetime) -> None:
    """Write down that time has ended the entry that stood, so that a new one begins its own history."""
    session.execute(
        update(Entry)
        .where(*_same(new), col(Entry.expires_at) <= now)
        .values(lifted_at=col(Entry.expires_at), lifted_by=Ender.TIME.value)
        .execution_options(synchronize_session="fetch")
    )


def _extend(session: Session, entry: Entry, new: NewEntry) -> None:
    session.execute(
        update(Entry)
        .where(*_same(new), col(Entry.expires_at) < new.expires_at)
        .values(expires_at=new.expires_at)
        .execution_options(synchronize_session=False)
    )
    session.refresh(entry)


def _scrub(text: str | None) -> str | None:
    return None if text is None else _ADDRESS_IN_TEXT.sub("[erased]", text)
