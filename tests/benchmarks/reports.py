"""What reports cost beside a year of mail: each in processor time, with the plan of one.

python -m tests.benchmarks.reports [--emails N] [--embedded]

The counters are those of ten million emails and twenty million events in a year, whatever N is: reports read nothing
else. N emails and 2 N events stand beside them for the pages of who did what, which walk through a campaign's rows.
"""

import argparse
import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlmodel import Session, SQLModel

from mailer import ids, reports, tenancy
from mailer.counters import HOURS
from mailer.database import on_postgresql
from mailer.models import Campaign, CampaignStatus, Content, Email, Opens
from mailer.providers import PROVIDERS
from mailer.reports import By, Did, Span, Step
from mailer.service import Service
from mailer.status import Status
from suppression.rules import Stream
from tests import plans
from tests.benchmarks.world import world

CAMPAIGNS, TEMPLATES, TAGS, LINKS = 400, 40, 60, 10
#: A year, and as many days as there may be since its end.
YEAR, DAYS = 365, 412

#: How long a campaign's mail is told of.
LIVES = 7
ROUNDS = 5
METRICS = (
    *("requested", "sent", "deferred", "bounced", "returned", "hard_bounced", "soft_bounced", "delivered", "tracked"),
    *(
        "tracked:individual",
        "tracked_links",
        "read",
        "touched",
        "clicked",
        "unsubscribed",
        "resubscribed",
        "complained",
    ),
    *("suppressed:unsubscribe", "suppressed:hard_bounce"),
    *(f"{what}:{kind}" for what in ("opens", "opens_total") for kind in ("human", "proxy", "machine", "unknown")),
)
CLICKS = tuple(f"{what}:{kind}" for what in ("clicks", "clicks_total") for kind in ("human", "proxy", "machine"))
#: Every number from `:low` to `:high`.
_NUMBERS = (
    "WITH RECURSIVE numbers(n) AS"
    " (SELECT CAST(:low AS bigint) UNION ALL SELECT n + 1 FROM numbers WHERE n < CAST(:high AS bigint))"
)
What = tuple[str, str, str, date, date, int]


