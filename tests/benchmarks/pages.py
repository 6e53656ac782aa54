"""What a screen of the dashboard costs beside a year of mail, in processor time, ours and PostgreSQL's together.

python -m tests.benchmarks.pages [--emails N]

N emails of a year and 2 N events, the counters of ten million emails (see `tests.benchmarks.reports`), 400 campaigns,
N/10 suppressions, N/100 reports that match nothing, N/100 lines of the audit log and messages of an endpoint. Asked
through the application, signed in as an owner; each page several times, the first one apart.
"""

import argparse
import asyncio
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlmodel import Session

from mailer import campaigns, ids, submission, tenancy
from mailer.campaigns.drafts import CampaignDraft
from mailer.drafts import Draft, parse
from mailer.models import (
    AuditEntry,
    Campaign,
    CampaignStatus,
    DeliveryState,
    Email,
    Opens,
    Told,
    ToldState,
    Webhook,
    WebhookDelivery,
)
from mailer.status import Status
from mailer.submission import Accepted, Submitter
from suppression.entries import Entry
from suppression.rules import Origin, Reason, Stream
from tests.benchmarks.reports import CAMPAIGNS, campaign_id, copied, fill_counters
from tests.benchmarks.world import fresh_database
from tests.dashboard.house import Browser, House, open_house

YEAR, ROUNDS = 365, 4
ANN = "ann@people.example"
#: Above this a page is too slow.
MOST = 100
_NUMBERS = "generate_series(CAST(:low AS bigint), CAST(:high AS bigint)) AS numbers(n)"


