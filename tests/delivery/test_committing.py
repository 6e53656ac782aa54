"""Who commits with whom, and what is counted of mail that was sent together."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import count

import pytest
from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from mailer.counters import Tally
from mailer.database import Database
from mailer.delivery import claims, committing
from mailer.delivery.claims import Job, Outcome, Step, Worker
from mailer.delivery.claims.counting import count_sent
from mailer.delivery.claims.together import Together
from mailer.delivery.committing import GroupCommit
from mailer.models import Opens
from mailer.status import Status
from tests.delivery import mails
from tests.delivery.mails import NOW, P


async def claimed(database: Database, number: int) -> tuple[Worker, list[Job]]:
    def verb(session: Session) -> tuple[Worker, list[Job]]:
        mails.add(session, number, P, database.now())
        return mails.claim(session, P, database.now())

    return await database.run(verb)


@asynccontextmanager
async def group(database: Database, worker: Worker, carrying: int) -> AsyncIterator[GroupCommit]:
    connections = [Together(database)] if database.on_postgresql else []
    commits = GroupCommit(database, worker, 1, connections)
    commits.start(lambda: carrying)
    try:
        yield commits
    finally:
        await commits.end()
        for each in connections:
            await each.close()


async def turns() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_half_of_the_connections_are_waited_for(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "_SOON", 3600.0)
    worker, jobs = await claimed(database, 4)
    async with group(database, worker, carrying=8) as commits:
        steps = [Step(intent=job) for job in jobs]
        early = [commits.commit(step) for step in steps[:3]]
        await turns()
        assert not any(done.done() for done in early)
        await asyncio.wait_for(asyncio.gather(*early, commits.commit(steps[3])), 20)
    assert [step.granted for step in steps] == [True] * 4


async def test_who_is_alone_goes_alone(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "_SOON", 3600.0)
    worker, jobs = await claimed(database, 2)
    async with group(database, worker, carrying=1) as commits:
        for job in jobs:
            step = Step(intent=job)
            await asyncio.wait_for(commits.commit(step), 20)
            assert step.granted


async def test_nobody_waits_for_those_who_do_not_come(database: Database) -> None:
    worker, jobs = await claimed(database, 1)
    async with group(database, worker, carrying=64) as commits:
        await asyncio.wait_for(commits.commit(Step(intent=jobs[0])), 20)
        sent = Outcome(jobs[0], Status.SENT, reply="250 ok")
        await asyncio.wait_for(commits.commit(Step(outcome=sent)), 20)
    assert await database.read(mails.statuses) == {Status.SENT: 1}


async def test_mails_that_differ_in_what_is_counted_are_counted_each_for_itself(database: Database) -> None:
    _worker, jobs = await claimed(database, 24)
    differing = [
        job._replace(
            provider=("gmail", "other")[n % 2],
            topic=("newsletter", None)[n // 2 % 2],
            template=("a", "b", None)[n % 3],
            campaign_id=("ca_1", None)[n // 4 % 2],
            tags=({"kind": "x"}, {"test": "true"}, None)[n // 8],
            opens=(Opens.INDIVIDUAL, Opens.AGGREGATE)[n % 2],
        )
        for n, job in enumerate(jobs)
    ]
    outcomes = [
        Outcome(job, Status.SENT, tracked=n % 3 > 0, tracked_links=n % 5 == 0) for n, job in enumerate(differing)
    ]
    together, apart = Tally(), Tally()
    count_sent(together, outcomes, NOW)
    one_by_one(apart, outcomes)
    assert together.sums == apart.sums
    assert sum(apart.sums.values()) > len(jobs)


def one_by_one(tally: Tally, outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        tally.count(outcome.job, Status.SENT, NOW)
        tally.count_tracked(outcome.job, NOW, pixels=outcome.tracked, links=outcome.tracked_links)


async def test_what_is_not_ours_is_neither_written_nor_counted(database: Database) -> None:
    worker, jobs = await claimed(database, 2)

    def lapsed(session: Session) -> None:
        mails.move(session, [jobs[1].id], lease=None, status=Status.QUEUED)

    await database.run(lapsed)
    async with group(database, worker, carrying=2) as commits:
        sent = [commits.commit(Step(outcome=Outcome(job, Status.SENT, reply="250 ok"))) for job in jobs]
        await asyncio.wait_for(asyncio.gather(*sent), 20)
    assert await database.read(mails.statuses) == {Status.SENT: 1, Status.QUEUED: 1}
    assert (await database.read(mails.sums))["sent"] == 1


async def test_what_became_of_a_mail_is_written_though_its_carrier_is_broken_off(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committing, "_SOON", 3600.0)
    worker, jobs = await claimed(database, 2)
    async with group(database, worker, carrying=64) as commits:
        sent = Outcome(jobs[0], Status.SENT, reply="250 ok")
        step = Step(outcome=sent, intent=jobs[1])
        broken_off = asyncio.ensure_future(commits.commit(step))
        await turns()
        broken_off.cancel()
    assert await database.read(mails.statuses) == {Status.SENT: 1, Status.SENDING: 1}
    assert not step.granted


async def test_a_full_transaction_waits_for_nobody(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "_SOON", 3600.0)
    monkeypatch.setattr(committing, "_SHARED", 4)
    worker, jobs = await claimed(database, 4)
    async with group(database, worker, carrying=500) as commits:
        await asyncio.wait_for(asyncio.gather(*[commits.commit(Step(intent=job)) for job in jobs]), 20)


async def leave(database: Database, jobs: Sequence[Job]) -> None:
    def verb(session: Session) -> None:
        for job in jobs:
            mails.opt_out(session, job.fingerprint, NOW)

    await database.run(verb)


async def test_why_intents_were_refused_is_written_for_several_commits_together(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []
    refuse = claims.refuse

    def counted(session: Session, jobs: Sequence[Job], worker: Worker, now: datetime) -> None:
        together.append(len(jobs))
        refuse(session, jobs, worker, now)

    monkeypatch.setattr(claims, "refuse", counted)
    monkeypatch.setattr(committing, "_LATER", 1.0)
    worker, jobs = await claimed(database, 6)
    await leave(database, jobs[:4])
    async with group(database, worker, carrying=1) as commits:
        steps = [Step(intent=job) for job in jobs]
        for step in steps:
            await asyncio.wait_for(commits.commit(step), 20)
        assert [step.granted for step in steps] == [False] * 4 + [True] * 2
        async with asyncio.timeout(20):
            while (await database.read(mails.statuses)).get(Status.SUPPRESSED) != 4:
                await asyncio.sleep(0.01)
    assert sum(together) == 4
    assert len(together) < 4
    assert await database.read(mails.statuses) == {Status.SUPPRESSED: 4, Status.SENDING: 2}
    assert await database.read(mails.sums) == {"suppressed:unsubscribe": 4}


async def test_the_end_of_a_run_leaves_no_reason_unwritten(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "_LATER", 3600.0)
    worker, jobs = await claimed(database, 3)
    await leave(database, jobs)
    async with group(database, worker, carrying=1) as commits:
        await asyncio.wait_for(asyncio.gather(*(commits.commit(Step(intent=job)) for job in jobs)), 20)
        assert await database.read(mails.statuses) == {Status.SENDING: 3}
    assert await database.read(mails.statuses) == {Status.SUPPRESSED: 3}


@pytest.mark.parametrize("wrong", [OperationalError("refuse", {}, Exception("busy")), ValueError("this one")])
async def test_no_reason_is_lost_to_an_error_that_passes_or_to_a_row_that_cannot_be_written(
    database: Database, monkeypatch: pytest.MonkeyPatch, wrong: Exception
) -> None:
    worker, jobs = await claimed(database, 4)
    await leave(database, jobs)
    refuse, passing, tries = claims.refuse, isinstance(wrong, OperationalError), count()

    def failing(session: Session, some: Sequence[Job], worker: Worker, now: datetime) -> None:
        refuse(session, some, worker, now)
        if jobs[0] in some and (next(tries) == 0 or not passing):
            raise wrong

    monkeypatch.setattr(claims, "refuse", failing)
    async with group(database, worker, carrying=4) as commits:
        await asyncio.wait_for(asyncio.gather(*(commits.commit(Step(intent=job)) for job in jobs)), 20)
    lost = {} if passing else {Status.SENDING: 1}
    suppressed = 4 - sum(lost.values())
    assert await database.read(mails.statuses) == {Status.SUPPRESSED: suppressed, **lost}
    assert await database.read(mails.sums) == {"suppressed:unsubscribe": suppressed}
