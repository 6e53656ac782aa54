"""Numbers side by side and in time, from the counters; on both engines."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlmodel import Session

from mailer import counters, reports
from mailer.counters import Tally, dimensions
from mailer.database import Database
from mailer.errors import Invalid
from mailer.models import Campaign, LinkLabel
from mailer.reports import By, Span, Step, Table
from suppression.rules import Stream
from tests.campaigns.world import NOW, World, world_of

TODAY = NOW.date()
SPAN = Span.of(NOW)


async def count(world: World, metric: str, number: int = 1, *, at: datetime = NOW, **about: str | None) -> None:
    """Count mails of the newsletter that were accepted today."""
    dims = dimensions(
        tags={"team": about["team"]} if about.get("team") else None,  # type: ignore[dict-item]
        topic=about.get("topic", "newsletter"),
        template=about.get("template", "news"),
        campaign=about.get("campaign"),
        provider=about.get("provider"),
    )
    tally, tenant_id = Tally(), world.sender.tenant_id
    tally.add(tenant_id, TODAY, about.get("stream") or "promotional", metric, dims, number, at=at)
    await world.database.run(tally.write)


def cells(table: Table, *names: str) -> list[tuple[object, ...]]:
    """Return the value of each row, and some of its figures."""
    found: list[tuple[object, ...]] = []
    for row in table.rows:
        figures = {figure.name: figure.value for figure in row.figures}
        found.append((row.value, *(figures[name] for name in names)))
    return found


async def table(world: World, by: By, **more: object) -> Table:
    tenant_id = world.sender.tenant_id
    return await world.database.read(
        lambda session: reports.table(session, tenant_id, SPAN, by, **more)  # type: ignore[arg-type]
    )


@pytest.fixture
async def world(database: Database) -> World:
    """Tenant `default` on either engine."""
    return await world_of(database)


@pytest.mark.parametrize("folded", [False, True], ids=["waiting", "folded"])
async def test_each_kind_of_thing_has_its_table_with_the_most_mail_first(world: World, folded: bool) -> None:
    await count(world, "requested", 2, team="blue")
    await count(world, "requested", 5, topic="events", template="invitation", team="red", campaign="ca_x")
    await count(world, "sent", 3, provider="gmail", campaign="ca_x")
    await count(world, "sent", 4, provider="apple", stream="transactional", topic=None, template=None)
    if folded:
        await world.database.run(counters.fold)
    assert cells(await table(world, By.TOPIC), "requested", "sent") == [("events", 5, 0), ("newsletter", 2, 3)]
    assert cells(await table(world, By.TEMPLATE), "requested") == [("invitation", 5), ("news", 2)]
    assert cells(await table(world, By.TAG), "requested") == [("team=red", 5), ("team=blue", 2)]
    assert cells(await table(world, By.STREAM), "requested", "sent") == [("promotional", 7, 3), ("transactional", 0, 4)]
    assert cells(await table(world, By.CAMPAIGN), "requested") == [("ca_x", 5)]
    providers = await table(world, By.PROVIDER)
    assert cells(providers, "sent", "bounce_rate") == [("apple", 4, 0), ("gmail", 3, 0)]
    assert "requested" not in {figure.name for figure in providers.rows[0].figures}
    assert cells(await table(world, By.PROVIDER, stream=Stream.PROMOTIONAL), "sent") == [("gmail", 3)]


async def test_a_table_names_those_with_the_most_and_says_that_there_are_more(world: World) -> None:
    for place in range(5):
        await count(world, "requested", place + 1, topic=f"t{place}")
    found = await table(world, By.TOPIC, limit=2)
    assert (cells(found, "requested"), found.has_more) == ([("t4", 5), ("t3", 4)], True)
    assert not (await table(world, By.TOPIC, limit=5)).has_more
    nobody = await world.database.read(
        lambda session: reports.table(session, world.sender.tenant_id + 1, SPAN, By.TOPIC)
    )
    assert (nobody.rows, nobody.has_more) == ((), False)


async def test_a_campaign_has_tables_by_provider_and_by_link(world: World) -> None:
    mine, other = await world.create(), await world.create()
    for campaign, provider, number in ((mine, "gmail", 3), (mine, "other", 2), (other, "gmail", 9)):
        await count(world, "requested", number, campaign=campaign)
        await count(world, "sent", number, campaign=campaign, provider=provider)
    tally = Tally()
    for value, metric, number in (
        (f"{mine}#1", "clicks:human", 4),
        (f"{mine}#0", "clicks:machine", 2),
        (f"{other}#1", "clicks:human", 7),
    ):
        tally.add(world.sender.tenant_id, TODAY, "promotional", metric, [("link", value)], number)
    await world.database.run(tally.write)
    label = LinkLabel(tenant_id=world.sender.tenant_id, value=f"{mine}#1", label="https://ringwise.example/{{ offer }}")
    await world.database.run(lambda session: session.add(label))

    def verb(session: Session) -> tuple[Table, Table]:
        campaign = session.get_one(Campaign, mine)
        return (
            reports.campaign_table(session, campaign, By.PROVIDER, NOW),
            reports.campaign_table(session, campaign, By.LINK, NOW),
        )

    providers, links = await world.database.read(verb)
    assert cells(providers, "sent") == [("gmail", 3), ("other", 2)]
    assert cells(links, "clicks_human", "clicks_machine") == [(f"{mine}#0", 0, 2), (f"{mine}#1", 4, 0)]
    assert [row.label for row in links.rows] == [f"{mine}#0", "https://ringwise.example/{{ offer }}"]
    named = await table(world, By.CAMPAIGN)
    assert {row.value: row.label for row in named.rows} == {mine: "Spring", other: "Spring"}
    with pytest.raises(Invalid, match="by provider and by link"):
        await world.database.read(
            lambda session: reports.campaign_table(session, session.get_one(Campaign, mine), By.TOPIC, NOW)
        )


async def series(world: World, step: Step, zone: str = "UTC", span: Span | None = None) -> dict[str, int]:
    """Return when how many were sent, where any were."""
    wanted = span or Span(TODAY - timedelta(days=2), TODAY)
    found = await world.database.read(
        lambda session: reports.stream_series(
            session, world.sender.tenant_id, wanted, step, stream=None, zone=ZoneInfo(zone)
        )
    )
    return {point.at.isoformat(): point.counts["sent"] for point in found.points if point.counts["sent"]}


async def test_a_series_counts_when_it_happened_in_the_time_zone_of_who_asks(world: World) -> None:
    late = datetime(2027, 2, 27, 23, 30, tzinfo=UTC)
    await count(world, "sent", 2, at=late)
    await count(world, "sent", 3, at=late + timedelta(hours=1))
    assert await series(world, Step.HOUR) == {"2027-02-27T23:00:00+00:00": 2, "2027-02-28T00:00:00+00:00": 3}
    assert await series(world, Step.DAY) == {"2027-02-27T00:00:00+00:00": 2, "2027-02-28T00:00:00+00:00": 3}
    assert await series(world, Step.DAY, "Europe/Kyiv") == {"2027-02-28T00:00:00+02:00": 5}
    assert await series(world, Step.DAY, "America/New_York") == {"2027-02-27T00:00:00-05:00": 5}
    # The mails themselves were accepted today, and are in the report of today alone.
    today = Span(TODAY, TODAY)
    assert await series(world, Step.HOUR, span=today) == {}
    report = await world.database.read(lambda session: reports.report(session, world.sender.tenant_id, today))
    assert {figure.name: figure.value for figure in report.figures}["sent"] == 5


async def test_a_series_has_no_gap_and_a_day_of_23_hours_where_clocks_go_forward(world: World) -> None:
    day = date(2027, 3, 28)
    found = await world.database.read(
        lambda session: reports.stream_series(
            session, world.sender.tenant_id, Span(day, day), Step.HOUR, zone=ZoneInfo("Europe/Kyiv")
        )
    )
    assert len(found.points) == 23
    assert [point.at.hour for point in found.points][:5] == [0, 1, 2, 4, 5]


@pytest.mark.parametrize(("step", "days"), [(Step.HOUR, 32), (Step.DAY, 367), (Step.WEEK, 1831)], ids=str)
async def test_a_series_that_nobody_could_look_at_is_refused(sqlite: Database, step: Step, days: int) -> None:
    world = await world_of(sqlite)
    with pytest.raises(Invalid, match="at most"):
        await series(world, step, span=Span.of(NOW, days=days))


def test_a_time_zone_that_is_none_is_refused_in_one_sentence() -> None:
    for name in ("Mars/Olympus", "../etc/passwd", "", "x" * 300, "UTC\0"):
        with pytest.raises(Invalid, match="time zone"):
            reports.zone_of(name)


async def test_the_first_days_of_a_campaign_count_from_its_start(world: World) -> None:
    identifier = await world.create()

    async def firsts(now: datetime) -> list[tuple[str, bool, int]]:
        found = await world.database.read(
            lambda session: reports.firsts(session, session.get_one(Campaign, identifier), now)
        )
        return [(first.name, first.complete, first.counts["clicked"]) for first in found]

    assert await firsts(NOW) == []
    await world.add(identifier, ["ann@example.org"])
    await world.start(identifier)
    for hours, number in ((0, 1), (23, 2), (25, 4), (71, 8), (100, 16), (200, 32)):
        await count(world, "clicked", number, campaign=identifier, at=NOW + timedelta(hours=hours))
    later = NOW + timedelta(days=4)
    assert await firsts(later) == [("24h", True, 3), ("3d", True, 15), ("7d", False, 31)]