def things(first: date) -> Iterable[What]:
    """Yield what is counted: stream, dimension, value, the days on which it has mail, and whether it is a link."""
    last = first + timedelta(days=DAYS - 1)
    always = [
        ("all", ""),
        *(("provider", provider) for provider in PROVIDERS),
        *(("topic", f"topic-{place}") for place in range(5)),
        *(("template", f"template-{place}") for place in range(TEMPLATES // 2)),
        *(("tag", f"team=t{place}") for place in range(TAGS // 2)),
    ]
    for stream, each in product(Stream, always):
        yield stream.value, *each, first, last, 0
    for place in range(CAMPAIGNS):
        begin = first + timedelta(days=place * (DAYS - 1) // CAMPAIGNS)
        name, few = campaign_id(place), begin + timedelta(days=1)
        yield "promotional", "campaign", name, begin, few, 0
        for provider in PROVIDERS:
            yield "promotional", "campaign_provider", f"{name}|{provider}", begin, few, 0
        for link in range(LINKS):
            yield "promotional", "link", f"{name}#{link}", begin, few, 1


def campaign_id(place: int) -> str:
    """Return the id of a campaign."""
    return f"ca_{place:026}"


def fill_counters(session: Session, tenant: int, first: date) -> int:
    """Write the counters of a year; return how many they are."""
    session.execute(
        text(
            "CREATE TEMPORARY TABLE thing"
            " (stream text, dimension text, value text, begins date, ends date, is_link integer)"
        )
    )
    session.execute(text("CREATE TEMPORARY TABLE each_day (day date)"))
    session.execute(text("CREATE TEMPORARY TABLE each_metric (metric text, is_link integer)"))
    names = ("stream", "dimension", "value", "begins", "ends", "is_link")
    rows = [dict(zip(names, each, strict=True)) for each in things(first)]
    session.execute(text("INSERT INTO thing VALUES (:stream, :dimension, :value, :begins, :ends, :is_link)"), rows)
    days = [{"day": first + timedelta(days=number)} for number in range(DAYS)]
    session.execute(text("INSERT INTO each_day VALUES (:day)"), days)
    metrics = [{"metric": each, "is_link": 0} for each in METRICS] + [{"metric": each, "is_link": 1} for each in CLICKS]
    session.execute(text("INSERT INTO each_metric VALUES (:metric, :is_link)"), metrics)
    session.execute(
        text(
            "INSERT INTO counter (tenant_id, day, stream, dimension, value, metric, amount)"
            " SELECT :tenant, day, stream, dimension, value, metric, 1 + length(metric)"
            " FROM each_day JOIN thing ON day BETWEEN begins AND ends JOIN each_metric USING (is_link)"
        ),
        {"tenant": tenant},
    )
    _fill_hours(session, tenant, first)
    month = "CAST(date_trunc('month', day) AS date)" if on_postgresql(session) else "DATE(day, 'start of month')"
    key = "stream, dimension, value, metric"
    session.execute(
        text(
            f"INSERT INTO month_counter (tenant_id, month, {key}, amount)"
            f" SELECT tenant_id, {month}, {key}, SUM(amount) FROM counter GROUP BY tenant_id, {month}, {key}"
        )
    )
    return sum(
        int(session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())
        for table in ("counter", "month_counter", "hour_counter")
    )


def _fill_hours(session: Session, tenant: int, first: date) -> None:
    """Write what happened in each hour: in a year of each stream, and in a week of each campaign."""
    hours = ", ".join(HOURS)
    amounts = ", ".join("1" for _ in HOURS)
    session.execute(text("CREATE TEMPORARY TABLE life (stream text, campaign_id text, begins date, ends date)"))
    last = first + timedelta(days=DAYS - 1)
    rows: list[dict[str, object]] = [
        *(dict[str, object](stream=stream.value, campaign_id="", begins=first, ends=last) for stream in Stream),
        *(
            {
                "stream": "promotional",
                "campaign_id": campaign_id(place),
                "begins": begin,
                "ends": min(last, begin + timedelta(days=LIVES - 1)),
            }
            for place in range(CAMPAIGNS)
            for begin in [first + timedelta(days=place * (DAYS - 1) // CAMPAIGNS)]
        ),
    ]
    session.execute(text("INSERT INTO life VALUES (:stream, :campaign_id, :begins, :ends)"), rows)
    session.execute(
        text(
            f"INSERT INTO hour_counter (tenant_id, day, stream, campaign_id, metric, {hours})"
            f" SELECT :tenant, day, stream, campaign_id, metric, {amounts}"
            " FROM each_day JOIN life ON day BETWEEN begins AND ends JOIN each_metric ON is_link = 0"
        ),
        {"tenant": tenant},
    )


def copied(
    session: Session, model: SQLModel, key: str, low: int, high: int, changed: Mapping[str, str], **values: object
) -> None:
    """Copy a row for each number from `low` to `high`; some columns are worked out of the number `n`, in SQL.

    A column that is `-` is left to the database.
    """
    table = SQLModel.metadata.tables[str(type(model).__tablename__)]
    names = [column.name for column in table.columns if column.computed is None and changed.get(column.name) != "-"]
    quoted = ", ".join(f'"{name}"' for name in names)
    sources = ", ".join(changed.get(name, f'one."{name}"') for name in names)
    session.execute(
        text(
            f'INSERT INTO "{table.name}" ({quoted}) {_NUMBERS} SELECT {sources} FROM "{table.name}" AS one, numbers'
            f' WHERE one."{key}" = :model'
        ),
        {"low": low, "high": high, "model": getattr(model, key), **values},
    )


def fill_rows(session: Session, tenant: int, number: int, at: datetime) -> Campaign:
    """Write so many emails, half of them of one campaign, and two events for each."""
    content = Content(tenant_id=tenant, digest="bench", data={}, created_at=at)
    session.add(content)
    session.flush()
    shared: dict[str, Any] = {"tenant_id": tenant, "stream": Stream.PROMOTIONAL, "topic": "newsletter", "locale": "en"}
    campaign = Campaign(
        id=campaign_id(CAMPAIGNS - 1), name="Bench", status=CampaignStatus.COMPLETED, content_id=content.id or 0,
        from_address="us@x.example", opens=Opens.INDIVIDUAL, clicks=Opens.INDIVIDUAL, created_at=at,
        started_at=at, **shared
    )  # fmt: skip
    begin = ids.first("em", at)[:-10]
    model = Email(
        id=f"{begin}0000000000", status=Status.SENT, urgency=2, due_at=at, created_at=at, content_id=content.id or 0,
        from_address="us@x.example", opens=Opens.INDIVIDUAL, sent_at=at, settled_at=at, tracked=True, **shared
    )  # fmt: skip
    session.add(campaign)
    session.add(model)
    session.flush()
    changed = {
        "id": ":begin || CAST(n AS text)",
        "address": "'p' || CAST(n AS text) || '@example.org'",
        "campaign_id": "CASE WHEN n % 2 = 0 THEN :campaign END",
        "status": "CASE WHEN n % 100 = 0 THEN 'bounced' ELSE 'sent' END",
    }
    low, high = 1_000_000_001, 1_000_000_000 + number
    copied(session, model, "id", low, high, changed, begin=begin, campaign=campaign.id)
    json = "::json" if on_postgresql(session) else ""
    opened = "CASE WHEN n % 1000 = 0 THEN 'email.unsubscribed' ELSE 'email.opened' END"
    for letter, kind, share in (("a", opened, 5), ("b", "'email.clicked'", 50)):
        by = f"""CASE WHEN n % {share} = 0 THEN '{{"class": "human"}}' ELSE '{{"class": "machine"}}' END"""
        session.execute(
            text(
                f"INSERT INTO event (id, tenant_id, email_id, kind, at, data) {_NUMBERS}"
                f" SELECT 'ev_{letter}' || CAST(n AS text), :tenant, :begin || CAST(n AS text), {kind}, email.at, "
                f"({by}){json} FROM numbers, (SELECT created_at AS at FROM email WHERE id = :model) AS email"
            ),
            {"low": low, "high": high, "begin": begin, "tenant": tenant, "model": model.id},
        )
    return campaign


def spent(session: Session) -> float:
    """Return the processor seconds of this process and, on PostgreSQL, of the server process that answers it."""
    if not on_postgresql(session):
        return time.process_time()
    pid = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return time.process_time() + (int(fields[11]) + int(fields[12])) / 100


def cost(session: Session, work: Callable[[], object]) -> float:
    """Return the processor milliseconds of a report that was asked for before, the mean of several."""
    work()
    began = spent(session)
    for _ in range(ROUNDS):
        work()
    return (spent(session) - began) / ROUNDS * 1000


def measured(session: Session, tenant: int, campaign: Campaign, now: datetime) -> None:
    """Print what each report costs."""
    # From the middle of a month to the middle of another: nothing costs more days beside the months.
    middle = (now - timedelta(days=15)).date().replace(day=15)
    month, year = Span.of(now, last=middle), Span.of(now, days=YEAR, last=middle)
    utc, kyiv = ZoneInfo("UTC"), ZoneInfo("Europe/Kyiv")
    works: dict[str, Callable[[], object]] = {
        "report, 30 days": lambda: reports.report(session, tenant, month),
        "report, a year": lambda: reports.report(session, tenant, year),
        **{f"by {by}, 30 days": lambda by=by: reports.table(session, tenant, month, by) for by in By},  # type: ignore[misc]
        **{f"by {by}, a year": lambda by=by: reports.table(session, tenant, year, by) for by in By},  # type: ignore[misc]
        "31 days by the hour": lambda: reports.stream_series(
            session, tenant, Span.of(now, days=31), Step.HOUR, zone=kyiv
        ),
        "a year by the day": lambda: reports.stream_series(session, tenant, year, Step.DAY, zone=kyiv),
        "campaign": lambda: reports.campaign_report(session, campaign, now),
        "its first days": lambda: reports.firsts(session, campaign, now),
        "its estimate": lambda: reports.estimate_of(session, campaign, now),
        "its links": lambda: reports.campaign_table(session, campaign, By.LINK, now),
        "31 days of it by the hour": lambda: reports.campaign_series(
            session, campaign, Span.of(now, days=31), Step.HOUR, utc
        ),
        **{f"who {did}": lambda did=did: reports.doers(session, campaign, did, limit=50) for did in Did},  # type: ignore[misc]
    }
    for name, work in works.items():
        print(f"{name:<28} {cost(session, work):7.1f} ms", flush=True)
    asked = plans.statements(session, works["by topic, 30 days"])
    print(plans.plan(session, asked[-1]))


async def measure(service: Service, number: int) -> None:
    """Fill the database, then ask for each report."""
    await service.prepare()
    tenant = await service.database.read(lambda session: tenancy.only_tenant(session, tenancy.DEFAULT).id or 0)
    now = service.now()
    first, began = now.date() - timedelta(days=DAYS - 1), time.perf_counter()
    counters = await service.database.run(lambda session: fill_counters(session, tenant, first))
    at = now - timedelta(days=2)
    campaign = await service.database.run(lambda session: fill_rows(session, tenant, number, at))
    await service.database.run(lambda session: session.execute(text("ANALYZE")))
    took = time.perf_counter() - began
    print(f"{counters:,} counters, {number:,} emails, {2 * number:,} events in {took:.0f} s", flush=True)
    await service.database.read(lambda session: measured(session, tenant, campaign, now))
    await service.stop()


def main() -> None:
    """Measure on PostgreSQL, or on SQLite with `--embedded`."""
    parser = argparse.ArgumentParser(description="What reports cost beside a year of mail.")
    parser.add_argument("--emails", type=int, default=200_000)
    parser.add_argument("--embedded", action="store_true")
    asked = parser.parse_args()
    with world(embedded=asked.embedded) as made:
        asyncio.run(measure(Service.build(made.settings), asked.emails))


if __name__ == "__main__":
    main()
