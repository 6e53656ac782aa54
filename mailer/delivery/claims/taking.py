"""Taking mail: what is due, urgent first, then campaigns, under a lease that lives while it is beaten."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, bindparam, exists, func, select, update
from sqlalchemy.sql.dml import ReturningUpdate
from sqlmodel import Session

from mailer import ids
from mailer.database import on_postgresql
from mailer.delivery.claims.rows import CAMPAIGN, COLUMNS, EMAIL, LEASE, RAW, Ask, Job, job_of
from mailer.models import CampaignStatus, Lease
from mailer.status import Status
from suppression.rules import Stream


def claim(session: Session, ask: Ask, now: datetime) -> list[Job]:
    """Take the next due emails, urgent first; nothing is sent by that, and a claim alone can be taken back.

    What no single mail fills is filled from the campaigns that run, one chosen at random, so that each has its turn.
    """
    jobs: list[Job] = []
    if not beat(session, ask.lease, now):
        # Voided while the worker slept: nobody would take back what is claimed under a lease that is gone.
        return jobs
    for urgency in ask.urgencies:
        if len(jobs) < ask.limit:
            due = _due(ask, now).where(EMAIL.c.urgency == urgency).limit(ask.limit - len(jobs))
            jobs += _take(session, due, ask, now, {})
    if len(ask.urgencies) > 1:
        for campaign in session.execute(_running(ask.stream, now).order_by(func.random())).all():
            if len(jobs) < ask.limit:
                held = _held(ask, campaign.id, now).limit(ask.limit - len(jobs))
                jobs += _take(session, held, ask, now, _frozen(campaign))
    return sorted(jobs, key=lambda job: (job.urgency, job.due_at, job.id))


def _captured(ask: Ask) -> list[bool]:
    return [True, False] if ask.captured is None else [ask.captured]


def _due(ask: Ask, now: datetime) -> Select[Any]:
    return (
        select(EMAIL.c.id)
        .where(
            EMAIL.c.stream == ask.stream,
            EMAIL.c.captured.in_(_captured(ask)),
            EMAIL.c.waiting,
            EMAIL.c.due_at <= now,
        )
        .order_by(EMAIL.c.due_at)
    )


def _held(ask: Ask, campaign_id: str, now: datetime) -> Select[Any]:
    return (
        select(EMAIL.c.id)
        .where(
            EMAIL.c.campaign_id == campaign_id,
            EMAIL.c.captured.in_(_captured(ask)),
            EMAIL.c.held,
            EMAIL.c.due_at <= now,
        )
        .order_by(EMAIL.c.due_at)
    )


def _running(stream: Stream, now: datetime) -> Select[Any]:
    """Return the campaigns that run and have somebody left."""
    left = exists().where(EMAIL.c.campaign_id == CAMPAIGN.c.id, EMAIL.c.held, EMAIL.c.due_at <= now)
    return select(CAMPAIGN).where(CAMPAIGN.c.status == CampaignStatus.RUNNING, CAMPAIGN.c.stream == stream, left)


def _frozen(campaign: Row[Any]) -> Mapping[str, object]:
    """Return what the start of a campaign froze, which its mail takes over now."""
    names = ("content_id", "template", "from_address", "from_name", "opens", "expires_at")
    return {name: getattr(campaign, name) for name in names}


def _take(session: Session, due: Select[Any], ask: Ask, now: datetime, also: Mapping[str, object]) -> list[Job]:
    """Mark these as ours and return them."""
    raw = on_postgresql(session)
    if raw:
        due = due.with_for_update(skip_locked=True)
    statement: ReturningUpdate[Any] = (
        update(EMAIL)
        .where(EMAIL.c.id.in_(due.scalar_subquery()))
        .values(
            status=Status.SENDING,
            lease=ask.lease,
            intent_at=None,
            dated_at=func.coalesce(EMAIL.c.dated_at, bindparam("dated", now, type_=EMAIL.c.dated_at.type)),
            **also,
        )
        .returning(*(RAW if raw else COLUMNS))
    )
    return [job_of(row) if raw else Job._make(row) for row in session.execute(statement)]


def job(session: Session, email_id: str) -> Job | None:
    """Return one email as a job, whoever has it; None where it is unknown."""
    row = session.execute(select(*COLUMNS).where(EMAIL.c.id == email_id)).first()
    return Job._make(row) if row is not None else None


def oldest_due(session: Session, stream: Stream, now: datetime) -> datetime | None:
    """Return since when the oldest email that could be claimed now has been due; None where nothing is."""
    found: list[datetime] = []
    ask = Ask(stream, None, "", 1)
    for urgency in ask.urgencies:
        oldest = _due(ask, now).where(EMAIL.c.urgency == urgency).with_only_columns(EMAIL.c.due_at).limit(1)
        found += session.execute(oldest).scalars().all()
    return min(found, default=None)


def due(session: Session, stream: Stream, now: datetime) -> bool:
    """Return whether anything of a stream could be claimed now."""
    if oldest_due(session, stream, now) is not None:
        return True
    return session.execute(_running(stream, now).limit(1)).first() is not None


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
