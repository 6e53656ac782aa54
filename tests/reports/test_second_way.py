"""Every number a second way: what the counters say, against what the rows and events of the same mail say."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from itertools import product
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from sqlmodel import Session, col, select

from mailer import ids, reports
from mailer.counters import ALL, Tally
from mailer.database import Database
from mailer.delivery import claims
from mailer.delivery.claims import Outcome, Step
from mailer.errors import Conflict
from mailer.feedback import hearing, optouts
from mailer.feedback.inbound.report import Category, Kind, Proof, Report
from mailer.feedback.optouts import How
from mailer.feedback.tracking.recording import record
from mailer.feedback.tracking.sightings import Class, Sighting, Verdict
from mailer.links import Hit
from mailer.models import Campaign, ConsentRule, Email, Event, Opens, Tenant
from mailer.reports import By, Did, Doers, Figure, Span
from mailer.reports import Step as Long
from mailer.status import Status
from mailer.targets import Link
from suppression.rules import Stream
from suppression.token import OptOut
from tests.campaigns.world import NOW, World, asked, world_of
from tests.delivery import mails

DOMAINS = ("gmail.com", "icloud.com", "yahoo.com", "example.org")
TODAY = NOW.date()
SPAN = Span(TODAY, TODAY)
REPORTS = (
    Report(Kind.BOUNCED, Category.INVALID_RECIPIENT, hard=True, status="5.1.1", source="dsn"),
    Report(Kind.BOUNCED, Category.MAILBOX_FULL, status="4.2.2", source="dsn"),
    Report(Kind.DELIVERED, source="dsn"),
    Report(Kind.COMPLAINED, source="arf"),
)


class Raw(NamedTuple):
    """One email and the kinds of what happened to it, each with what it says."""

    email: Email
    events: Sequence[tuple[str, Mapping[str, object]]]

    def has(self, kind: str, **data: object) -> bool:
        return any(each == kind and said.items() >= data.items() for each, said in self.events)

    def opened_by(self, *classes: str) -> bool:
        return any(self.has("email.opened", **{"class": each}) for each in classes)

    def clicked_by(self, *classes: str, **link: object) -> bool:
        return any(self.has("email.clicked", **{"class": each}, **link) for each in classes)

    def number(self, kind: str, *classes: str, **link: object) -> int:
        """Return how many hits of these classes there were."""
        return sum(
            each == kind and said["class"] in classes and said.items() >= link.items() for each, said in self.events
        )


def arrived(raw: Raw) -> bool:
    return raw.email.sent_at is not None and raw.email.status is not Status.BOUNCED


def hard(raw: Raw) -> bool:
    """Return whether the last bounce was the address's fault."""
    return [said for kind, said in raw.events if kind == "email.bounced"][-1]["hard"] is True


def bounced(raw: Raw) -> bool:
    return raw.email.status is Status.BOUNCED


def left(raw: Raw) -> bool:
    """Return whether somebody left by a mail of which they had not complained: that was a loss already."""
    return next((kind for kind, _ in raw.events if kind in _LOSSES), None) == _LOSSES[0]


def back(raw: Raw) -> bool:
    """Return whether a loss was taken back."""
    return left(raw) and raw.has("email.resubscribed")


def opened(raw: Raw) -> bool:
    return raw.opened_by(*_TRUE) or raw.clicked_by("human")


def told_of_deliveries(some: Sequence[Raw]) -> str:
    """Return which figure says how many mails arrived."""
    delivered, sent = (sum(map(SECOND[name], some)) for name in ("delivered", "sent"))
    return "delivered" if 2 * delivered > sent else "accepted"


