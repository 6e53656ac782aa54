"""Days made up of months, and days of a time zone made up of hours: whatever is read, it adds up to the same."""

import random
from collections import Counter as Sums
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlmodel import Session

from mailer import counters, reports
from mailer.counters import ALL, Tally
from mailer.database import Database
from mailer.reports import By, Span, Step
from suppression.rules import Stream
from tests import plans
from tests.campaigns.world import World, world_of

DAYS = st.dates(date(2023, 12, 1), date(2026, 3, 31))
FIRST, LAST = date(2026, 1, 1), date(2026, 12, 31)
TOPICS = ("news", "events", "surveys")


@pytest.fixture
async def world(database: Database) -> World:
    """Tenant `default` on either engine."""
    return await world_of(database)


@settings(deadline=None)
@given(DAYS, DAYS)
def test_months_and_days_make_up_the_days(one: date, other: date) -> None:
    span = Span(min(one, other), max(one, other))
    sums = Sums(span.parts.more)
    for month in span.parts.months:
        assert month.day == 1
        following = (month + timedelta(days=31)).replace(day=1)
        sums.update(month + timedelta(days=number) for number in range((following - month).days))
    sums.subtract(span.parts.less)
    assert {day: times for day, times in sums.items() if times} == dict.fromkeys(span.days, 1)
    assert all(len(days) <= 31 for days in (span.parts.more, span.parts.less))


def test_what_is_short_is_read_by_the_day_and_what_is_long_by_the_month() -> None:
    assert Span(date(2026, 5, 4), date(2026, 5, 10)).parts.months == []
    months, more, less = Span(date(2025, 5, 16), date(2026, 5, 15)).parts
    assert len(months) == 12
    assert (len(more), len(less)) == (15, 15)
    assert Span(date(2026, 5, 1), date(2026, 5, 31)).parts == ([date(2026, 5, 1)], [], [])


async def test_a_table_says_the_same_of_any_days_however_it_is_read(world: World) -> None:
    drawn = random.Random(4)
    known = dict[tuple[date, str, str], int]()
    tally, tenant_id = Tally(), world.sender.tenant_id
    for number in range(600):
        day = FIRST + timedelta(days=drawn.randrange(365))
        key = (day, drawn.choice(TOPICS), drawn.choice(("requested", "sent", "bounced")))
        amount = drawn.choice((1, 2, 5))
        known[key] = known.get(key, 0) + amount
        tally.add(tenant_id, day, "promotional", key[2], [ALL, ("topic", key[1])], amount)
        if number == 400:
            # Some of it waits, of days of which much is in the sums.
            await world.database.run(tally.write)
            await world.database.run(counters.fold)
    await world.database.run(tally.write)

    def said(session: Session, span: Span) -> dict[tuple[str, str], float | None]:
        shown = reports.table(session, tenant_id, span, By.TOPIC)
        names = {"requested": "requested", "sent": "sent", "refused_at_once": "bounced"}
        return {
            (row.value, names[figure.name]): figure.value
            for row in shown.rows
            for figure in row.figures
            if figure.name in names and figure.value
        }

    for _ in range(40):
        one, other = sorted(FIRST + timedelta(days=drawn.randrange(365)) for _ in range(2))
        expected = Sums[tuple[str, str]]()
        for (day, topic, metric), amount in known.items():
            if one <= day <= other:
                expected[topic, metric] += amount
        span = Span(one, other)
        assert await world.database.read(lambda session, span=span: said(session, span)) == expected  # type: ignore[misc]


async def test_what_was_counted_in_other_days_of_a_month_is_no_row(world: World) -> None:
    tally, tenant_id = Tally(), world.sender.tenant_id
    tally.add(tenant_id, date(2026, 5, 2), "promotional", "requested", [ALL, ("topic", "news")])
    tally.add(tenant_id, date(2026, 5, 9), "promotional", "requested", [ALL, ("topic", "events")])
    await world.database.run(tally.write)
    await world.database.run(counters.fold)
    span = Span(date(2026, 5, 4), LAST)
    shown = await world.database.read(lambda session: reports.table(session, tenant_id, span, By.TOPIC))
    assert [row.value for row in shown.rows] == ["events"]


@pytest.mark.parametrize("name", ["UTC", "Europe/Kyiv", "Europe/London", "America/New_York", "Pacific/Auckland"])
async def test_days_of_a_time_zone_are_their_hours_where_clocks_change_too(world: World, name: str) -> None:
    zone, drawn = ZoneInfo(name), random.Random(5)
    tally, tenant_id = Tally(), world.sender.tenant_id
    known = Sums[date]()
    for _ in range(800):
        hours = drawn.randrange(24 * 6) + drawn.choice((24 * 85, 24 * 93, 24 * 269, 24 * 297, 24 * 304))
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hours, minutes=drawn.randrange(60))
        tally.add(tenant_id, at.date(), "promotional", "sent", [ALL], at=at)
        known[at.astimezone(zone).date()] += 1
    await world.database.run(tally.write)
    await world.database.run(counters.fold)
    span = Span(FIRST, LAST)
    shown = await world.database.read(
        lambda session: reports.stream_series(session, tenant_id, span, Step.DAY, zone=zone)
    )
    assert len(shown.points) == 365
    assert {point.at.date(): point.counts["sent"] for point in shown.points if point.counts["sent"]} == known
    assert all((point.at.hour, point.at.tzinfo) == (0, zone) for point in shown.points)


async def test_weeks_are_their_days_from_monday_on(world: World) -> None:
    tally, tenant_id, kyiv = Tally(), world.sender.tenant_id, ZoneInfo("Europe/Kyiv")
    for number in range(40):
        at = datetime(2026, 3, 10, 23, tzinfo=UTC) + timedelta(days=number)
        tally.add(tenant_id, at.date(), "promotional", "sent", [ALL], at=at)
    await world.database.run(tally.write)
    # From a Wednesday to a Tuesday, over the day on which clocks go forward; 23:00 UTC is the next day there.
    span = Span(date(2026, 3, 18), date(2026, 4, 7))
    shown = await world.database.read(
        lambda session: reports.stream_series(session, tenant_id, span, Step.WEEK, zone=kyiv)
    )
    assert [(f"{point.at:%a %d %H:%M %z}", point.counts["sent"]) for point in shown.points] == [
        ("Wed 18 00:00 +0200", 5),
        ("Mon 23 00:00 +0200", 7),
        ("Mon 30 00:00 +0300", 7),
        ("Mon 06 00:00 +0300", 2),
    ]


async def test_hours_are_found_by_their_key(world: World) -> None:
    tenant_id, tally = world.sender.tenant_id, Tally()
    dims = [ALL, *(("campaign", f"ca_{number}") for number in range(200))]
    for number in range(60):
        at = datetime(2026, 5, 4, 9, tzinfo=UTC) + timedelta(days=number)
        tally.add(tenant_id, at.date(), "promotional", "sent", dims, at=at)
    await world.database.run(tally.write)
    while await world.database.run(counters.fold):
        pass
    await world.database.run(lambda session: session.execute(text("ANALYZE")))

    def plan(session: Session) -> str:
        asked = plans.statements(
            session,
            lambda: reports.stream_series(
                session, tenant_id, Span(date(2026, 5, 4), date(2026, 5, 30)), Step.HOUR,
                stream=Stream.PROMOTIONAL, zone=ZoneInfo("UTC"),
            ),
        )  # fmt: skip
        return plans.plan(session, asked[-1])

    found = await world.database.read(plan)
    assert any("campaign_id" in line and "Filter" not in line for line in found.splitlines()), found
