"""Settling: outcomes and intents of all connections that wait, in one transaction, whatever they are."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache

import orjson
from sqlalchemy import ColumnElement, Dialect, Update, select
from sqlmodel import Session

from mailer import events, people
from mailer.counters import Tally
from mailer.database import among, on_postgresql, share_intents
from mailer.delivery.claims import statements
from mailer.delivery.claims.counting import count_sent
from mailer.delivery.claims.rows import COLUMNS, EMAIL, Job, Outcome, Step, Worker, event_of
from mailer.delivery.claims.statements import Prepared
from mailer.feedback import hearing
from mailer.feedback.inbound.report import Category, Kind, Report
from mailer.people import Barred
from mailer.status import Status
from suppression.entries import NewEntry, Question
from suppression.rules import ALL, Origin, Reason, Topic


def commit(session: Session, steps: Sequence[Step], worker: Worker, now: datetime) -> None:
    """Settle outcomes and write the intents that nothing forbids: one transaction for all connections that wait.

    After the commit `step.granted` says whether DATA may be sent. An intent is refused where the lease was lost, the
    email was cancelled, its campaign does not run, its tenant is paused, it expired, or a suppression forbids it: the
    last answer, and the only one that counts. Why, is written by `refuse`.
    """
    tally = Tally()
    share_intents(session)
    settle(session, [step.outcome for step in steps if step.outcome], worker, tally, now)
    wanted = {step.intent.id: step for step in steps if step.intent is not None}
    if wanted:
        granted = _intend(session, list(wanted), worker, now)
        for identifier, step in wanted.items():
            step.granted = identifier in granted
    tally.write(session)


def _intend(session: Session, wanted: list[str], worker: Worker, now: datetime) -> set[str]:
    """Write intents; return the ids of those that were granted."""
    values: dict[str, object] = {"b_lease": worker.lease, "b_now": now}
    if on_postgresql(session):
        statement = statements.intent(arrays=True).returning(EMAIL.c.id)
        return set(session.connection().execute(statement, {**values, "b_ids": wanted}).scalars())
    return _at_once(session, _intents(session.get_bind().dialect), {**values, "b_ids": orjson.dumps(wanted).decode()})


@lru_cache(maxsize=2)
def _intents(dialect: Dialect) -> Prepared:
    return statements.prepare(statements.intent(arrays=False).returning(EMAIL.c.id), dialect)


@lru_cache(maxsize=4)
def _listed(build: Callable[..., Update], dialect: Dialect) -> Prepared:
    return statements.prepare(build(listed=True).returning(EMAIL.c.id), dialect)


def _at_once(session: Session, prepared: Prepared, values: Mapping[str, object]) -> set[str]:
    """Run a statement for all of a list on SQLite's own connection; return the ids of the rows that it met.

    A statement a row would cost more than its own time: between two, a thread that composes takes Python over, and
    keeps it for half a millisecond.
    """
    cursor = session.connection().connection.cursor()
    try:
        cursor.execute(prepared.text, prepared.arguments(values))
        return {str(row[0]) for row in cursor.fetchall()}
    finally:
        cursor.close()


def settle(session: Session, outcomes: Sequence[Outcome], worker: Worker, tally: Tally, now: datetime) -> None:
    """Write what became of attempts; only under the lease they were made with, else not even counted."""
    if not outcomes:
        return
    ours = _write(session, outcomes, worker, now)
    settled = [each for each in outcomes if each.job.id in ours and each.status is not Status.QUEUED]
    sent = [each for each in settled if each.status is Status.SENT]
    count_sent(tally, sent, now)
    events.announce(session, [events.sent(each.job.tenant_id, each.job.id, now) for each in sent])
    happened = []
    for outcome in settled:
        if outcome.status is Status.SENT:
            continue
        tally.count(outcome.job, outcome.status, now)
        if outcome.status is Status.BOUNCED:
            tally.count(outcome.job, "hard_bounced" if outcome.hard else "soft_bounced", now)
        data = {"reply": outcome.reply, "category": outcome.category, "hard": outcome.hard}
        happened.append(event_of(outcome.job, outcome.status, data, now))
        if outcome.hard:
            _suppress_hard(session, outcome, now)
        elif outcome.status is Status.BOUNCED:
            said = Report(Kind.BOUNCED, Category(outcome.category), diagnostic=outcome.reply)
            hearing.refused(session, outcome.job.id, said, now)
    events.write(session, happened)


def _write(session: Session, outcomes: Sequence[Outcome], worker: Worker, now: datetime) -> set[str]:
    """Write outcomes, one row each; return the ids of those that the lease still held."""
    rows: list[dict[str, object]] = [
        {
            "b_id": outcome.job.id,
            "b_status": outcome.status,
            "b_reply": outcome.reply,
            "b_tracked": outcome.tracked,
            "b_tracked_links": outcome.tracked_links,
            "b_duplicate": outcome.maybe_duplicate,
            "b_due_at": outcome.due_at,
            "b_sent": outcome.status is Status.SENT,
        }
        for outcome in outcomes
    ]
    if on_postgresql(session):
        ours = {job.id for job in held(session, [outcome.job.id for outcome in outcomes], worker)}
        rows = [row for row in rows if row["b_id"] in ours]
    return _write_each(session, statements.settlement, rows, worker, now)


def _write_each(
    session: Session, build: Callable[..., Update], rows: Sequence[dict[str, object]], worker: Worker, now: datetime
) -> set[str]:
    """Write each row by a statement of `statements`; return the ids of those that it met.

    On PostgreSQL all must be `held`: of many rows the driver does not tell which were met.
    """
    shared: dict[str, object] = {"b_lease": worker.lease, "b_now": now}
    if on_postgresql(session):
        if rows:
            session.connection().execute(build(listed=False), [{**row, **shared} for row in rows])
        return {str(row["b_id"]) for row in rows}
    dialect = session.get_bind().dialect
    # Dates as the table keeps them.
    stored = statements.converter(EMAIL.c.due_at.type, dialect)
    listed = orjson.dumps(rows, stored, orjson.OPT_PASSTHROUGH_DATETIME).decode()
    return _at_once(session, _listed(build, dialect), {**shared, "b_rows": listed})


def held(session: Session, wanted: list[str], worker: Worker, *which: ColumnElement[bool]) -> list[Job]:
    """Lock what a lease still holds of some emails, in one order, and read it anew."""
    statement = select(*COLUMNS).where(statements.ours(among(session, EMAIL.c.id, wanted)), *which)
    locked = statement.order_by(EMAIL.c.id).with_for_update()
    return [Job._make(row) for row in session.execute(locked, {"b_lease": worker.lease})]


def _suppress_hard(session: Session, outcome: Outcome, now: datetime) -> None:
    job = outcome.job
    # The row says the address, and not the job: its recipient may have been erased while it was on its way. And the
    # mail may be older than the newest key: what made its fingerprint is asked, not guessed.
    people.suppress(
        session,
        NewEntry(
            tenant_id=job.tenant_id,
            fingerprint=job.fingerprint,
            key_id=people.key_of(session, job.tenant_id, job.fingerprint),
            reason=Reason.HARD_BOUNCE,
            scope=ALL,
            origin=Origin.PROVIDER,
            address=session.execute(select(EMAIL.c.address).where(EMAIL.c.id == job.id)).scalar_one_or_none(),
            evidence={"email_id": job.id, "reply": outcome.reply, "category": outcome.category},
        ),
        now,
    )


def refuse(session: Session, jobs: Sequence[Job], worker: Worker, now: datetime) -> None:
    """Say why each intent was refused: expired, or forbidden by an entry; what somebody else settled stays as it is."""
    if not jobs:
        return
    # Read anew: what made the intent impossible may have been written after the claim.
    # One that went back and was granted an intent since then travels: it is not refused any more.
    jobs = held(session, [job.id for job in jobs], worker, EMAIL.c.intent_at.is_(None))
    deciding, tally = _deciding(session, jobs, now), Tally()
    happened, rows = list[dict[str, object]](), list[dict[str, object]]()
    for job in jobs:
        bar = deciding[job.id]
        status = _refused(job, bar, now)
        suppressed = bar if status is Status.SUPPRESSED else None
        rows.append(
            {
                "b_id": job.id,
                "b_status": status,
                "b_suppression_id": suppressed and suppressed.entry_id,
                "b_suppression_reason": suppressed and suppressed.reason,
            }
        )
        if status not in (Status.QUEUED, Status.HELD):
            tally.count(job, f"suppressed:{suppressed.reason}" if suppressed else str(status), now)
            happened.append(event_of(job, status, None, now))
    _write_each(session, statements.refusal, rows, worker, now)
    events.write(session, happened)
    tally.write(session)


def _refused(job: Job, bar: Barred | None, now: datetime) -> Status:
    """Return what becomes of an email whose intent was refused."""
    if job.expires_at is not None and job.expires_at <= now:
        return Status.EXPIRED
    if bar is not None:
        return Status.SUPPRESSED
    if job.address is None:
        return Status.CANCELLED
    # Its campaign or its tenant was paused, or an entry was lifted in this very moment: it goes back.
    return Status.HELD if job.campaign_id else Status.QUEUED


def _deciding(session: Session, jobs: Sequence[Job], now: datetime) -> Mapping[str, Barred | None]:
    """Return what stands between each person and the mail: the same that the intent asks (`statements.may_go`)."""
    found: dict[str, Barred | None] = {}
    for tenant_id in {job.tenant_id for job in jobs}:
        of_tenant = [job for job in jobs if job.tenant_id == tenant_id]
        questions = [
            Question(
                job.fingerprint,
                job.stream,
                Topic(job.topic, job.stream, bool(job.leavable)) if job.topic else None,
            )
            for job in of_tenant
        ]
        answers = people.barred(session, tenant_id, questions, people.asking(session, tenant_id), now)
        found.update({job.id: bar for job, bar in zip(of_tenant, answers, strict=True)})
    return found
