"""Counters -> numbers, each with its formula."""

from datetime import UTC, date, datetime

import pytest

from mailer import reports
from mailer.counters import Tally, dimensions
from mailer.database import Database
from mailer.errors import Invalid
from mailer.reports import Report, Span
from suppression.rules import Stream
from tests.test_api_world import prepared

NOW = datetime(2027, 3, 31, 23, 59, tzinfo=UTC)
TODAY = NOW.date()


async def counted(
    database: Database,
    facts: dict[str, int],
    *,
    day: date = TODAY,
    stream: str = "promotional",
    campaign: str = "spring",
) -> int:
    tenant = await prepared(database)
    tenant_id = tenant.id or 0
    dims = dimensions(tags={"campaign": campaign}, topic="newsletter", template="newsletter")
    for _ in range(2):
        tally = Tally()
        for metric, amount in facts.items():
            for _ in range(amount):
                tally.add(tenant_id, day, stream, metric, dims)
        await database.run(tally.write)
    return tenant_id


async def report(
    database: Database, tenant_id: int, span: Span | None = None, stream: Stream | None = None, tag: str | None = None
) -> Report:
    wanted = span or Span.of(NOW)
    return await database.read(lambda session: reports.report(session, tenant_id, wanted, stream=stream, tag=tag))


def values(shown: Report) -> dict[str, float | None]:
    return {figure.name: figure.value for figure in shown.figures}


async def test_numbers_are_the_sums_over_slots(database: Database) -> None:
    facts = {
        "requested": 10,
        "suppressed:unsubscribe": 1,
        "suppressed:hard_bounce": 1,
        "sent": 6,
        "bounced": 1,
        "tracked": 4,
        "opens:human": 1,
        "opens:proxy": 1,
        "opens:machine": 3,
        "read": 2,
        "touched": 4,
        "unsubscribed": 1,
    }
    tenant_id = await counted(database, facts)
    shown = await report(database, tenant_id)
    numbers = values(shown)
    assert (numbers["requested"], numbers["sent"], numbers["waiting"]) == (20, 12, 2)
    assert shown.suppressed_by == {"unsubscribe": 2, "hard_bounce": 2}
    assert numbers["bounce_rate"] == round(2 / 14, 4)
    assert (numbers["coverage"], numbers["opened"], numbers["open_rate"]) == (round(8 / 12, 4), 4, 0.5)
    assert numbers["unsubscribe_rate"] == round(2 / 12, 4)
    assert (numbers["opens_machine"], numbers["opens_machine_only"], numbers["expired"]) == (6, 4, 0)
    assert all(figure.formula for figure in shown.figures)


async def test_streams_and_campaigns_have_their_own_numbers(database: Database) -> None:
    tenant_id = await counted(database, {"requested": 1})
    await counted(database, {"requested": 3}, campaign="100%_sure")
    await counted(database, {"requested": 2}, stream="transactional", campaign="")
    shown = await report(database, tenant_id)
    assert values(shown)["requested"] == 12
    assert {name: values(part)["requested"] for name, part in shown.streams.items()} == {
        "transactional": 4,
        "promotional": 8,
    }
    assert [(name, values(part)["requested"]) for name, part in shown.campaigns.items()] == [
        ("100%_sure", 6),
        ("", 4),
        ("spring", 2),
    ]
    one = await report(database, tenant_id, stream=Stream.PROMOTIONAL, tag="campaign=spring")
    assert (values(one)["requested"], one.campaigns) == (2, {})
    assert list(one.streams) == ["promotional"]


async def test_only_the_days_asked_for_count(sqlite: Database) -> None:
    tenant_id = await counted(sqlite, {"requested": 1}, day=date(2027, 3, 1))
    await counted(sqlite, {"requested": 1}, day=date(2027, 3, 2))
    assert values(await report(sqlite, tenant_id))["requested"] == 2
    assert values(await report(sqlite, tenant_id, Span.of(NOW, days=31)))["requested"] == 4
    single = Span.of(NOW, first=date(2027, 3, 1), last=date(2027, 3, 1))
    assert values(await report(sqlite, tenant_id, single))["requested"] == 2
    assert values(await report(sqlite, tenant_id + 1))["requested"] == 0


def test_a_span_is_days_up_to_today() -> None:
    assert Span.of(NOW, days=1) == (TODAY, TODAY)
    assert Span.of(NOW, first=date(2027, 3, 30)) == (date(2027, 3, 30), TODAY)
    with pytest.raises(Invalid):
        Span.of(NOW, first=date(2027, 4, 1))
    with pytest.raises(Invalid):
        Span.of(NOW, first=date(1000, 1, 1))


async def test_a_tag_is_written_name_value(sqlite: Database) -> None:
    tenant_id = await counted(sqlite, {"requested": 1})
    with pytest.raises(Invalid):
        await report(sqlite, tenant_id, tag="spring")


async def test_totals_are_of_all_tenants(database: Database) -> None:
    await counted(database, {"requested": 2, "sent": 1})
    totals = await database.read(reports.totals)
    assert totals == [("promotional", "requested", 4), ("promotional", "sent", 2)]


@pytest.mark.parametrize(
    ("told", "rate", "formula"),
    [(60, round(2 / 120, 4), "complained / delivered"), (10, round(2 / 160, 4), "complained / accepted")],
    ids=["deliveries are told", "hardly any is"],
)
async def test_what_came_back_stays_sent_and_is_a_bounce(
    database: Database, told: int, rate: float, formula: str
) -> None:
    facts = {"sent": 90, "bounced": 10, "returned": 10, "hard_bounced": 15, "soft_bounced": 5}
    tenant_id = await counted(database, {**facts, "delivered": told, "complained": 1})
    found = await report(database, tenant_id)
    numbers = values(found)
    assert (numbers["sent"], numbers["bounced"], numbers["accepted"], numbers["delivered"]) == (180, 40, 160, 2 * told)
    assert (numbers["bounce_rate"], numbers["hard_bounce_rate"], numbers["soft_bounce_rate"]) == (0.2, 0.15, 0.05)
    assert numbers["complaint_rate"] == rate
    assert next(each.formula for each in found.figures if each.name == "complaint_rate").startswith(formula)
