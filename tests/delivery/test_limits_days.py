"""What a day may bring, counted in the database."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlmodel import Session, select

from mailer.database import Database
from mailer.delivery.limits import Limits, LocalStore, Quota
from mailer.models import DayCount
from mailer.relays import GroupLimits
from tests.delivery.limiting import Clock, P, T, gmail, taken

EVENING = datetime(2026, 5, 4, 22, tzinfo=UTC)


class Days:
    """A day that goes on with a clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._start = clock, clock.now

    def __call__(self) -> datetime:
        return EVENING + timedelta(seconds=self._clock.now - self._start)


def two(database: Database, clock: Clock) -> tuple[Limits, Limits]:
    """Two workers on two machines: nothing in common but the database."""
    a, b = (Limits(P, name, LocalStore(clock), database, clock=clock, now=Days(clock)) for name in "ab")
    return a, b


def counts(session: Session) -> dict[tuple[str, date], int]:
    return {(row.name, row.day): row.taken for row in session.exec(select(DayCount))}


async def test_two_workers_send_no_more_in_a_day_than_it_may_bring(database: Database) -> None:
    clock = Clock()
    quota = Quota(name="one", connections=1, per_day=1234)
    workers = two(database, clock)
    sent = await asyncio.gather(*(taken(each, quota) for each in workers))
    assert sum(sent) == 1234
    assert min(sent) > 0
    for each in workers:
        assert await each.refill(quota, "gmail") == pytest.approx(2 * 3600)
    assert await database.read(counts) == {("promotional:one", EVENING.date()): 1234}


async def test_the_day_ends_at_midnight_in_utc(database: Database) -> None:
    clock = Clock()
    quota = gmail(per_day=3)
    a, b = two(database, clock)
    assert await taken(a, quota) == 3
    assert await taken(b, quota) == 0
    clock.now += 2 * 3600 - 1
    assert await taken(b, quota) == 0
    clock.now += 1
    assert await taken(b, quota) + await taken(a, quota) == 3
    assert set((await database.read(counts)).values()) == {3}


async def test_what_was_reserved_for_a_day_is_not_good_on_the_next(database: Database) -> None:
    clock = Clock()
    quota = Quota(name="one", connections=1, per_day=1000)
    a, _b = two(database, clock)
    assert a.admit(quota, "other") is False
    assert await a.refill(quota, "other") == 0.0
    assert a.admit(quota, "other")
    clock.now += 2 * 3600
    assert not a.admit(quota, "other")
    await a.close()
    assert await database.read(counts) == {("promotional:one", EVENING.date()): 10}


async def test_a_worker_that_closes_gives_back_what_it_did_not_send(database: Database) -> None:
    clock = Clock()
    quota = Quota(name="one", connections=1, per_day=1000, groups={"gmail": GroupLimits(per_day=500)})
    a, b = two(database, clock)
    assert await taken(a, quota, "gmail", most=3) == 3
    assert await taken(a, quota, "yahoo", most=4) == 4
    a.release(quota, "gmail", used=False)
    await a.close()
    day = EVENING.date()
    assert await database.read(counts) == {("promotional:one", day): 6, ("promotional:one:gmail", day): 2}
    assert await taken(b, quota, "gmail") == 498


async def test_streams_have_days_of_their_own(database: Database) -> None:
    clock = Clock()
    quota = Quota(name="one", connections=1, per_day=5)
    for stream in (T, P):
        limits = Limits(stream, "a", LocalStore(clock), database, clock=clock, now=Days(clock))
        assert await taken(limits, quota) == 5


async def test_a_day_that_cannot_be_counted_makes_mail_wait_and_says_so() -> None:
    database = Database("postgresql://nobody@127.0.0.1:9/none")
    limits = Limits(T, "a", LocalStore(Clock()), database)
    quota = Quota(name="one", connections=1, per_day=5)
    assert await limits.refill(quota, "gmail") == 1.0
    assert limits.trouble is not None
    assert limits.trouble.startswith("the day's mail cannot be counted (")
    assert await taken(limits, Quota(name="two", connections=1), most=7) == 7
    await limits.close()
    await database.close()
