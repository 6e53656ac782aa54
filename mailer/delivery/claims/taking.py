"""Taking mail: what is due, urgent first, under a lease that lives while it is beaten."""

from datetime import datetime

from sqlalchemy import bindparam, func, select, update
from sqlmodel import Session

from mailer import ids
from mailer.database import on_postgresql
from mailer.delivery.claims.rows import EMAIL, LEASE, Ask, Job
from mailer.models import Lease
from mailer.status import CLAIMABLE, Status
from suppression.rules import Stream


def claim(session: Session, ask: Ask, now: datetime) -> list[Job]:
    """Take the next due emails, urgent first; nothing is sent by that, and a claim alone can be taken back."""
    jobs: list[Job] = []
    if not beat(session, ask.lease, now):
        # Voided while the worker slept: nobody would take back what is claimed under a lease that is gone.
        return jobs
    for urgency in ask.urgencies:
        if len(jobs) >= ask.limit:
            break
        due = (
            select(EMAIL.c.id)
            .where(
                EMAIL.c.stream == ask.stream,
                EMAIL.c.captured.in_([True, False] if ask.captured is None else [ask.captured]),
                EMAIL.c.urgency == urgency,
                EMAIL.c.status.in_(CLAIMABLE),
                EMAIL.c.due_at <= now,
            )
            .order_by(EMAIL.c.due_at)
            .limit(ask.limit - len(jobs))
        )
        if on_postgresql(session):
            due = due.with_for_update(skip_locked=True)
        statement = (
            update(EMAIL)
            .where(EMAIL.c.id.in_(due.scalar_subquery()), EMAIL.c.status.in_(CLAIMABLE))
            .values(
                status=Status.SENDING,
                lease=ask.lease,
                intent_at=None,
                dated_at=func.coalesce(EMAIL.c.dated_at, bindparam("dated", now, type_=EMAIL.c.dated_at.type)),
            )
            .returning(*EMAIL.c)
        )
        jobs += session.execute(statement).all()
    return sorted(jobs, key=lambda job: (job.urgency, job.due_at, job.id))


def oldest_due(session: Session, stream: Stream, now: datetime) -> datetime | None:
    """Return since when the oldest email that could be claimed now has been due; None where nothing is."""
    found: list[datetime] = []
    for urgency in (0, 1, 2):
        statement = select(EMAIL.c.due_at).where(
            EMAIL.c.stream == stream,
            EMAIL.c.captured.in_([True, False]),
            EMAIL.c.urgency == urgency,
            EMAIL.c.status.in_(CLAIMABLE),
            EMAIL.c.due_at <= now,
        )
        found += session.execute(statement.order_by(EMAIL.c.due_at).limit(1)).scalars().all()
    return min(found, default=None)


def due(session: Session, stream: Stream, now: datetime) -> bool:
    """Return whether anything of a stream could be claimed now."""
    return oldest_due(session, stream, now) is not None


def open_lease(session: Session, stream: Stream, holder: str, now: datetime) -> str:
    """Return a fresh lease; it lives while it is beaten."""
    lease = Lease(id=ids.new("le", now), stream=stream, holder=holder, beat_at=now)
    session.add(lease)
    session.flush()
    return lease.id


def beat(session: Session, lease: str, now: datetime) -> bool:
    """Say that the worker lives; False where its lease was voided meanwhile."""
    beaten = update(LEASE).where(LEASE.c.id == lease).values(beat_at=now).returning(LEASE.c.id)
    return session.execute(beaten).first() is not None
