"""A mail provider says that somebody calls a mail of ours spam."""

from datetime import datetime

from sqlmodel import Session, col, select

from mailer import people
from mailer.feedback.optouts.acts import Act, How, Outcome, begin
from mailer.feedback.optouts.telling import tell_each
from mailer.models import Email, Event
from mailer.people import EventKind
from mailer.people.stopping import key_of
from suppression import rules
from suppression.entries import NewEntry
from suppression.rules import Origin, Reason
from suppression.token import OptOut


def complained(session: Session, opt_out: OptOut, how: How, now: datetime) -> Outcome:
    """Stop the tenant's promotional mail to who complained; each mail is told and counted once.

    `opt_out` names the person and the mail where the report does, `how` is of the kind `COMPLAINT` and its evidence
    says which provider reported. Mail that nobody names is the newest that they were sent. Run it as a `conclusive`
    transaction. Raises `NotFound` for an unknown tenant.
    """
    act = begin(session, opt_out, how, now)
    told = _told(session, act)
    new = NewEntry(
        tenant_id=opt_out.tenant_id,
        fingerprint=opt_out.fingerprint,
        key_id=key_of(session, opt_out.tenant_id, opt_out.fingerprint),
        reason=Reason.COMPLAINT,
        scope=rules.STREAM_PROMOTIONAL,
        origin=Origin.PROVIDER,
        address=act.address,
        evidence=act.evidence,
    )
    entry, created = people.suppress(session, new, now)
    # A person who complains about a second mail has complained of two; of mail that is gone, only the first is known.
    fresh = created if act.email is None else not told
    if fresh:
        tell_each(session, act, EventKind.COMPLAINED, [entry], now, counted=True)
    return Outcome((entry.id,), created, rules.STREAM_PROMOTIONAL)


def _told(session: Session, act: Act) -> bool:
    """Return whether a complaint about this mail is known; of two reports at once, the second waits for the first."""
    if act.email is None:
        return False
    session.exec(select(Email.id).where(col(Email.id) == act.email.id).with_for_update()).one()
    known = select(Event.id).where(col(Event.email_id) == act.email.id, col(Event.kind) == EventKind.COMPLAINED)
    return session.exec(known.limit(1)).first() is not None
