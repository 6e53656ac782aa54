"""Reports come in: each is kept once, matched, and what follows from it follows."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import select
from sqlmodel import Session, col

from mailer.feedback.hearing import keeping, softly
from mailer.feedback.hearing.following import Case, follow
from mailer.feedback.hearing.keeping import TOLD
from mailer.feedback.hearing.matching import Match, match
from mailer.feedback.hearing.policy import UNSETTLED, Fate, Heard, believed, too_early
from mailer.feedback.inbound.report import Kind, Proof, Report
from mailer.models import Email, Told, ToldState

#: How long a report waits for the outcome of its mail.
WAITS = timedelta(days=3)
#: How many of these the clock looks at together.
CHUNK = 200
#: The source of what a relay answers us, and who vouches for it.
AT_ONCE, OURSELVES = "relay", "delivery"
_NOBODY = "nobody vouches for it"
_TOO_LONG = "its mail has had no outcome for three days"
#: Reports that came before the outcome of their mail, which has one by now.
_READY = (
    select(TOLD.c.id)
    .join(Email, col(Email.id) == TOLD.c.email_id)
    .where(TOLD.c.state == ToldState.EARLY, col(Email.status).not_in(UNSETTLED))
)


class _Item(NamedTuple):
    """One report of a batch, and where it stood."""

    place: int
    report: Report
    proof: Proof
    match: Match


def hear(session: Session, heard: Sequence[tuple[Report, Proof]], now: datetime) -> list[Heard]:
    """Take reports in and return what became of each, in their order.

    `now` is aware; `Proof.email_id` wins over whatever a report says, and a report for which nobody vouches changes
    nothing. One that was heard before is `repeated`, one that comes before our own outcome is done by the clock
    (`hear_again`). It raises nothing because of what a report says. Run it as a `conclusive` transaction: from its
    answer on no promotional mail goes to whoever complained, and none at all to an address that does not exist.
    """
    items = []
    for place, (report, proof) in enumerate(heard):
        found = match(session, report, proof) if believed(proof) else Match(None, _NOBODY)
        items.append(_Item(place, report, proof, found))
    results: dict[int, Heard] = {}
    # In one order everywhere, so that two batches never wait for each other; and of one mail as it happened.
    for item in sorted(items, key=lambda each: _order(each, now)):
        results[item.place] = _one(session, item, now)
    return [results[place] for place in range(len(items))]


def hear_again(session: Session, now: datetime) -> int:
    """Do what follows from reports that came before the outcome of their mail, which has one now; return how many."""
    ready = _READY.order_by(TOLD.c.email_id, TOLD.c.at).limit(CHUNK)
    done = 0
    for identifier in session.execute(ready).scalars().all():
        told = session.get_one(Told, identifier, with_for_update=True, populate_existing=True)
        if told.state is ToldState.EARLY and told.email_id is not None:
            email = session.get_one(Email, told.email_id, with_for_update=True, populate_existing=True)
            follow(session, Case(told, email), now)
            keeping.settle(session, told, ToldState.DONE)
            done += 1
    return done


def refused(session: Session, email_id: str, report: Report, now: datetime) -> None:
    """Count a soft bounce that our own relay told us at once; the outcome of its mail is written already."""
    email = session.get_one(Email, email_id, populate_existing=True)
    told = keeping.keep(session, report._replace(source=AT_ONCE), Proof(OURSELVES, email_id), email, now)
    if told is not None:
        softly.note(session, told, email, now)
        keeping.settle(session, told, ToldState.DONE)


def waiting(session: Session) -> bool:
    """Return whether some report waits for its mail's outcome that is there by now."""
    return session.execute(_READY.limit(1)).first() is not None


def give_up(session: Session, now: datetime) -> None:
    """Show reports as unmatched whose mail has had no outcome for three days."""
    late = (TOLD.c.state == ToldState.EARLY, TOLD.c.heard_at < now - WAITS)
    session.execute(TOLD.update().where(*late).values(state=ToldState.UNMATCHED, why=_TOO_LONG))


def _order(item: _Item, now: datetime) -> tuple[str, datetime, int]:
    email = item.match.email
    return (email.id if email else "", keeping.happened(item.report, now) or now, list(Kind).index(item.report.kind))


def _one(session: Session, item: _Item, now: datetime) -> Heard:
    email = item.match.email
    told = keeping.keep(session, item.report, item.proof, email, now)
    if told is None:
        first = keeping.earlier(session, item.report, item.proof, email)
        return Heard(Fate.REPEATED, first.id, first.email_id)
    if email is None:
        keeping.settle(session, told, ToldState.UNMATCHED, item.match.why)
        return Heard(Fate.UNMATCHED if believed(item.proof) else Fate.REFUSED, told.id, None, item.match.why)
    # Locked, and read anew: an outcome, or another report, may have been written meanwhile.
    session.refresh(email, with_for_update=True)
    if too_early(item.report.kind, email.status):
        keeping.settle(session, told, ToldState.EARLY, "its mail has no outcome yet")
        return Heard(Fate.EARLY, told.id, email.id, told.why)
    news = follow(session, Case(told, email), now)
    keeping.settle(session, told, ToldState.DONE)
    return Heard(Fate.DONE if news else Fate.REPEATED, told.id, email.id)