def make_campaigns(session: Session, like: Campaign, first: datetime) -> None:
    """Make the campaigns of a year, each over after a day."""
    for place in range(CAMPAIGNS):
        at = first + timedelta(days=place * (YEAR - 1) // CAMPAIGNS)
        changed: dict[str, Any] = {
            "id": campaign_id(place),
            "name": f"Letter {place}",
            "status": CampaignStatus.COMPLETED,
            "opens": Opens.INDIVIDUAL,
            "clicks": Opens.INDIVIDUAL,
            "created_at": at,
            "started_at": at,
            "ended_at": at + timedelta(days=1),
        }
        session.add(Campaign(**{**like.model_dump(), **changed}))
    session.flush()


def a_day(session: Session, tenant: int, content: int, at: datetime, day: int, number: int) -> None:
    """Write the emails of a day and what happened to them: twice as many events."""
    low = 1_000_000_000 + day * number
    letters = ids.first("em", at)[:-10]
    email = Email(
        id=f"{letters}x", tenant_id=tenant, stream=Stream.PROMOTIONAL, topic="newsletter", locale="en",
        status=Status.SENT, urgency=2, due_at=at, created_at=at, sent_at=at, settled_at=at, tracked=True,
        content_id=content, template="newsletter", from_address="us@x.example", opens=Opens.INDIVIDUAL,
        clicks=Opens.INDIVIDUAL, tags={"team": "t1"}, provider="other",
    )  # fmt: skip
    session.add(email)
    session.flush()
    changed = {
        "id": ":letters || CAST(n AS text)",
        "stream": "CASE WHEN n % 4 = 0 THEN 'transactional' ELSE 'promotional' END",
        "campaign_id": "CASE WHEN n % 4 > 0 THEN :campaign END",
        "address": "'p' || CAST(n % 3000000 AS text) || '@people.example'",
        "fingerprint": "decode(md5(CAST(n % 3000000 AS text)), 'hex')",
        "status": "CASE WHEN n % 100 = 0 THEN 'bounced' WHEN n % 100 = 1 THEN 'suppressed' ELSE 'sent' END",
    }
    campaign = campaign_id(min(CAMPAIGNS - 1, day * CAMPAIGNS // YEAR))
    copied(session, email, "id", low, low + number - 1, changed, letters=letters, campaign=campaign)
    session.delete(email)
    session.flush()
    first = (
        "CASE WHEN n % 100 = 0 THEN 'email.bounced' WHEN n % 500 = 3 THEN 'email.unsubscribed' ELSE 'email.opened' END"
    )
    for letter, kind in (("a", first), ("b", "'email.clicked'")):
        session.execute(
            text(
                "INSERT INTO event (id, tenant_id, email_id, kind, at, data)"
                f" SELECT :event || CAST(n AS text), :tenant, :letters || CAST(n AS text), {kind}, :at,"
                """ (CASE WHEN n % 5 = 0 THEN '{"class": "human"}' ELSE '{"class": "machine"}' END)::json"""
                f" FROM {_NUMBERS}"
            ),
            {
                "low": low,
                "high": low + number - 1,
                "tenant": tenant,
                "at": at,
                "letters": letters,
                "event": f"{ids.first('ev', at)[:-11]}{letter}",
            },
        )


def beside(session: Session, tenant: int, user: str, at: datetime, number: int) -> str:
    """Write what the other screens list; return the endpoint's id."""
    letters = ids.first("su", at)[:-10]
    entry = Entry(
        id=f"{letters}x"[:29], tenant_id=tenant, fingerprint=bytes(16), key_id="k", reason=Reason.UNSUBSCRIBE,
        scope="stream:promotional", origin=Origin.RECIPIENT, created_at=at,
    )  # fmt: skip
    told = Told(
        id="to_x", digest=bytes(16), state=ToldState.UNMATCHED, why="no mail of ours", kind="bounced",
        category="invalid_recipient", at=at, heard_at=at, source="dsn", recipient="somebody@people.example",
    )  # fmt: skip
    act = AuditEntry(id="au_x", tenant_id=tenant, at=at, user_id=user, via="dashboard", act="key.created")
    hook = Webhook(
        id=ids.new("we", at), tenant_id=tenant, url="https://hooks.example/in", secret=b"-", hears_sent=False,
        created_at=at,
    )  # fmt: skip
    message = WebhookDelivery(
        webhook_id=hook.id, message_id="x", tenant_id=tenant, kind="email.opened", at=at, due_at=at,
        state=DeliveryState.DELIVERED,
    )  # fmt: skip
    for model in (entry, told, act, hook, message):
        session.add(model)
        session.flush()
    numbered = {"id": ":letters || CAST(n AS text)"}
    print_ = "decode(md5('s' || CAST(n AS text)), 'hex')"
    reason = "CASE WHEN n % 10 = 0 THEN 'hard_bounce' ELSE 'unsubscribe' END"
    low = 1_000_000_000
    copied(
        session, entry, "id", low, low + number // 10,
        {**numbered, "fingerprint": print_, "reason": reason}, letters=letters,
    )  # fmt: skip
    few = low + number // 100
    copied(session, told, "id", low, few, {**numbered, "digest": print_}, letters="to_")
    copied(session, act, "id", low, few, numbered, letters="au_")
    names = {"number": "-", "message_id": "CAST(n AS text)"}
    copied(session, message, "number", low, few, names)
    return hook.id


async def fill(house: House, number: int) -> dict[str, str]:
    """Write everything; return what the paths need."""
    database, now = house.service.database, house.time
    owner = await house.user()
    tenant = await database.read(lambda session: tenancy.only_tenant(session, tenancy.DEFAULT).id or 0)
    first = datetime(now.year, now.month, now.day, 9, tzinfo=UTC) - timedelta(days=YEAR)

    def begin(session: Session) -> int:
        draft = parse(CampaignDraft, {"name": "First", "topic": "newsletter", "subject": "News", "text": "Some news."})
        made = campaigns.create(session, Submitter.trusted(tenant), draft, house.service.intake, first)
        make_campaigns(session, made, first)
        fill_counters(session, tenant, first.date())
        return made.content_id

    content, began = await database.run(begin), time.perf_counter()
    for day in range(YEAR):
        at = first + timedelta(days=day)
        await database.run(
            lambda session, at=at, day=day: a_day(session, tenant, content, at, day, number // YEAR)  # type: ignore[misc]
        )
        if day % 20 == 0:
            print(f"\r{day} of {YEAR} days, {time.perf_counter() - began:.0f} s", end="", flush=True)
    hook = await database.run(lambda session: beside(session, tenant, owner.id, now - timedelta(days=1), number))
    draft = parse(Draft, {"stream": "transactional", "to": ANN, "subject": "Hello", "text": "A line."})
    accepted = await database.run(
        lambda session: submission.submit_many(
            session, Submitter.trusted(tenant), [draft], house.service.intake, now - timedelta(hours=1)
        )
    )
    assert isinstance(accepted[0], Accepted)
    ann = house.service.intake.fingerprints.all_of(tenant, ANN)[0]

    def hers(session: Session) -> str:
        """Give Ann a mail of each campaign, and return one that the page of an email shows."""
        session.execute(
            text(
                "UPDATE email SET address = :ann, fingerprint = :print WHERE id IN"
                " (SELECT min(id) FROM email WHERE campaign_id IS NOT NULL GROUP BY campaign_id)"
            ),
            {"ann": ANN, "print": ann},
        )
        session.execute(text("ANALYZE"))
        return str(session.execute(text("SELECT max(id) FROM email WHERE campaign_id IS NULL")).scalar_one())

    email = await database.run(hers)
    print(f"\r{number:,} emails and {2 * number:,} events in {time.perf_counter() - began:.0f} s", flush=True)
    return {"email": email, "ann": ann.hex(), "hook": hook, "old": campaign_id(20), "new": campaign_id(CAMPAIGNS - 1)}


def paths(known: Mapping[str, str], now: datetime) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield every page that lists, searches or counts."""
    day = (now - timedelta(days=200)).date().isoformat()
    yield "", {}
    yield "/emails", {}
    for query in (
        {"status": "bounced"},
        {"status": "cancelled"},
        {"stream": "transactional", "from": day, "to": day},
        {"campaign": known["old"]},
        {"tag": "team=none"},
        {"person": known["ann"]},
    ):
        yield "/emails", query
    yield f"/emails/{known['email']}", {}
    yield "/people", {}
    yield f"/people/{known['ann']}", {}
    yield "/campaigns", {}
    for which in ("old", "new"):
        yield f"/campaigns/{known[which]}", {}
        yield f"/campaigns/{known[which]}/report", {}
        yield f"/campaigns/{known[which]}/compare", {"with": known["new" if which == "old" else "old"]}
        for did in ("opened", "clicked", "bounced", "unsubscribed"):
            yield f"/campaigns/{known[which]}/who", {"did": did}
    year = {"from": (now - timedelta(days=364)).date().isoformat(), "to": now.date().isoformat()}
    yield "/reports", {}
    for by in ("stream", "topic", "template", "campaign", "tag", "provider", "link"):
        yield "/reports", {"by": by, **year}
    yield "/suppressions", {}
    yield "/suppressions", {"reason": "manual"}
    yield "/suppressions/alarms", {}
    for path in ("/topics", "/streams", "/templates", "/bounces", "/bounces/unmatched", "/webhooks"):
        yield path, {}
    yield f"/webhooks/{known['hook']}", {}
    yield f"/webhooks/{known['hook']}", {"show": "failed"}
    for path in ("/keys", "/users", "/audit", "/settings"):
        yield path, {}


async def spent(house: House) -> float:
    """Return the processor seconds of this process and of the server processes that answer it."""

    def verb(session: Session) -> list[int]:
        asked = "SELECT pid FROM pg_stat_activity WHERE backend_type IN ('client backend', 'parallel worker')"
        return list(session.execute(text(asked)).scalars())

    ticks = 0
    for pid in await house.service.database.read(verb):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / 100


async def cost(house: House, browser: Browser, path: str, query: dict[str, str]) -> tuple[float, float, int]:
    """Return the processor milliseconds of a page, the first time and later, and its bytes."""
    moments: list[float] = [await spent(house)]
    answer: Any = None
    for rounds in (1, ROUNDS):
        for _ in range(rounds):
            answer = await browser.get(f"@{path}", **query)
            assert answer.status_code == 200, (path, query, answer.status_code, answer.text[:300])
        moments.append(await spent(house))
    once, more = (later - sooner for sooner, later in pairwise(moments))
    return once * 1000, more / ROUNDS * 1000, len(answer.content)


async def measure(number: int) -> None:
    """Fill a database, then open every page."""
    with fresh_database(postgresql=True) as url:
        async with open_house(url, postal_address="Ringwise, 1 High Street") as house, house.browser() as browser:
            known = await fill(house, number)
            await browser.sign_in()
            slow = 0
            for path, query in paths(known, house.time):
                once, later, size = await cost(house, browser, path, query)
                slow += later > MOST
                words = " ".join(f"{name}={value[:12]}" for name, value in query.items())
                print(f"{path[:34]:<34} {words[:44]:<44} {once:8.0f} {later:7.1f} ms {size / 1000:7.0f} KB", flush=True)
            print(f"{slow} pages take more than {MOST} ms")


def main() -> None:
    """Measure on PostgreSQL."""
    parser = argparse.ArgumentParser(description="What the dashboard's pages cost beside a year of mail.")
    parser.add_argument("--emails", type=int, default=200_000)
    asyncio.run(measure(parser.parse_args().emails))


if __name__ == "__main__":
    main()
