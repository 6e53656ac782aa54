"""Reason x scope x stream x topic x tenant, every cell written out, asked of the decision and of the intent to send."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

import pytest
from sqlmodel import Session

from mailer.database import Database
from mailer.delivery import claims
from mailer.delivery.claims import Job, Step, Worker
from mailer.delivery.claims.together import Together
from suppression import entries
from suppression.entries import EntryError, NewEntry, Question
from suppression.rules import Origin, Reason, Stream, Topic, parse_scope
from tests.delivery import mails
from tests.delivery.mails import NOW, P, T

#: An entry of tenant 1; then, for tenant 1 and for tenant 2, mail to a mailbox with the same fingerprint: promotional
#: without topic, newsletter, surveys; transactional without topic, new-lead (may be left), invoice (may not be left).
#: x = forbidden, . = goes, no = such an entry cannot stand.
TABLE = """
hard_bounce  all                    x x x  x x x    . . .  . . .
hard_bounce  stream:promotional     no
hard_bounce  stream:transactional   no
hard_bounce  topic:newsletter       no
hard_bounce  topic:surveys          no
hard_bounce  topic:new-lead         no
hard_bounce  topic:invoice          no
invalid      all                    x x x  x x x    . . .  . . .
invalid      stream:promotional     no
invalid      stream:transactional   no
invalid      topic:newsletter       no
invalid      topic:surveys          no
invalid      topic:new-lead         no
invalid      topic:invoice          no
manual       all                    x x x  x x x    . . .  . . .
manual       stream:promotional     x x x  . . .    . . .  . . .
manual       stream:transactional   . . .  x x x    . . .  . . .
manual       topic:newsletter       . x .  . . .    . . .  . . .
manual       topic:surveys          . . x  . . .    . . .  . . .
manual       topic:new-lead         . . .  . x .    . . .  . . .
manual       topic:invoice          . . .  . . x    . . .  . . .
complaint    all                    no
complaint    stream:promotional     x x x  . . .    . . .  . . .
complaint    stream:transactional   no
complaint    topic:newsletter       no
complaint    topic:surveys          no
complaint    topic:new-lead         no
complaint    topic:invoice          no
unsubscribe  all                    x x x  . x .    . . .  . . .
unsubscribe  stream:promotional     x x x  . . .    . . .  . . .
unsubscribe  stream:transactional   no
unsubscribe  topic:newsletter       . x .  . . .    . . .  . . .
unsubscribe  topic:surveys          . . x  . . .    . . .  . . .
unsubscribe  topic:new-lead         . . .  . x .    . . .  . . .
unsubscribe  topic:invoice          . . .  . . .    . . .  . . .
soft_bounce  all                    no
soft_bounce  stream:promotional     x x x  . . .    . . .  . . .
soft_bounce  stream:transactional   no
soft_bounce  topic:newsletter       no
soft_bounce  topic:surveys          no
soft_bounce  topic:new-lead         no
soft_bounce  topic:invoice          no
snooze       all                    no
snooze       stream:promotional     x x x  . . .    . . .  . . .
snooze       stream:transactional   no
snooze       topic:newsletter       no
snooze       topic:surveys          no
snooze       topic:new-lead         no
snooze       topic:invoice          no
"""
NEWSLETTER, SURVEYS = Topic("newsletter", P, True), Topic("surveys", P, True)
NEW_LEAD, INVOICE = Topic("new-lead", T, True), Topic("invoice", T, False)
MAIL: list[tuple[Stream, Topic | None]] = [
    (P, None),
    (P, NEWSLETTER),
    (P, SURVEYS),
    (T, None),
    (T, NEW_LEAD),
    (T, INVOICE),
]
TENANTS = (1, 2)
ROWS = [line.split() for line in TABLE.strip().splitlines()]
STANDING = [(reason, scope, marks) for reason, scope, *marks in ROWS if marks != ["no"]]


class Cell(NamedTuple):
    """One mail of the table: to whom, of whom, what, and whether the table forbids it."""

    fingerprint: bytes
    tenant_id: int
    stream: Stream
    topic: Topic | None
    forbidden: bool
    name: str


def new(reason: str, scope: str, fingerprint: bytes) -> NewEntry:
    return NewEntry(
        tenant_id=1,
        fingerprint=fingerprint,
        key_id=mails.KEY,
        reason=Reason(reason),
        scope=parse_scope(scope),
        origin=Origin.ADMIN,
        expires_at=NOW + timedelta(days=30) if reason in ("soft_bounce", "snooze") else None,
    )


def cells() -> list[Cell]:
    found = []
    for number, (reason, scope, marks) in enumerate(STANDING):
        asked = [(tenant_id, *mail) for tenant_id in TENANTS for mail in MAIL]
        found += [
            Cell(of(number), *what, mark == "x", f"{reason} {scope} -> tenant {what[0]}, {what[1]}, {what[2]}")
            for what, mark in zip(asked, marks, strict=True)
        ]
    return found


def of(number: int) -> bytes:
    return number.to_bytes(16)


def forbid(session: Session) -> None:
    mails.found(session)
    for number, (reason, scope, _marks) in enumerate(STANDING):
        entries.add(session, new(reason, scope, of(number)), NOW)


def send(session: Session) -> dict[str, Cell]:
    """Add a mail for each cell."""
    return {
        mails.add(
            session,
            1,
            cell.stream,
            tenant_id=cell.tenant_id,
            fingerprint=cell.fingerprint,
            topic=cell.topic.key if cell.topic else None,
            leavable=cell.stream is P or (cell.topic is not None and cell.topic.may_leave),
        )[0]: cell
        for cell in cells()
    }


async def claimed(database: Database, stream: Stream) -> tuple[Worker, list[Job]]:
    return await database.run(lambda session: mails.claim(session, stream))


def compare(granted: Sequence[bool], wanted: Sequence[Cell]) -> None:
    wrong = [cell.name for goes, cell in zip(granted, wanted, strict=True) if goes is cell.forbidden]
    assert not wrong, "\n".join(wrong)


def test_the_table_has_every_reason_with_every_scope_once() -> None:
    scopes = list(dict.fromkeys(scope for _reason, scope, *_marks in ROWS))
    assert sorted(row[:2] for row in ROWS) == sorted([reason, scope] for reason in Reason for scope in scopes)
    assert len(scopes) == 7
    assert len(cells()) == len(STANDING) * len(TENANTS) * len(MAIL) == 216


@pytest.mark.parametrize(("reason", "scope"), [(row[0], row[1]) for row in ROWS if row[2:] == ["no"]])
def test_what_the_table_does_not_know_cannot_stand(reason: str, scope: str) -> None:
    with pytest.raises(EntryError):
        new(reason, scope, of(0))


async def test_the_decision_is_what_the_table_says(database: Database) -> None:
    await database.run(forbid)

    def ask(session: Session, tenant_id: int) -> None:
        mine = [cell for cell in cells() if cell.tenant_id == tenant_id]
        questions = [Question(cell.fingerprint, cell.stream, cell.topic) for cell in mine]
        compare([answer is None for answer in entries.check_many(session, tenant_id, questions, NOW)], mine)
        compare([entries.explain(session, tenant_id, each, NOW).allowed for each in questions], mine)

    for tenant_id in TENANTS:
        await database.read(lambda session, tenant_id=tenant_id: ask(session, tenant_id))  # type: ignore[misc]


@pytest.mark.parametrize("stream", Stream)
async def test_the_intent_is_what_the_table_says(database: Database, stream: Stream) -> None:
    sent = await database.run(send)
    worker, jobs = await claimed(database, stream)
    # Only now: what a mail met when it was accepted or claimed counts for nothing.
    await database.run(forbid)
    steps = [Step(intent=job) for job in jobs]
    await database.run(lambda session: claims.commit(session, steps, worker, NOW))
    compare([step.granted for step in steps], [sent[job.id] for job in jobs])
    assert len(jobs) == len(cells()) // 2


@pytest.mark.parametrize("stream", Stream)
async def test_the_intent_in_one_round_trip_is_what_the_table_says(postgresql: Database, stream: Stream) -> None:
    sent = await postgresql.run(send)
    worker, jobs = await claimed(postgresql, stream)
    await postgresql.run(forbid)
    steps, together = [Step(intent=job) for job in jobs], Together(postgresql)
    try:
        await together.commit(steps, worker, NOW)
    finally:
        await together.close()
    compare([step.granted for step in steps], [sent[job.id] for job in jobs])
