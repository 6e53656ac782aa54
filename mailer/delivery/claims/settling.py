"""Settling: outcomes and intents of all connections that wait, in one transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Select,
    String,
    Update,
    and_,
    any_,
    bindparam,
    case,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.dml import ReturningUpdate
from sqlmodel import Session

from mailer.counters import Tally
from mailer.database import on_postgresql, order_people
from mailer.delivery.claims.rows import EMAIL, EVENT, Job, Outcome, Step, Worker, count, event_of
from mailer.status import Status
from suppression import entries
from suppression.entries import NewEntry, Question
from suppression.rules import ALL, Origin, Reason, Topic


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
        asked = {"wanted": list(wanted), "mine": lease, "now": now}
        granted = set(session.connection().execute(_intent(arrays=on_postgresql(session)), asked).scalars())
        for identifier, step in wanted.items():
            step.granted = identifier in granted
        if refused := [step.intent for step in wanted.values() if not step.granted and step.intent is not None]:
            _refuse(session, refused, lease, tally, now)
    tally.write(session)


def _ours(*, arrays: bool) -> ColumnElement[bool]:
    """Return what a lease (`held`) still holds of some emails (`wanted`), one statement text whatever their number."""
    if arrays:
        wanted = EMAIL.c.id == any_(bindparam("wanted", type_=ARRAY(String)))
    else:
        wanted = EMAIL.c.id.in_(bindparam("wanted", expanding=True))
    return and_(wanted, EMAIL.c.lease == bindparam("mine"), EMAIL.c.status == Status.SENDING)


@lru_cache(maxsize=2)
def _intent(*, arrays: bool) -> ReturningUpdate[Any]:
    """Return the statement that writes intents; built once, because building it costs more than running it."""
    moment = bindparam("now", type_=EMAIL.c.due_at.type)
    return (
        update(EMAIL)
        .where(
            _ours(arrays=arrays),
            EMAIL.c.address.is_not(None),
            or_(EMAIL.c.expires_at.is_(None), EMAIL.c.expires_at > moment),
            ~entries.forbids(
                EMAIL.c.tenant_id,
                EMAIL.c.fingerprint,
                EMAIL.c.stream,
                EMAIL.c.topic,
                EMAIL.c.leavable,
                moment,
            ),
        )
        .values(intent_at=moment, attempts=EMAIL.c.attempts + 1)
        .returning(EMAIL.c.id)
    )


@lru_cache(maxsize=1)
def _settlement() -> Update:
    """Return the statement that writes outcomes, one row each, under the lease they were made with."""
    moment = bindparam("b_now", type_=EMAIL.c.due_at.type)
    return (
        update(EMAIL)
        .where(EMAIL.c.id == bindparam("b_id"), EMAIL.c.lease == bindparam("b_lease"))
        .where(EMAIL.c.status == Status.SENDING)
        .values(
            status=bindparam("b_status"),
            reply=bindparam("b_reply"),
            tracked=bindparam("b_tracked"),
            maybe_duplicate=or_(EMAIL.c.maybe_duplicate, bindparam("b_duplicate", type_=Boolean())),
            due_at=func.coalesce(bindparam("b_due_at", type_=EMAIL.c.due_at.type), EMAIL.c.due_at),
            sent_at=case((bindparam("b_sent", type_=Boolean()), moment), else_=EMAIL.c.sent_at),
            settled_at=moment,
            lease=None,
            intent_at=None,
        )
    )


def settle(session: Session, outcomes: Sequence[Outcome], worker: Worker, tally: Tally, now: datetime) -> None:
    """Write what became of attempts; only under the lease they were made with, else not even counted."""
    if not outcomes:
        return
    asked = {"wanted": [outcome.job.id for outcome in outcomes], "mine": worker.lease}
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
        count(tally, outcome.job, outcome.status)
        if outcome.tracked and outcome.status is Status.SENT:
            count(tally, outcome.job, "tracked")
        if outcome.status is not Status.SENT:
            data = {"reply": outcome.reply, "category": outcome.category, "hard": outcome.hard}
            events.append(event_of(outcome.job, outcome.status, data, now))
        if outcome.hard:
            _suppress_hard(session, outcome, worker.key_id, now)
    if events:
        session.execute(EVENT.insert(), events)


@lru_cache(maxsize=4)
def _held(*, arrays: bool, whole: bool) -> Select[Any]:
    """Return the statement that locks what a lease still holds of some emails, and reads their rows or only ids."""
    return select(*(EMAIL.c if whole else [EMAIL.c.id])).where(_ours(arrays=arrays)).with_for_update()


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
    asked = {"wanted": [job.id for job in jobs], "mine": lease}
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
            update(EMAIL)
            .where(EMAIL.c.id == job.id, EMAIL.c.lease == lease, EMAIL.c.status == Status.SENDING)
            .values(lease=None, settled_at=now, **values)
        )
        if values["status"] is not Status.QUEUED:
            metric = f"suppressed:{entry.reason}" if entry is not None and not expired else str(values["status"])
            count(tally, job, metric)
            events.append(event_of(job, Status(str(values["status"])), None, now))
    if events:
        session.execute(EVENT.insert(), events)


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
