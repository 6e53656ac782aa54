"""The clock: one of many ticks, dead workers' mail comes back, old things go."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlmodel import Session, col, func, select

from mailer import clock, halts
from mailer.database import Database
from mailer.models import Role, SeenHit, StoredAnswer
from mailer.settings import Settings
from mailer.status import Status
from tests.delivery import mails
from tests.delivery.mails import NOW, P, T

GIVE_UP = timedelta(days=3)


def ticking(holder: str, now: datetime = NOW) -> Callable[[Session], int]:
    return lambda session: clock.tick(session, holder, now, GIVE_UP)


async def holds(database: Database, holder: str, now: datetime) -> bool:
    return await database.run(lambda session: clock.take_role(session, "clock", holder, now))


async def test_of_two_clocks_one_ticks(database: Database) -> None:
    answers = await asyncio.gather(*(holds(database, f"clock-{number}", NOW) for number in range(6)))
    assert answers.count(True) == 1
    assert await database.read(lambda session: session.exec(select(func.count()).select_from(Role)).one()) == 1


async def test_the_one_that_ticks_goes_on_ticking(database: Database) -> None:
    for step in range(5):
        moment = NOW + step * clock.TICK
        assert await holds(database, "first", moment)
        assert not await holds(database, "second", moment)


async def test_another_takes_over_when_the_first_is_silent(database: Database) -> None:
    assert await holds(database, "first", NOW)
    assert not await holds(database, "second", NOW + timedelta(seconds=15))
    assert await holds(database, "second", NOW + timedelta(seconds=16))
    assert not await holds(database, "first", NOW + timedelta(seconds=17))


async def test_a_clock_without_the_role_changes_nothing(database: Database) -> None:
    await holds(database, "first", NOW)
    await database.run(lambda session: mails.add(session, 1, P, expires_at=NOW))
    assert await database.run(ticking("second")) == 0
    assert await database.read(mails.statuses) == {Status.QUEUED: 1}
    assert await database.run(ticking("first")) == 1
    assert await database.read(mails.statuses) == {Status.EXPIRED: 1}


async def test_a_relay_that_nobody_tries_any_more_is_forgotten(database: Database) -> None:
    await database.run(lambda session: halts.failed(session, P, "smtp://old.example:25", "away", NOW))
    await database.run(ticking("first"))
    assert await database.read(lambda session: halts.current(session, NOW).rests)
    await database.run(ticking("first", NOW + timedelta(days=2)))
    assert not await database.read(lambda session: halts.current(session, NOW).rests)


async def test_a_dead_workers_mail_comes_back_after_30_seconds(database: Database) -> None:
    def dies(session: Session) -> None:
        mails.add(session, 2, P)
        mails.add(session, 3, T)
        mails.claim(session, P)
        mails.claim(session, T)

    await database.run(dies)
    assert await database.run(ticking("clock", NOW + timedelta(seconds=29))) == 0
    assert await database.run(ticking("clock", NOW + timedelta(seconds=31))) == 5
    assert await database.read(mails.statuses) == {Status.QUEUED: 5}


async def test_old_answers_and_marks_go(database: Database) -> None:
    def verb(session: Session) -> None:
        mails.found(session)
        for hours in (1, 25):
            made = NOW - timedelta(hours=hours)
            session.add(StoredAnswer(tenant_id=1, route="r", key=str(hours), digest="d", created_at=made))
        for days in (1, 31):
            session.add(SeenHit(tenant_id=1, mark=bytes([days] * 16), day=(NOW - timedelta(days=days)).date()))

    await database.run(verb)
    await database.run(ticking("clock"))
    assert await database.read(lambda session: session.exec(select(StoredAnswer.key)).all()) == ["1"]
    assert await database.read(lambda session: session.exec(select(col(SeenHit.mark))).all()) == [bytes([1] * 16)]


async def test_a_clock_outlives_a_tick_that_fails(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(clock, "TICK", timedelta(milliseconds=5))
    await sqlite.run(lambda session: session.connection().exec_driver_sql("ALTER TABLE role RENAME TO away"))
    running = asyncio.create_task(clock.run(sqlite, "clock", Settings()))
    async with asyncio.timeout(10):
        while "a tick of the clock failed" not in caplog.text:
            await asyncio.sleep(0.005)
        await sqlite.run(lambda session: session.connection().exec_driver_sql("ALTER TABLE away RENAME TO role"))
        while await sqlite.read(lambda session: session.exec(select(Role)).first()) is None:
            await asyncio.sleep(0.005)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await sqlite.run(lambda session: session.exec(select(func.count()).select_from(Role)).one()) == 1
