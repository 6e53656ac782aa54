"""Claim, intend, settle: the guarded bulk updates that a worker makes, and what becomes of a dead worker's mail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Boolean, Row, Select, String, Update, and_, any_, bindparam, case, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.dml import ReturningUpdate
from sqlmodel import Session, SQLModel, col

from mailer import counters, ids
from mailer.counters import Tally
from mailer.database import on_postgresql, order_people
from mailer.models import Lease
from mailer.status import CLAIMABLE, Status
from suppression import entries
from suppression.entries import NewEntry, Question
from suppression.rules import ALL, Origin, Reason, Stream, Topic

_email = SQLModel.metadata.tables["email"]
#: One email as a claim returned it: every column of the table.
Job = Row[Any]

#: After how long without a beat a worker counts as dead.
LAPSE = timedelta(seconds=30)


class Ask(NamedTuple):
    """What a worker wants to claim."""

    stream: Stream
    #: None: whatever the route; else only what goes to the inbox, or only what goes to the relay.
    captured: bool | None
    lease: str
    limit: int
    urgencies: tuple[int, ...] = (0, 1, 2)


class Worker(NamedTuple):
    """Who commits: under which lease, into which slot of the counters, with which suppression key."""

    lease: str
    slot: int
    key_id: str


class Outcome(NamedTuple):
    """What became of one attempt."""

    job: Job
    status: Status
    reply: str | None = None
    category: str = ""
    hard: bool = False
    tracked: bool = False
    due_at: datetime | None = None
    maybe_duplicate: bool = False


@dataclass(slots=True)
class Step:
    """What one connection wants committed: the outcome of its last mail, and the intent of its next."""

    outcome: Outcome | None = None
    intent: Job | None = None
    granted: bool = field(default=False)


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
            select(_email.c.id)
            .where(
                _email.c.stream == ask.stream,
                _email.c.captured.in_([True, False] if ask.captured is None else [ask.captured]),
                _email.c.urgency == urgency,
                _email.c.status.in_(CLAIMABLE),
                _email.c.due_at <= now,
            )
            .order_by(_email.c.due_at)
            .limit(ask.limit - len(jobs))
        )
        if on_postgresql(session):
            due = due.with_for_update(skip_locked=True)
        statement = (
            update(_email)
            .where(_email.c.id.in_(due.scalar_subquery()), _email.c.status.in_(CLAIMABLE))
            .values(
                status=Status.SENDING,
                lease=ask.lease,
                intent_at=None,
                dated_at=func.coalesce(_email.c.dated_at, bindparam("dated", now, type_=_email.c.dated_at.type)),
            )
            .returning(*_email.c)
        )
        jobs += session.execute(statement).all()
    return sorted(jobs, key=lambda job: (job.urgency, job.due_at, job.id))


def commit(session: Session, steps: Sequence[Step], worker: Worker, now: datetime) -> None:
    """Settle outcomes and write the intents that nothing forbids: one transaction for all connections that wait.

    After the commit `step.granted` says whether DATA may be sent. An intent is refused where the lease was lost, the
    email was cancelled, it expired, or a suppression forbids it: the last answer, and the only one that counts.
    """
    tally = Tally()
    lease = worker.lease
    order_people(session, {(step.intent.tenant_id, step.intent.fingerprint or b"") for step in steps if step.intent})
    settle(session, [step.outcome for step in steps if step.outcome], worker, tally, now)
    wanted = {step.intent.id: step for step in steps if step.intent is not None}
    if wanted:
        asked = {"wanted": list(wanted), "held": lease, "now": now}
        granted = set(session.connection().execute(_intent(arrays=on_postgresql(session)), asked).scalars())
        for identifier, step in wanted.items():
            step.granted = identifier in granted
        if refused := [step.intent for step in wanted.values() if not step.granted and step.intent is not None]:
            _refuse(session, refused, lease, tally, now)
    tally.write(session, worker.slot)


@lru_cache(maxsize=2)
def _intent(*, arrays: bool) -> ReturningUpdate[Any]:
    """Return the statement that writes intents; built once, because building it costs more than running it."""
    moment = bindparam("now", type_=_email.c.due_at.type)
    if arrays:
        wanted = _email.c.id == any_(bindparam("wanted", type_=ARRAY(String)))
    else:
        wanted = _email.c.id.in_(bindparam("wanted", expanding=True))
    return (
        update(_email)
        .where(
            wanted,
            _email.c.lease == bindparam("held"),
            _email.c.status == Status.SENDING,
            _email.c.address.is_not(None),
            or_(_email.c.expires_at.is_(None), _email.c.expires_at > moment),
            ~entries.forbids(
                _email.c.tenant_id,
                _email.c.fingerprint,
                _email.c.stream,
                _email.c.topic,
                _email.c.leavable,
                moment,
            ),
        )
        .values(intent_at=moment, attempts=_email.c.attempts + 1)
        .returning(_email.c.id)
    )


@lru_cache(maxsize=1)
def _settlement() -> Update:
    """Return the statement that writes outcomes, one row each, under the lease they were made with."""
    moment = bindparam("b_now", type_=_email.c.due_at.type)
    return (
        update(_email)
        .where(_email.c.id == bindparam("b_id"), _email.c.lease == bindparam("b_lease"))
        .where(_email.c.status == Status.SENDING)
        .values(
            status=bindparam("b_status"),
            reply=bindparam("b_reply"),
            tracked=bindparam("b_tracked"),
            maybe_duplicate=or_(_email.c.maybe_duplicate, bindparam("b_duplicate", type_=Boolean())),
            due_at=func.coalesce(bindparam("b_due_at", type_=_email.c.due_at.type), _email.c.due_at),
            sent_at=case((bindparam("b_sent", type_=Boolean()), moment), else_=_email.c.sent_at),
            settled_at=moment,
            lease=None,
            intent_at=None,
        )
    )


def settle(session: Session, outcomes: Sequence[Outcome], worker: Worker, tally: Tally, now: datetime) -> None:
    """Write what became of attempts; only under the lease they were made with, else not even counted."""
    if not outcomes:
        return
    asked = {"wanted": [outcome.job.id for outcome in outcomes], "held": worker.lease}
    statement = _held(arrays=on_postgresql(session), whole=False)
    ours = set(session.connection().execute(statement, asked).scalars())
    outcomes = [outcome for outcome in outcomes if outcome.job.id in ours]
    if not outcomes:
        return
    session.connection().execute(
        _settlement(),
        [
            {
                "b_id": outcome.job.id,
                "b_lease": worker.lease,
                "b_now": now,
                "b_status": outcome.status,
                "b_reply": outcome.reply,
                "b_tracked": outcome.tracked,
                "b_duplicate": outcome.maybe_duplicate,
                "b_due_at": outcome.due_at,
                "b_sent": outcome.status is Status.SENT,
            }
            for outcome in outcomes
        ],
    )
    events = []
    for outcome in outcomes:
        if outcome.status is Status.QUEUED:
            continue
        _count(tally, outcome.job, outcome.status)
        if outcome.tracked and outcome.status is Status.SENT:
            _count(tally, outcome.job, "tracked")
        if outcome.status is not Status.SENT:
            data = {"reply": outcome.reply, "category": outcome.category, "hard": outcome.hard}
            events.append(_event(outcome.job, outcome.status, data, now))
        if outcome.hard:
            _suppress_hard(session, outcome, worker.key_id, now)
    if events:
        session.execute(SQLModel.metadata.tables["event"].insert(), events)


@lru_cache(maxsize=4)
def _held(*, arrays: bool, whole: bool) -> Select[Any]:
    """Return the statement that locks what a lease still holds of some emails, and reads their rows or only ids."""
    if arrays:
        wanted = _email.c.id == any_(bindparam("wanted", type_=ARRAY(String)))
    else:
        wanted = _email.c.id.in_(bindparam("wanted", expanding=True))
    ours = and_(wanted, _email.c.lease == bindparam("held"), _email.c.status == Status.SENDING)
    return select(*(_email.c if whole else [_email.c.id])).where(ours).with_for_update()


def _suppress_hard(session: Session, outcome: Outcome, key_id: str, now: datetime) -> None:
    job = outcome.job
    entries.add(
        session,
        NewEntry(
            tenant_id=job.tenant_id,
            fingerprint=job.fingerprint,
            key_id=key_id,
            reason=Reason.HARD_BOUNCE,
            scope=ALL,
            origin=Origin.PROVIDER,
            address=job.address,
            evidence={"email_id": job.id, "reply": outcome.reply, "category": outcome.category},
        ),
        now,
    )


def _refuse(session: Session, jobs: Sequence[Job], lease: str, tally: Tally, now: datetime) -> None:
    """Say why each intent was refused: expired, or forbidden by an entry; what somebody else settled stays as it is."""
    asked = {"wanted": [job.id for job in jobs], "held": lease}
    # Read anew: what made the intent impossible may have been written after the claim.
    jobs = session.connection().execute(_held(arrays=on_postgresql(session), whole=True), asked).all()
    deciding = _deciding(session, jobs, now)
    events = []
    for job in jobs:
        entry = deciding[job.id]
        expired = job.expires_at is not None and job.expires_at <= now
        if entry is None and not expired and job.address is not None:
            # The entry that forbade it was lifted in this very moment: it goes back and is asked again.
            values: dict[str, object] = {"status": Status.QUEUED}
        elif expired:
            values = {"status": Status.EXPIRED}
        elif entry is not None:
            values = {"status": Status.SUPPRESSED, "suppression_id": entry.id, "suppression_reason": entry.reason.value}
        else:
            values = {"status": Status.CANCELLED}
        session.execute(
            update(_email)
            .where(_email.c.id == job.id, _email.c.lease == lease, _email.c.status == Status.SENDING)
            .values(lease=None, settled_at=now, **values)
        )
        if values["status"] is not Status.QUEUED:
            metric = f"suppressed:{entry.reason}" if entry is not None and not expired else str(values["status"])
            _count(tally, job, metric)
            events.append(_event(job, Status(str(values["status"])), None, now))
    if events:
        session.execute(SQLModel.metadata.tables["event"].insert(), events)


def _deciding(session: Session, jobs: Sequence[Job], now: datetime) -> Mapping[str, entries.Entry | None]:
    found: dict[str, entries.Entry | None] = {}
    for tenant_id in {job.tenant_id for job in jobs}:
        of_tenant = [job for job in jobs if job.tenant_id == tenant_id]
        questions = [
            Question(
                job.fingerprint or b"",
                job.stream,
                Topic(job.topic, job.stream, bool(job.leavable)) if job.topic else None,
            )
            for job in of_tenant
        ]
        answers = entries.check_many(session, tenant_id, questions, now)
        found.update({job.id: entry for job, entry in zip(of_tenant, answers, strict=True)})
    return found


def _event(job: Job, status: Status, data: Mapping[str, object] | None, now: datetime) -> dict[str, object]:
    return {
        "id": ids.new("ev", now),
        "tenant_id": job.tenant_id,
        "email_id": job.id,
        "kind": f"email.{status}",
        "at": now,
        "data": data,
    }


def _count(tally: Tally, job: Job, metric: str) -> None:
    dims = counters.dimensions(tags=job.tags, topic=job.topic, template=job.template)
    tally.add(job.tenant_id, job.created_at.date(), job.stream, metric, dims)


def open_lease(session: Session, stream: Stream, holder: str, now: datetime) -> str:
    """Return a fresh lease; it lives while it is beaten."""
    lease = Lease(id=ids.new("le", now), stream=stream, holder=holder, beat_at=now)
    session.add(lease)
    session.flush()
    return lease.id


def beat(session: Session, lease: str, now: datetime) -> bool:
    """Say that the worker lives; False where its lease was voided meanwhile."""
    table = SQLModel.metadata.tables["lease"]
    beaten = update(table).where(table.c.id == lease).values(beat_at=now).returning(table.c.id)
    return session.execute(beaten).first() is not None


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
    held = and_(_email.c.lease == lease, _email.c.status == Status.SENDING)
    sent_again = _email.c.stream == Stream.TRANSACTIONAL
    unsure = and_(held, _email.c.intent_at.is_not(None), ~sent_again)
    tally = Tally()
    doubtful = session.execute(
        update(_email).where(unsure).values(status=Status.UNCERTAIN, lease=None, settled_at=now).returning(*_email.c)
    ).all()
    for job in doubtful:
        _count(tally, job, Status.UNCERTAIN)
    if doubtful:
        events = [_event(job, Status.UNCERTAIN, None, now) for job in doubtful]
        session.execute(SQLModel.metadata.tables["event"].insert(), events)
    tally.write(session)
    back = session.execute(
        update(_email)
        .where(held)
        .values(
            status=Status.QUEUED,
            lease=None,
            maybe_duplicate=or_(_email.c.maybe_duplicate, _email.c.intent_at.is_not(None)),
            intent_at=None,
        )
        .returning(_email.c.id)
    ).all()
    return len(doubtful) + len(back)


def give_back(session: Session, lease: str, now: datetime) -> None:
    """End a lease: what it still holds was not tried, or is in doubt as after a crash."""
    void(session, lease, now)
    table = SQLModel.metadata.tables["lease"]
    session.execute(table.delete().where(table.c.id == lease))


def expire(session: Session, now: datetime, give_up: timedelta) -> int:
    """Settle what waited too long: `expires_at` passed, or retries ran out while nobody could claim it."""
    tally = Tally()
    number = 0
    waiting = _email.c.status.in_(CLAIMABLE)
    rules = (
        (Status.EXPIRED, and_(waiting, _email.c.expires_at <= now)),
        (Status.BOUNCED, and_(_email.c.status == Status.DEFERRED, _email.c.dated_at < now - give_up)),
        # Claimed once, never refused: our own relay was away all the time.
        (Status.FAILED, and_(_email.c.status == Status.QUEUED, _email.c.dated_at < now - give_up)),
    )
    for status, condition in rules:
        some = select(_email.c.id).where(condition).limit(1000).scalar_subquery()
        jobs = session.execute(
            update(_email)
            .where(_email.c.id.in_(some), condition)
            .values(status=status, settled_at=now)
            .returning(*_email.c)
        ).all()
        for job in jobs:
            _count(tally, job, status)
        if jobs:
            events = [_event(job, status, {"reply": job.reply}, now) for job in jobs]
            session.execute(SQLModel.metadata.tables["event"].insert(), events)
        number += len(jobs)
    tally.write(session)
    return number


def due(session: Session, stream: Stream, now: datetime) -> bool:
    """Return whether anything of a stream could be claimed now."""
    for urgency in (0, 1, 2):
        statement = select(_email.c.id).where(
            _email.c.stream == stream,
            _email.c.captured.in_([True, False]),
            _email.c.urgency == urgency,
            _email.c.status.in_(CLAIMABLE),
            _email.c.due_at <= now,
        )
        if session.execute(statement.limit(1)).first():
            return True
    return False
