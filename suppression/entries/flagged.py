"""Opt-outs that a scanner may have made: the one kind of opt-out that an operator may undo, in bulk and with a note."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlmodel import col

from suppression.entries.keeping import LiftError
from suppression.entries.table import Entry
from suppression.rules import Origin, Reason

#: Evidence of a flagged opt-out: how many seconds after its mail it came.
AFTER = "after"
#: Evidence that the person said so again, when nothing pointed to a machine.
AGAIN = "again_at"
#: What a person has decided; a later decision of theirs is their word.
_OWN = (Reason.UNSUBSCRIBE, Reason.COMPLAINT)


def confirm(session: Session, entry: Entry, now: datetime) -> bool:
    """Take note that the person said again what this entry says, so that nobody but they can take it back.

    Return False where an operator took it back this very moment: then the person's word makes an entry of its own.
    """
    standing = session.scalars(
        select(Entry).where(col(Entry.id) == entry.id).with_for_update().execution_options(populate_existing=True)
    ).one()
    if standing.lifted_at is not None:
        return False
    standing.evidence = {AGAIN: now.isoformat(), **(standing.evidence or {})}
    session.flush()
    return True


def lift_flagged(
    session: Session, tenant_id: int, entry_ids: Collection[str], by: str, note: str, now: datetime
) -> list[Entry]:
    """End those of the entries that were flagged when they were made, and return them; the rest stands.

    What the person confirmed, and whatever they decided or complained about later, is their word and stays. This is the
    only way by which an operator ends an opt-out (`entries.lift` refuses it), and it leaves a note.
    """
    if not note.strip():
        raise LiftError("whoever undoes opt-outs leaves a note that says why")
    found = session.scalars(
        select(Entry)
        .where(
            col(Entry.tenant_id) == tenant_id,
            col(Entry.id).in_(entry_ids),
            col(Entry.reason) == Reason.UNSUBSCRIBE,
            col(Entry.origin) == Origin.RECIPIENT,
            col(Entry.lifted_at).is_(None),
        )
        .order_by(col(Entry.id))
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    lifted = [entry for entry in found if _flagged(entry) and not _said_later(session, entry)]
    for entry in lifted:
        entry.lifted_at, entry.lifted_by, entry.lift_note = now, by, note
    session.flush()
    return lifted


def _flagged(entry: Entry) -> bool:
    evidence = entry.evidence or {}
    return AFTER in evidence and AGAIN not in evidence


def _said_later(session: Session, entry: Entry) -> bool:
    """Return whether the person left or complained again afterwards, by an act that is not flagged itself."""
    later = session.scalars(
        select(Entry).where(
            col(Entry.tenant_id) == entry.tenant_id,
            col(Entry.fingerprint) == entry.fingerprint,
            col(Entry.reason).in_(_OWN),
            col(Entry.created_at) >= entry.created_at,
            col(Entry.id) != entry.id,
        )
    )
    return any(not _flagged(each) for each in later)