_TRUE = ("human", "proxy")
_LOSSES = ("email.unsubscribed", "email.complained")
#: Figure -> how much of it an email is, by its row and its events alone.
SECOND: Mapping[str, Callable[[Raw], int]] = {
    "requested": lambda _raw: True,
    "suppressed": lambda raw: raw.email.status is Status.SUPPRESSED,
    "waiting": lambda raw: raw.email.status in (Status.HELD, Status.QUEUED, Status.DEFERRED, Status.SENDING),
    "sent": lambda raw: raw.email.sent_at is not None,
    "tried": lambda raw: raw.email.sent_at is not None or bounced(raw),
    "refused_at_once": lambda raw: bounced(raw) and raw.email.sent_at is None,
    "returned": lambda raw: bounced(raw) and raw.email.sent_at is not None,
    "bounced": bounced,
    "hard_bounced": lambda raw: bounced(raw) and hard(raw),
    "soft_bounced": lambda raw: bounced(raw) and not hard(raw),
    "accepted": arrived,
    "delivered": lambda raw: raw.email.status is Status.DELIVERED,
    "failed": lambda raw: raw.email.status is Status.FAILED,
    "tracked": lambda raw: arrived(raw) and raw.email.tracked,
    "opens_human": lambda raw: raw.opened_by("human"),
    "opens_proxy": lambda raw: raw.opened_by("proxy"),
    "opens_machine": lambda raw: raw.opened_by("machine"),
    "opens_unknown": lambda raw: raw.opened_by("unknown"),
    "opened": opened,
    "opens_machine_only": lambda raw: raw.opened_by("machine") and not opened(raw),
    "opens_total": lambda raw: raw.number("email.opened", *_TRUE),
    "tracked_links": lambda raw: arrived(raw) and raw.email.tracked_links,
    **{f"clicks_{each}": lambda raw, each=each: raw.clicked_by(each) for each in Class},  # type: ignore[misc]
    "clicked": lambda raw: raw.clicked_by(*_TRUE),
    "clicks_total": lambda raw: raw.number("email.clicked", *_TRUE),
    "unsubscribed": left,
    "resubscribed": back,
    "left": lambda raw: left(raw) - back(raw),
    "complained": lambda raw: raw.has("email.complained"),
}
#: Rate -> the figures that it is a part and the whole of; an empty whole is how many arrived.
RATES = {
    "bounce_rate": ("bounced", "tried"),
    "coverage": ("tracked", "accepted"),
    "open_rate": ("opened", "tracked"),
    "click_rate": ("clicked", "tracked_links"),
    "click_to_open_rate": ("clicked", "opened"),
    "unsubscribe_rate": ("left", ""),
    "complaint_rate": ("complained", ""),
}
_TOLD_OF_PROVIDERS = (
    "opened",
    "opens_machine",
    "opens_machine_only",
    "clicked",
    "clicks_human",
    "clicks_total",
    "left",
    "sent",
    "refused_at_once",
    "returned",
    "bounced",
    "accepted",
    "delivered",
    "tracked",
)


async def lived(world: World) -> list[str]:
    """Have two campaigns go through everything that mail can meet, by the real verbs; the die falls the same."""
    die = random.Random(7)

    def measured(session: Session) -> None:
        tenant = session.get_one(Tenant, world.sender.tenant_id)
        tenant.promotional_opens, tenant.consent = Opens.INDIVIDUAL, ConsentRule.NOT_REFUSED
        tenant.promotional_clicks = Opens.INDIVIDUAL

    await world.database.run(measured)
    for domain in DOMAINS:
        await world.suppress(f"p5@{domain}")
    found = []
    for name, number in (("first", 60), ("second", 24)):
        campaign = await world.create(**asked(name=name, tags={"team": name}))
        await world.add(
            campaign, [f"{name[0] if place % 5 else 'p'}{place}@{die.choice(DOMAINS)}" for place in range(number)]
        )
        await world.start(campaign)
        await world.sweep()
        found.append(campaign)
    await world.database.run(lambda session: _sent(session, die))
    sent = [raw.email for raw in await raws(world) if raw.email.sent_at is not None]
    for email in sent:
        world.now += timedelta(minutes=5)
        await world.database.run(lambda session, email=email: _followed(session, email, die, world))  # type: ignore[misc]
    return found


