"""Taking back what was just taken away, and saying why it was."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from mailer import people
from mailer.feedback.optouts.acts import How, Kind, Outcome, begin, digest, of_this_email
from mailer.feedback.optouts.telling import tell_each
from mailer.people import EventKind
from suppression.entries import AGAIN, Entry
from suppression.rules import Ender, Reason, Scope
from suppression.token import OptOut

#: How long the link that opted out can take it back; later only by a link in a mail.
UNDO_FOR = timedelta(minutes=30)
#: What the links of one mail did, they can take back; a profile page takes back its own.
BY_LINK = frozenset({Kind.LINK, Kind.ONE_CLICK, Kind.PREFERENCES})
BY_EDIT = BY_LINK | {Kind.EDIT}
#: Of an opt-out by mail no page is shown that could offer it; who wrote by mistake opts in again.
BY_MAIL = frozenset({Kind.MAILTO})

#: What support did for a person stands by no link: their fingerprint says whose it was.
_BY_NO_LINK = frozenset({Kind.SUPPORT})
#: What a person does to their own mail; a complaint is taken back by a fresh opt-in only.
_OWN = (Reason.UNSUBSCRIBE, Reason.SNOOZE)
_LINK = How(Kind.LINK)
_LONGEST_SAID = 500


def undo(
    session: Session, opt_out: OptOut, now: datetime, how: How = _LINK, *, done_by: Collection[Kind] = BY_LINK
) -> Outcome | None:
    """Give back exactly what the last act took away within the last 30 minutes; None where there is nothing to give.

    Pressed twice, it gives back once: an earlier act stands. Mail that was suppressed meanwhile stays suppressed.
    """
    act = begin(session, opt_out, how, now)
    lifted = give_back(session, undoable_entries(session, opt_out, now, done_by=done_by), now)
    if not lifted:
        return None
    left = [entry for entry in lifted if entry.reason is Reason.UNSUBSCRIBE]
    if left:
        kept = bool(of_this_email(session, act, now))
        tell_each(session, act, EventKind.RESUBSCRIBED, left, now, counted=not kept)
    return Outcome(tuple(entry.id for entry in lifted), False, Scope(lifted[0].scope))


def undoable(session: Session, opt_out: OptOut, now: datetime, *, done_by: Collection[Kind] = BY_LINK) -> bool:
    """Return whether the last act can still be taken back."""
    return bool(undoable_entries(session, opt_out, now, done_by=done_by))


def undoable_entries(
    session: Session, opt_out: OptOut, now: datetime, *, done_by: Collection[Kind] = BY_LINK
) -> list[Entry]:
    """Return what the last act of this link took away and can still give back."""
    return [entry for entry in _last_act(session, opt_out, now, done_by) if entry.live(now)]


def give_back(session: Session, found: Iterable[Entry], now: datetime) -> list[Entry]:
    """Lift entries, in the person's name."""
    return [people.lift(session, entry.tenant_id, entry.id, Ender.PERSON, "taken back", now) for entry in found]


def say_why(
    session: Session, opt_out: OptOut, said: str, now: datetime, *, done_by: Collection[Kind] = BY_LINK
) -> bool:
    """Keep in their own words why somebody left, beside their last act of half an hour; erasure takes the words out."""
    words = " ".join(said.split())[:_LONGEST_SAID]
    found = _last_act(session, opt_out, now, done_by) if words else []
    for entry in found:
        entry.evidence = {**(entry.evidence or {}), "said": words}
    session.flush()
    return bool(found)


def _last_act(session: Session, opt_out: OptOut, now: datetime, done_by: Collection[Kind]) -> list[Entry]:
    """Return what the newest act made, also what was taken back already: what came before it is not the last."""
    statement = (
        select(Entry)
        .where(
            col(Entry.tenant_id) == opt_out.tenant_id,
            col(Entry.fingerprint) == opt_out.fingerprint,
            col(Entry.reason).in_(_OWN),
            col(Entry.created_at) >= now - UNDO_FOR,
        )
        .execution_options(populate_existing=True)
    )
    token = digest(opt_out)
    mine = [
        entry
        for entry, found in ((each, each.evidence or {}) for each in session.exec(statement))
        if found.get("channel") in done_by
        # What the person said too is not support's to take back.
        and (AGAIN not in found if found.get("channel") in _BY_NO_LINK else found.get("token") == token)
    ]
    if not mine:
        return []
    # Of one moment, what stands is newer than what it took the place of.
    newest = max(mine, key=lambda entry: (entry.created_at, entry.lifted_at is None, entry.id))
    act = (newest.evidence or {}).get("act")
    return sorted((entry for entry in mine if (entry.evidence or {}).get("act") == act), key=lambda entry: entry.id)
