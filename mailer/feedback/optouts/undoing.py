"""Taking back what a link just took away."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlmodel import Session

from mailer import people
from mailer.feedback.optouts.acts import How, Kind, Outcome, begin, digest, of_this_email, unsubscribed
from mailer.feedback.optouts.telling import count, tell_each
from mailer.people import EventKind
from suppression.entries import Entry
from suppression.rules import Ender, Scope
from suppression.token import OptOut

#: How long the link that opted out can take it back; later only by a link in a mail.
UNDO_FOR = timedelta(minutes=30)


def undo(session: Session, opt_out: OptOut, now: datetime) -> Outcome | None:
    """Give back exactly what this link took away within the last 30 minutes; None where there is nothing to give back.

    Mail that was suppressed meanwhile stays suppressed.
    """
    act = begin(session, opt_out, How(Kind.LINK), now)
    lifted = give_back(session, undoable_entries(session, opt_out, now), now)
    if not lifted:
        return None
    tell_each(session, act, EventKind.RESUBSCRIBED, lifted, now)
    if not of_this_email(session, act, now):
        count(session, act, "resubscribed", now)
    return Outcome(tuple(entry.id for entry in lifted), False, Scope(lifted[0].scope))


def undoable(session: Session, opt_out: OptOut, now: datetime) -> bool:
    """Return whether this link can still take something back."""
    return bool(undoable_entries(session, opt_out, now))


def undoable_entries(session: Session, opt_out: OptOut, now: datetime) -> list[Entry]:
    """Return what this link took away and can still give back."""
    token = digest(opt_out)
    return [
        entry
        for entry in unsubscribed(session, opt_out, now)
        if (entry.evidence or {}).get("token") == token and now - entry.created_at <= UNDO_FOR
    ]


def give_back(session: Session, found: Iterable[Entry], now: datetime) -> list[Entry]:
    """Lift entries, in the person's name."""
    return [people.lift(session, entry.tenant_id, entry.id, Ender.PERSON, "undone by its link", now) for entry in found]