def _sent(session: Session, die: random.Random) -> None:
    worker, jobs = mails.claim(session, mails.P, NOW, limit=80)
    claims.commit(session, [Step(intent=job) for job in jobs], worker, NOW)
    outcomes = []
    for job in jobs:
        status = die.choices([Status.SENT, Status.BOUNCED, Status.FAILED, Status.DEFERRED], [85, 8, 4, 3])[0]
        due_at = NOW + timedelta(hours=1) if status is Status.DEFERRED else None
        hard, sent = status is Status.BOUNCED and die.random() < 0.5, status is Status.SENT
        pixel, links = sent and die.random() < 0.9, sent and die.random() < 0.9
        outcome = Outcome(job, status, "250 2.0.0 ok", Category.UNKNOWN, hard=hard, tracked=pixel, tracked_links=links)
        outcomes.append(outcome._replace(due_at=due_at))
    claims.commit(session, [Step(outcome=outcome) for outcome in outcomes], worker, NOW)


def _followed(session: Session, email: Email, die: random.Random, world: World) -> None:
    hits = [
        Sighting(Hit(email.id, None, ids.to_bytes(email.id)), Verdict(die.choice(list(Class)), "test"), world.now)
        for _ in range(die.randrange(4))
    ]
    links = [Link(place, f"https://ringwise.example/{label}", label) for place, label in ((1, "A"), (2, "B"))]
    clicks = [
        Sighting(Hit(email.id, None, b"", die.choice(links)), Verdict(die.choice(list(Class)), "test"), world.now)
        for _ in range(die.choice((0, 0, 1, 2, 3)))
    ]
    for seen in ([*hits] if email.tracked else [], [*clicks] if email.tracked_links else []):
        record(session, seen, world.now)
    for report in die.sample(REPORTS, die.choice((0, 0, 1, 1, 2))):
        hearing.hear(session, [(report, Proof("return_path", email.id))], world.now)
    if die.random() < 0.15 and email.fingerprint is not None:
        token = OptOut(email.tenant_id, email.fingerprint, email.stream, email.topic, ids.to_bytes(email.id))
        optouts.opted_out(session, token, How(optouts.Kind.LINK), world.now)
        if die.random() < 0.5:
            optouts.undo(session, token, world.now + timedelta(minutes=1))


async def raws(world: World) -> list[Raw]:
    """Return all mail of a world and what happened to it."""
    return await raws_of(world.database)


async def raws_of(database: Database) -> list[Raw]:
    """Return all mail and what happened to it."""

    def verb(session: Session) -> list[Raw]:
        events = defaultdict(list)
        for event in session.exec(select(Event).order_by(col(Event.id))):
            events[event.email_id].append((event.kind, event.data or {}))
        return [Raw(email, events[email.id]) for email in session.exec(select(Email).order_by(col(Email.id)))]

    return await database.read(verb)


def checked(shown: Sequence[Figure], some: Sequence[Raw], names: Sequence[str] = tuple(SECOND)) -> None:
    """Hold each figure against the second way to it."""
    figures = {figure.name: figure.value for figure in shown}
    right = {name: sum(map(SECOND[name], some)) for name in SECOND}
    assert {name: figures[name] for name in names} == {name: right[name] for name in names}
    if names == tuple(SECOND):
        wholes = {name: (part, right[whole or told_of_deliveries(some)]) for name, (part, whole) in RATES.items()}
        assert {name: figures[name] for name in RATES} == {
            name: min(1, round(right[part] / whole, 4)) if whole else None for name, (part, whole) in wholes.items()
        }


