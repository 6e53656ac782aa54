"""Taking mail: what is due, urgent first, then campaigns, under a lease that lives while it is beaten."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, any_, bindparam, exists, func, or_, select, update
from sqlalchemy.sql.dml import ReturningUpdate
from sqlmodel import Session

from mailer import halts, ids
from mailer.database import on_postgresql
from mailer.delivery.claims.rows import CAMPAIGN, COLUMNS, EMAIL, LEASE, RAW, Ask, Job, job_of
from mailer.delivery.claims.statements import MOMENT, given
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
    paused = _paused(session, ask.stream)
    asked: dict[str, object] = {"b_now": now, "b_lease": ask.lease, "b_paused": paused}
    for due in _asked(ask.stream, ask.captured, ask.urgencies, now):
        if len(jobs) < ask.limit:
            jobs += _take(session, {**asked, **due, "b_limit": ask.limit - len(jobs)}, campaign=False)
    if len(ask.urgencies) > 1:
        running = _running(ask.stream, now, ask.captured, paused).order_by(func.random())
        for campaign in session.execute(running).all():
            frozen = {f"b_{name}": getattr(campaign, name) for name in _FROZEN}
            for route in _routes(ask.captured):
                if len(jobs) < ask.limit:
                    wanted = {"b_campaign": campaign.id, "b_captured": route, "b_limit": ask.limit - len(jobs)}
                    jobs += _take(session, {**asked, **frozen, **wanted}, campaign=True)
    return sorted(jobs, key=lambda job: (job.urgency, job.due_at, job.id))


#: What the start of a campaign froze, and its mail takes over when it is claimed.
_FROZEN = ("content_id", "template", "from_address", "from_name", "opens", "clicks", "expires_at")


def _routes(captured: bool | None) -> list[bool]:
    return [False, True] if captured is None else [captured]


def _asked(
    stream: Stream, captured: bool | None, urgencies: Sequence[int], now: datetime
) -> Iterator[dict[str, object]]:
    """Return what to ask one after the other: each is a walk along the index, both routes at once would be a sort."""
    for urgency in urgencies:
        for route in _routes(captured):
            yield {"b_stream": stream, "b_captured": route, "b_urgency": urgency, "b_now": now}


def _paused(session: Session, stream: Stream) -> list[int]:
    """Return the tenants whose mail of a stream is paused; transactional mail never is (spec section 3)."""
    return halts.paused_tenants(session, stream) if stream is Stream.PROMOTIONAL else []


def _due(*, but_paused: bool = False) -> Select[Any]:
    """Return the single mail that is due; `but_paused` leaves out that of the tenants `b_paused`."""
    stream, urgency = given("stream", EMAIL.c.stream.type), given("urgency", EMAIL.c.urgency.type)
    which = [EMAIL.c.stream == stream, EMAIL.c.urgency == urgency, EMAIL.c.waiting]
    if but_paused:
        which.append(EMAIL.c.tenant_id.not_in(bindparam("b_paused", expanding=True)))
    return _oldest(*which)


def _held() -> Select[Any]:
    return _oldest(EMAIL.c.campaign_id == given("campaign", EMAIL.c.campaign_id.type), EMAIL.c.held)


def _oldest(*which: ColumnElement[bool]) -> Select[Any]:
    """Return the ids of mail of one route whose time has come, the longest due first."""
    route = EMAIL.c.captured == given("captured", EMAIL.c.captured.type)
    chosen = select(EMAIL.c.id).where(*which, route, EMAIL.c.due_at <= MOMENT)
    return chosen.order_by(EMAIL.c.due_at).limit(given("limit", Integer()))


def _running(stream: Stream, now: datetime, captured: bool | None, paused: Sequence[int]) -> Select[Any]:
    """Return the campaigns that run and have somebody left, but for those of paused tenants."""
    left = [
        exists().where(
            EMAIL.c.campaign_id == CAMPAIGN.c.id, EMAIL.c.captured == route, EMAIL.c.held, EMAIL.c.due_at <= now
        )
        for route in _routes(captured)
    ]
    which = [CAMPAIGN.c.status == CampaignStatus.RUNNING, CAMPAIGN.c.stream == stream, or_(*left)]
    return select(CAMPAIGN).where(*which, *([CAMPAIGN.c.tenant_id.not_in(paused)] if paused else []))


@lru_cache(maxsize=6)
def _taking(*, raw: bool, campaign: bool, but_paused: bool) -> ReturningUpdate[Any]:
    """Return the statement that marks mail as a lease's and reads it; built once, for it takes long to build."""
    chosen = _held() if campaign else _due(but_paused=but_paused)
    # An array is made once: PostgreSQL may run a subquery of IN again for each row, and with locked rows skipped each
    # time finds others, so that a claim takes more than its limit.
    skipping = func.array(chosen.with_for_update(skip_locked=True).scalar_subquery())
    mine = EMAIL.c.id == any_(skipping) if raw else EMAIL.c.id.in_(chosen.scalar_subquery())
    values = {name: given(name, EMAIL.c[name].type) for name in _FROZEN} if campaign else {}
    return (
        update(EMAIL)
        .where(mine)
        .values(
            status=Status.SENDING,
            lease=given("lease", EMAIL.c.lease.type),
            intent_at=None,
            dated_at=func.coalesce(EMAIL.c.dated_at, MOMENT),
            **values,
        )
        .returning(*(RAW if raw else COLUMNS))
    )


def _take(session: Session, asked: dict[str, object], *, campaign: bool) -> list[Job]:
    """Mark these as ours and return them."""
    raw, but_paused = on_postgresql(session), bool(asked["b_paused"]) and not campaign
    rows = session.connection().execute(_taking(raw=raw, campaign=campaign, but_paused=but_paused), asked)
    return [job_of(row) if raw else Job._make(row) for row in rows]


def job(session: Session, email_id: str) -> Job | None:
    """Return one email as a job, whoever has it; None where it is unknown."""
    row = session.execute(select(*COLUMNS).where(EMAIL.c.id == email_id)).first()
    return Job._make(row) if row is not None else None


def oldest_due(session: Session, stream: Stream, now: datetime, captured: bool | None = None) -> datetime | None:
    """Return since when the oldest email that could be claimed now has been due; None where nothing is."""
    found: list[datetime] = []
    paused = _paused(session, stream)
    oldest = _due(but_paused=bool(paused)).with_only_columns(EMAIL.c.due_at)
    for asked in _asked(stream, captured, (0, 1, 2), now):
        found += session.execute(oldest, {**asked, "b_limit": 1, "b_paused": paused}).scalars().all()
    return min(found, default=None)


def due(session: Session, stream: Stream, now: datetime, captured: bool | None = None) -> bool:
    """Return whether anything of a stream could be claimed now; `captured` as in `Ask`."""
    if oldest_due(session, stream, now, captured) is not None:
        return True
    return session.execute(_running(stream, now, captured, _paused(session, stream)).limit(1)).first() is not None


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
