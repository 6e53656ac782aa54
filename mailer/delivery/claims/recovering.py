"""What becomes of mail that nobody works on any more: a dead worker's, and what waited too long."""

from datetime import datetime, timedelta

from sqlalchemy import and_, case, or_, select, update
from sqlmodel import Session, col

from mailer import events
from mailer.counters import Tally
from mailer.database import on_postgresql
from mailer.delivery.claims.rows import COLUMNS, EMAIL, LEASE, Job, event_of
from mailer.feedback import hearing
from mailer.feedback.inbound.report import Category, Kind, Report
from mailer.models import Lease
from mailer.status import Status
from suppression.rules import Stream

#: After how long without a beat a worker counts as dead.
LAPSE = timedelta(seconds=30)


def recover(session: Session, now: datetime, *, holder: str | None = None) -> int:
    """Void dead leases and decide what becomes of their mail; return how many emails that were.

    Without an intent nothing was sent: back into the queue. With one, the mail may have gone: a transactional email is
    sent again (same Message-ID, Date and content), a promotional one is `uncertain` (spec section 3). `holder` names a
    worker that is known to be dead, such as the `serve` before this one.
    """
    lapsed = col(Lease.beat_at) < now - LAPSE
    dead = select(Lease).where(lapsed if holder is None else or_(lapsed, col(Lease.holder) == holder))
    if on_postgresql(session):
        dead = dead.with_for_update(skip_locked=True)
    number = 0
    for lease in session.execute(dead).scalars().all():
        number += void(session, lease.id, now)
        session.delete(lease)
    session.flush()
    return number


def void(session: Session, lease: str, now: datetime) -> int:
    """Take back everything that a lease holds; return how many emails that were."""
    held = and_(EMAIL.c.lease == lease, EMAIL.c.status == Status.SENDING)
    sent_again = EMAIL.c.stream == Stream.TRANSACTIONAL
    unsure = and_(held, EMAIL.c.intent_at.is_not(None), ~sent_again)
    tally = Tally()
    ended = update(EMAIL).where(unsure).values(status=Status.UNCERTAIN, settled_at=now)
    doubtful = [Job._make(row) for row in session.execute(ended.returning(*COLUMNS))]
    for job in doubtful:
        tally.count(job, Status.UNCERTAIN, now)
    events.write(session, [event_of(job, Status.UNCERTAIN, None, now) for job in doubtful])
    tally.write(session)
    back = session.execute(
        update(EMAIL)
        .where(held)
        .values(
            status=case(
                (and_(EMAIL.c.campaign_id.is_not(None), EMAIL.c.attempts == 0), Status.HELD), else_=Status.QUEUED
            ),
            maybe_duplicate=or_(EMAIL.c.maybe_duplicate, EMAIL.c.intent_at.is_not(None)),
            intent_at=None,
        )
        .returning(EMAIL.c.id)
    ).all()
    return len(doubtful) + len(back)


def give_back(session: Session, lease: str, now: datetime) -> None:
    """End a lease: what it still holds was not tried, or is in doubt as after a crash."""
    void(session, lease, now)
    session.execute(LEASE.delete().where(LEASE.c.id == lease))


def expire(session: Session, now: datetime, give_up: timedelta) -> int:
    """Settle what waited too long: `expires_at` passed, or retries ran out while nobody could claim it."""
    tally = Tally()
    number = 0
    happened = []
    # The same words as the partial indexes on these two moments have: what waits may be a million mails.
    waiting = EMAIL.c.waiting
    rules = (
        (Status.EXPIRED, and_(waiting, EMAIL.c.expires_at <= now)),
        (Status.BOUNCED, and_(waiting, EMAIL.c.status == Status.DEFERRED, EMAIL.c.dated_at < now - give_up)),
        # Claimed once, never refused: our own relay was away all the time.
        (Status.FAILED, and_(waiting, EMAIL.c.status == Status.QUEUED, EMAIL.c.dated_at < now - give_up)),
    )
    for status, condition in rules:
        some = select(EMAIL.c.id).where(condition).limit(1000).scalar_subquery()
        ended = update(EMAIL).where(EMAIL.c.id.in_(some), condition).values(status=status, settled_at=now)
        jobs = [Job._make(row) for row in session.execute(ended.returning(*COLUMNS))]
        for job in jobs:
            tally.count(job, status, now)
            data: dict[str, object] = {"reply": job.reply}
            if status is Status.BOUNCED:
                tally.count(job, "soft_bounced", now)
                # Refused to the end: a soft bounce of its mailbox, as when the last answer itself comes too late.
                said = Report(Kind.BOUNCED, Category.EXPIRED, diagnostic=job.reply)
                hearing.refused(session, job.id, said, now)
                data |= {"category": said.category, "hard": False}
            happened.append(event_of(job, status, data, now))
        number += len(jobs)
    events.write(session, happened)
    tally.write(session)
    return number