async def test_every_count_is_what_rows_and_events_say(database: Database) -> None:
    world = await world_of(database)
    first, second = await lived(world)
    some, tenant_id = await raws(world), world.sender.tenant_id
    seen = Counter(name for name, is_one in SECOND.items() for raw in some if is_one(raw))
    assert seen.keys() == SECOND.keys(), "the story is poorer than it was"

    def verb(session: Session) -> None:
        checked(reports.report(session, tenant_id, SPAN).figures, some)
        for campaign in (first, second):
            mine = [raw for raw in some if raw.email.campaign_id == campaign]
            checked(reports.campaign_report(session, session.get_one(Campaign, campaign), world.now).figures, mine)
        for by, of in (
            (By.TOPIC, lambda raw: raw.email.topic),
            (By.CAMPAIGN, lambda raw: raw.email.campaign_id),
            (By.TAG, lambda raw: f"team={raw.email.tags['team']}"),
            (By.STREAM, lambda raw: raw.email.stream.value),
        ):
            rows = [row for row in reports.table(session, tenant_id, SPAN, by).rows if row.figures[0].value]
            assert {row.value for row in rows} == set(map(of, some))
            for row in rows:
                checked(row.figures, [raw for raw in some if of(raw) == row.value])
        for row in reports.table(session, tenant_id, SPAN, By.PROVIDER).rows:
            checked(row.figures, [raw for raw in some if raw.email.provider == row.value], _TOLD_OF_PROVIDERS)
        for row in reports.campaign_table(session, session.get_one(Campaign, first), By.PROVIDER, world.now).rows:
            mine = [raw for raw in some if (raw.email.provider, raw.email.campaign_id) == (row.value, first)]
            checked(row.figures, mine, _TOLD_OF_PROVIDERS)

    await world.database.read(verb)


async def test_the_clicks_of_each_link_are_what_events_say(database: Database) -> None:
    world = await world_of(database)
    campaigns = await lived(world)
    some, tenant_id = await raws(world), world.sender.tenant_id
    right: dict[str, Mapping[str, int]] = {}
    for campaign, place in product(campaigns, (1, 2)):
        mine = [raw for raw in some if raw.email.campaign_id == campaign]
        unique = {f"clicks_{each}": sum(raw.clicked_by(each, link=place) for raw in mine) for each in Class}
        total = sum(raw.number("email.clicked", *_TRUE, link=place) for raw in mine)
        right[f"{campaign}#{place}"] = {**unique, "clicks_total": total}
    assert all(any(each[name] for each in right.values()) for name in right[f"{campaigns[0]}#1"]), "a poorer story"

    def verb(session: Session) -> None:
        rows = reports.table(session, tenant_id, SPAN, By.LINK).rows
        assert {row.value: {each.name: each.value for each in row.figures} for row in rows} == right
        assert {row.value: row.label for row in rows} == {value: "AB"[int(value[-1]) - 1] for value in right}
        for campaign in campaigns:
            found = reports.campaign_table(session, session.get_one(Campaign, campaign), By.LINK, world.now).rows
            assert {row.value: {each.name: each.value for each in row.figures} for row in found} == {
                value: each for value, each in right.items() if value.startswith(campaign)
            }

    await world.database.read(verb)


async def test_the_hours_of_a_series_add_up_to_the_report(database: Database) -> None:
    world = await world_of(database)
    first, second = await lived(world)

    def verb(session: Session) -> None:
        span, zone = Span(TODAY, world.now.date()), ZoneInfo("UTC")
        tenant_id = world.sender.tenant_id
        names = ("requested", "sent", "bounced", "opened", "clicked", "unsubscribed", "left", "complained")
        told = {each.name: each.value for each in reports.report(session, tenant_id, SPAN).figures}
        for step in Long:
            whole = reports.stream_series(session, tenant_id, span, step, zone=zone).points
            assert {name: sum(point.counts[name] for point in whole) for name in names} == {
                name: told[name] for name in names
            }
            parts = [
                point
                for campaign in (first, second)
                for point in reports.campaign_series(
                    session, session.get_one(Campaign, campaign), span, step, zone
                ).points
            ]
            assert {name: sum(point.counts[name] for point in parts) for name in names} == {
                name: told[name] for name in names
            }

    await world.database.read(verb)


