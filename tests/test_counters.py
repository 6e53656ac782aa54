"""Sums kept as events arrive: nothing is lost however many write at once."""

import asyncio
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from sqlalchemy import func
from sqlalchemy import select as sql_select
from sqlmodel import Session, select

from mailer import counters
from mailer.counters import ALL, FACTS, Key, Tally
from mailer.database import Database
from mailer.models import Counter, Tenant

DAY = date(2026, 5, 4)


@pytest.fixture
async def database(database: Database) -> Database:
    """A database with one tenant."""
    tenant = Tenant(id=1, key="default", name="Ringwise", created_at=datetime(2026, 5, 4, tzinfo=UTC))
    await database.run(lambda session: session.add(tenant))
    return database


def sums(session: Session) -> dict[tuple[str, str, str], int]:
    names = FACTS.c.dimension, FACTS.c.value, FACTS.c.metric
    statement = sql_select(*names, func.sum(FACTS.c.amount)).group_by(*names)
    return {(dimension, value, metric): int(amount) for dimension, value, metric, amount in session.execute(statement)}


def folded(session: Session) -> dict[tuple[str, str, str], int]:
    return {(row.dimension, row.value, row.metric): row.amount for row in session.exec(select(Counter))}


def test_an_email_counts_as_one_of_all_and_in_its_topic_template_and_tags() -> None:
    assert counters.dimensions(tags=None, topic=None, template=None) == [ALL]
    found = counters.dimensions(tags={"team": "blue"}, topic="news", template="welcome")
    assert found == [ALL, ("topic", "news"), ("template", "welcome"), ("tag", "team=blue")]


def test_mail_that_is_sent_to_look_at_is_counted_apart() -> None:
    tags = {"test": "true", "team": "blue"}
    found = counters.dimensions(tags=tags, topic="news", template="welcome", campaign="ca_1", provider="gmail")
    assert (found, counters.moments(found, datetime(2026, 5, 4, tzinfo=UTC))) == ([("test", "")], [])
    assert ALL in counters.dimensions(tags={"test": "no"}, topic=None, template=None)


def test_a_campaign_is_told_apart_by_provider_once_a_relay_was_asked() -> None:
    found = counters.dimensions(tags=None, topic=None, template=None, campaign="ca_1", provider="gmail")
    assert found == [ALL, ("provider", "gmail"), ("campaign", "ca_1"), ("campaign_provider", "ca_1|gmail")]
    assert counters.of_providers(found) == [("provider", "gmail"), ("campaign_provider", "ca_1|gmail")]


def test_what_happens_is_counted_in_its_hour_too_whatever_day_the_email_is_of() -> None:
    tally = Tally()
    dims = [ALL, ("topic", "news"), ("campaign", "ca_1")]
    kyiv = datetime(2026, 5, 6, 1, 30, tzinfo=timezone(timedelta(hours=3)))
    tally.add(1, DAY, "promotional", "sent", dims, 2, at=kyiv)
    day_before = date(2026, 5, 5)
    assert tally.sums == {
        **{Key(1, DAY, "promotional", *each, "sent"): 2 for each in dims},
        Key(1, day_before, "promotional", "stream_hour", "22", "sent"): 2,
        Key(1, day_before, "promotional", "campaign_hour", "22|ca_1", "sent"): 2,
    }


def test_a_tag_of_any_length_fits() -> None:
    [_all, (_tag, value)] = counters.dimensions(tags={"n" * 200: "v" * 200}, topic=None, template=None)
    assert len(value) == 160


def test_a_tally_adds_up_before_it_is_written() -> None:
    tally = Tally()
    for _ in range(3):
        tally.add(1, DAY, "promotional", "sent", [ALL, ("topic", "news")])
    assert tally.sums[Key(1, DAY, "promotional", "all", "", "sent")] == 3


async def test_an_empty_tally_writes_nothing(database: Database) -> None:
    await database.run(lambda session: Tally().write(session))
    assert await database.read(sums) == {}


async def test_what_is_written_twice_is_counted_once(database: Database) -> None:
    tally = Tally()
    tally.add(1, DAY, "promotional", "sent", [ALL])

    def twice(session: Session) -> None:
        tally.write(session)
        tally.write(session)

    await database.run(twice)
    assert await database.read(sums) == {("all", "", "sent"): 1}


async def test_sums_add_up_however_many_write_and_fold_at_once(database: Database) -> None:
    async def one() -> None:
        for _ in range(10):
            tally = Tally()
            tally.add(1, DAY, "promotional", "sent", [ALL, ("topic", "news"), ("campaign", "ca_1")])
            await database.run(tally.write)

    async def fold() -> None:
        for _ in range(10):
            await database.run(counters.fold)

    await asyncio.gather(*(one() for _ in range(8)), fold())
    expected = {("all", "", "sent"): 80, ("topic", "news", "sent"): 80, ("campaign", "ca_1", "sent"): 80}
    assert await database.read(sums) == expected
    await database.run(counters.fold)
    assert await database.read(sums) == await database.read(folded) == expected
    assert await database.run(counters.fold) == 0