async def test_a_recount_finds_nothing_wrong_and_puts_right_what_is(database: Database) -> None:
    world = await world_of(database)
    await lived(world)
    tenant_id, some = world.sender.tenant_id, await raws(world)
    assert await database.run(lambda session: reports.recount(session, tenant_id, TODAY)) == {}

    def strangers(session: Session) -> None:
        """Have people leave, one come back, by mails that are gone."""
        for number in range(2):
            token = OptOut(tenant_id, bytes([number]) * 16, Stream.PROMOTIONAL, "newsletter", bytes(16))
            optouts.opted_out(session, token, How(optouts.Kind.LINK), world.now)
        optouts.undo(session, token, world.now + timedelta(minutes=1))

    await database.run(strangers)
    assert world.now.date() == TODAY
    assert await database.run(lambda session: reports.recount(session, tenant_id, TODAY)) == {}

    def spoil(session: Session) -> None:
        tally = Tally()
        for metric in ("hard_bounced", "soft_bounced", "tracked_links", "unsubscribed", "resubscribed", "complained"):
            tally.add(tenant_id, TODAY, "promotional", metric, [ALL, ("provider", "yahoo")], 3)
        tally.add(tenant_id, TODAY, "promotional", "sent", [ALL, ("topic", "events"), ("provider", "gmail")], 5)
        tally.add(tenant_id, TODAY, "promotional", "suppressed:manual", [ALL], -2)
        tally.write(session)
        session.flush()

    await database.run(spoil)
    wrong = await database.run(lambda session: reports.recount(session, tenant_id, TODAY))
    assert sorted((key.dimension, key.metric, amount) for key, amount in wrong.items()) == [
        *(("all", metric, -3) for metric in ("complained", "hard_bounced", "resubscribed")),
        ("all", "sent", -5),
        ("all", "soft_bounced", -3),
        ("all", "suppressed:manual", 2),
        *(("all", metric, -3) for metric in ("tracked_links", "unsubscribed")),
        *(("provider", metric, -3) for metric in ("complained", "hard_bounced", "resubscribed")),
        ("provider", "sent", -5),
        *(("provider", metric, -3) for metric in ("soft_bounced", "tracked_links", "unsubscribed")),
        ("topic", "sent", -5),
    ]
    assert await database.run(lambda session: reports.recount(session, tenant_id, TODAY)) == {}
    assert await database.run(lambda session: reports.recount(session, tenant_id + 1, TODAY)) == {}
    rows = await database.read(lambda session: reports.table(session, tenant_id, SPAN, By.CAMPAIGN).rows)
    for row in rows:
        checked(row.figures, [raw for raw in some if raw.email.campaign_id == row.value])


@pytest.mark.parametrize("did", list(Did), ids=str)
async def test_who_did_what_is_told_page_by_page(database: Database, did: Did) -> None:
    world = await world_of(database)
    first, _second = await lived(world)
    wanted = [
        raw.email.address
        for raw in await raws(world)
        if raw.email.campaign_id == first and _DID[did](raw) and raw.email.address
    ]

    def page(session: Session, after: str | None) -> Doers:
        return reports.doers(session, session.get_one(Campaign, first), did, limit=3, after=after)

    found: list[str] = []
    after, more = None, True
    for _ in range(60):
        told = await database.read(lambda session, after=after: page(session, after))  # type: ignore[misc]
        found += [each.address for each in told.people]
        assert len(told.people) <= 3
        assert all(each.times >= 1 for each in told.people)
        after, more = told.after, told.has_more
        if not more:
            break
    assert found == wanted
    assert len(found) > 3, "the story is poorer than it was"


_DID: Mapping[Did, Callable[[Raw], int]] = {
    Did.OPENED: opened,
    Did.CLICKED: lambda raw: raw.clicked_by(*_TRUE),
    Did.BOUNCED: bounced,
    Did.UNSUBSCRIBED: lambda raw: raw.has("email.unsubscribed"),
}


@pytest.mark.parametrize("did", [Did.OPENED, Did.CLICKED], ids=str)
async def test_who_did_is_nobodys_business_where_it_is_not_measured_individually(sqlite: Database, did: Did) -> None:
    world = await world_of(sqlite)
    campaign = await world.create(**asked(tracking={"opens": "aggregate", "clicks": "aggregate"}))
    with pytest.raises(Conflict, match=f"nobody knows who {did} it"):
        await sqlite.read(lambda session: reports.doers(session, session.get_one(Campaign, campaign), did, limit=3))
