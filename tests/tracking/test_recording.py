"""What may be recorded of a picture that was loaded, and how it counts."""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from functools import partial

import pytest
from sqlalchemy import func
from sqlmodel import Session, SQLModel, col, delete, select, update

from mailer import people
from mailer.database import Database
from mailer.feedback.tracking import recording
from mailer.feedback.tracking.sightings import Class, Sighting, Trace, Verdict
from mailer.links import Audience, Hit
from mailer.models import ConsentRule, Email, Event, HitTrace, LinkLabel, Opens, SeenHit, Tenant
from mailer.targets import Link
from suppression.address import parse
from suppression.rules import Stream
from tests.recipients.world import ANN, BOB, NOON, PRINTS, World, open_world

#: Mail in this world is sent at noon.
LATER = NOON + timedelta(minutes=10)
AUDIENCE = Audience(1, Stream.PROMOTIONAL, "november", "newsletter", "letter", NOON.date())
HUMAN, MACHINE = Verdict(Class.HUMAN, "browser"), Verdict(Class.MACHINE, "gmail-prefetch")


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with open_world(database) as world:
        yield world


async def write(world: World, *sightings: Sighting) -> None:
    await world.database.run(lambda session: recording.record(session, sightings, world.time))


def load(email_id: str, verdict: Verdict = HUMAN) -> Sighting:
    return Sighting(Hit(email_id, None, b""), verdict, LATER)


def crowd(mark: bytes, verdict: Verdict = HUMAN, audience: Audience = AUDIENCE) -> Sighting:
    return Sighting(Hit(None, audience, mark), verdict, LATER)


async def say(world: World, granted: bool, to: str = ANN) -> None:
    fingerprint = PRINTS.of(1, parse(to).canonical)
    world.later(seconds=1)
    await world.database.run(
        lambda session: people.choose_tracking(session, 1, fingerprint, granted=granted, source="test", now=world.time)
    )


async def opened(world: World) -> list[Event]:
    return await world.events("email.opened")


async def test_a_hit_is_stored_with_its_class_and_rule_and_nothing_of_the_reader(world: World) -> None:
    email_id = await world.email(opens=Opens.INDIVIDUAL)
    await say(world, granted=True)
    await write(world, load(email_id))
    (event,) = await opened(world)
    assert (event.email_id, event.at, event.data) == (email_id, LATER, {"class": "human", "rule": "browser"})
    for dimension in (("all", ""), ("topic", "newsletter"), ("template", "letter"), ("tag", "campaign=november")):
        assert await world.count("opens:human", *dimension) == 1


async def test_r6_4_repeats_are_stored_and_not_counted(world: World) -> None:
    email_id = await world.email(opens=Opens.INDIVIDUAL)
    await say(world, granted=True)
    await write(world, load(email_id, MACHINE), load(email_id), load(email_id))
    await write(world, load(email_id), load(email_id, MACHINE))
    assert len(await opened(world)) == 5
    assert await world.count("opens:human") == 1
    assert await world.count("opens:machine") == 1


async def test_an_open_after_the_marks_were_swept_is_not_counted_again(world: World) -> None:
    email_id = await world.email(opens=Opens.INDIVIDUAL)
    await say(world, granted=True)
    await write(world, load(email_id))
    await world.database.run(lambda session: session.execute(delete(SeenHit)))
    await write(world, load(email_id))
    assert await world.count("opens:human") == 1


async def test_without_a_yes_nothing_is_recorded_where_one_is_required(world: World) -> None:
    email_id = await world.email(opens=Opens.INDIVIDUAL)
    await write(world, load(email_id))
    assert await opened(world) == []
    assert await world.count("opens:human") == 0


async def test_r6_consent_withdrawn_after_sending_means_nothing_is_recorded(world: World) -> None:
    email_id = await world.email(opens=Opens.INDIVIDUAL)
    await say(world, granted=True)
    await write(world, load(email_id))
    await say(world, granted=False)
    await write(world, load(email_id), load(email_id, MACHINE))
    assert len(await opened(world)) == 1
    assert await world.count("opens:machine") == 0


async def test_not_refused_asks_for_no_yes_and_takes_a_no(world: World) -> None:
    await world.database.run(lambda session: session.execute(update(Tenant).values(consent=ConsentRule.NOT_REFUSED)))
    ann, bob = await world.email(opens=Opens.INDIVIDUAL), await world.email(BOB, opens=Opens.INDIVIDUAL)
    await say(world, granted=False, to=BOB)
    await write(world, load(ann), load(bob))
    assert [event.email_id for event in await opened(world)] == [ann]


async def test_an_erased_person_is_not_recorded(world: World) -> None:
    email_id = await world.email(opens=Opens.INDIVIDUAL)
    await say(world, granted=True)
    await world.database.run(lambda session: session.execute(update(Email).values(address=None)))
    await write(world, load(email_id), load("em_" + "0" * 26))
    assert await opened(world) == []


async def test_a_mail_that_was_not_measured_individually_is_not_recorded(world: World) -> None:
    email_id = await world.email(opens=Opens.AGGREGATE)
    await say(world, granted=True)
    await write(world, load(email_id))
    assert await opened(world) == []


async def test_an_audience_counts_a_picture_once_a_class_and_names_nobody(world: World) -> None:
    await write(world, crowd(b"1" * 8, MACHINE), crowd(b"1" * 8), crowd(b"1" * 8), crowd(b"2" * 8))
    await write(world, crowd(b"1" * 8))
    for dimension in (("all", ""), ("topic", "newsletter"), ("template", "letter"), ("tag", "campaign=november")):
        assert await world.count("opens:human", *dimension) == 2
    assert await world.count("opens:machine") == 1
    assert (await world.count("read"), await world.count("touched")) == (2, 2)
    await write(world, crowd(b"3" * 8, MACHINE))
    assert (await world.count("read"), await world.count("touched")) == (2, 3), "machines alone loaded one"
    await write(world, crowd(b"3" * 8))
    assert (await world.count("read"), await world.count("touched")) == (3, 3), "its reader came later"
    assert await opened(world) == []
    marks = await world.database.read(lambda session: session.exec(select(col(SeenHit.mark))).all())
    assert all(b"1" * 8 not in mark for mark in marks)


async def test_a_tenant_that_is_gone_does_not_spoil_the_others(world: World) -> None:
    await write(world, crowd(b"1" * 8, audience=AUDIENCE._replace(tenant_id=99)), crowd(b"2" * 8))
    assert await world.count("opens:human") == 1


async def test_recording_five_hundred_hits_is_a_handful_of_statements(world: World) -> None:
    email_ids = [await world.email(opens=Opens.INDIVIDUAL) for _ in range(20)]
    await say(world, granted=True)
    sightings = [load(email_id) for email_id in email_ids for _ in range(25)]

    def verb(session: Session) -> None:
        recording.record(session, sightings, NOON)

    await world.database.run(verb)
    assert len(await opened(world)) == 500
    assert await world.count("opens:human") == 20


def click(email_id: str, place: int, verdict: Verdict = HUMAN, *, after: float = 0) -> Sighting:
    link = Link(place, f"https://shop.example/{place}", f"https://shop.example/{place}?for=…")
    return Sighting(Hit(email_id, None, b"", link), verdict, LATER + timedelta(seconds=after), Trace("GET", "x"))


async def test_a_click_is_an_open_and_counts_by_link(world: World) -> None:
    email_id = await world.email(opens=Opens.INDIVIDUAL, clicks=Opens.INDIVIDUAL, campaign="ca_spring")
    await say(world, granted=True)
    await write(world, click(email_id, 2), click(email_id, 2, after=60), click(email_id, 1, MACHINE))
    label = "https://shop.example/2?for=…"
    clicks = [event.data for event in await world.events("email.clicked") if event.data]
    assert {"class": "human", "rule": "browser", "link": 2, "url": label} in clicks
    assert sorted((str(data["link"]), str(data["class"])) for data in clicks) == [
        ("1", "machine"),
        *[("2", "human")] * 2,
    ]
    for dimension in (("all", ""), ("campaign", "ca_spring"), ("provider", "other"), ("template", "letter")):
        assert await world.count("clicks:human", *dimension) == 1
        assert await world.count("clicks_total:human", *dimension) == 2
        assert await world.count("clicked", *dimension) == 1
        assert await world.count("read", *dimension) == 1
    assert await world.count("clicks_total:human", "link", "ca_spring#2") == 2
    assert await world.count("clicks:machine", "link", "ca_spring#1") == 1
    assert await world.count("clicks_total:human", "stream_hour", "12") == 2
    named = await world.database.read(lambda session: session.exec(select(LinkLabel).order_by(LinkLabel.value)).all())
    assert [(each.value, each.label) for each in named][1] == ("ca_spring#2", label)


async def test_opens_and_clicks_have_modes_of_their_own(world: World) -> None:
    opens, clicks = await world.email(opens=Opens.INDIVIDUAL), await world.email(clicks=Opens.INDIVIDUAL)
    await say(world, granted=True)
    await write(world, load(opens), click(opens, 1), load(clicks), click(clicks, 1))
    assert [event.email_id for event in await opened(world)] == [opens]
    assert [event.email_id for event in await world.events("email.clicked")] == [clicks]


async def test_a_burst_makes_machines_of_what_was_human_before(world: World) -> None:
    email_id = await world.email(opens=Opens.INDIVIDUAL, clicks=Opens.INDIVIDUAL)
    await say(world, granted=True)
    await write(world, click(email_id, 1), click(email_id, 2, after=0.5))
    assert await world.count("clicked") == 1
    await write(world, click(email_id, 3, after=1))
    assert [event.data["rule"] for event in await world.events("email.clicked") if event.data] == ["burst"] * 3
    assert await world.count("clicked") == await world.count("read") == await world.count("clicks_total:human") == 0
    assert (await world.count("clicks:machine"), await world.count("clicks_total:machine")) == (1, 3)
    # Who opens after the scanner is a reader all the same.
    await write(world, load(email_id)._replace(at=LATER + timedelta(hours=1)))
    assert await world.count("read") == await world.count("opens:human") == 1


async def test_who_comes_right_after_the_mail_and_who_follows_the_hidden_link_is_a_machine(world: World) -> None:
    email_id = await world.email(opens=Opens.INDIVIDUAL, clicks=Opens.INDIVIDUAL)
    await say(world, granted=True)
    await write(world, load(email_id)._replace(at=NOON + timedelta(seconds=1)), click(email_id, 0))
    events = [*await opened(world), *await world.events("email.clicked")]
    assert [event.data["rule"] for event in events if event.data] == ["at-once", "hidden-link"]
    assert await world.count("read") == 0


async def test_r6_4_a_machine_that_loads_a_picture_for_days_fills_no_disk(world: World) -> None:
    email_id = await world.email(opens=Opens.INDIVIDUAL)
    await say(world, granted=True)
    for start in range(0, 1200, 400):
        hits = [load(email_id)._replace(at=LATER + timedelta(minutes=start + number)) for number in range(400)]
        await write(world, *hits)
    assert len(await opened(world)) == recording.MOST == await world.count("opens_total:human")


def allow(session: Session, mode: Opens) -> None:
    session.execute(update(Tenant).values(promotional_opens=mode))


async def test_what_a_tenant_allows_today_holds_for_mail_of_yesterday(world: World) -> None:
    email_id = await world.email(opens=Opens.INDIVIDUAL)
    await say(world, granted=True)
    for mode, hits, counted in ((Opens.AGGREGATE, 0, 1), (Opens.OFF, 0, 1), (Opens.INDIVIDUAL, 1, 3)):
        await world.database.run(partial(allow, mode=mode))
        await write(world, load(email_id), crowd(mode.encode()))
        assert len(await opened(world)) == hits
        assert await world.count("opens:human") == counted


async def test_an_audience_counts_clicks_and_judges_those_that_come_together(world: World) -> None:
    def follow(mark: bytes, place: int, after: float = 0) -> Sighting:
        return click("", place, after=after)._replace(
            hit=Hit(None, AUDIENCE, mark, Link(place, "https://a.example", "a"))
        )

    await write(world, follow(b"1" * 8, 1), follow(b"1" * 8, 1, 5), crowd(b"1" * 8))
    await write(world, crowd(b"1" * 8), *(follow(b"2" * 8, place) for place in (1, 2, 3)))
    assert (await world.count("clicked"), await world.count("read"), await world.count("opens:human")) == (1, 1, 1)
    assert (await world.count("clicks_total:human"), await world.count("clicks_total:machine")) == (2, 3)
    assert (await world.count("clicks:human", "link", "letter#1"), await world.count("clicks:machine")) == (1, 1)
    assert await world.events("email.clicked") == []


async def test_of_a_last_open_the_day_is_kept_and_nothing_else(world: World) -> None:
    await world.database.run(lambda session: session.execute(update(Tenant).values(last_open_only=True)))
    await say(world, granted=True)
    email_id = await world.email(opens=Opens.INDIVIDUAL)
    machine = load(email_id, MACHINE)
    await write(world, machine._replace(trace=Trace("GET", "x")))
    assert await last_open(world) is None
    reader = load(email_id)._replace(at=LATER + timedelta(days=1), trace=Trace("GET", "x"))
    await write(world, reader, reader._replace(at=LATER))
    await write(world, reader._replace(at=LATER))
    assert await last_open(world) == NOON.date() + timedelta(days=1)
    await write(world, reader)
    assert await opened(world) == []
    for model in (SeenHit, HitTrace):
        assert await world.database.read(partial(number_of, model=model)) == 0
    assert (await world.count("read"), await world.count("opens:human"), await world.count("opens_total:human")) == (
        1,
        1,
        4,
    )
    quiet = await world.database.read(lambda session: people.quiet(session, 1, date(2026, 12, 1), b"", 10))
    assert [last for _, last in quiet] == [people.LastOpen(ANN, NOON.date() + timedelta(days=1))]
    await say(world, granted=False)
    await write(world, reader._replace(at=LATER + timedelta(days=9)))
    assert await last_open(world) == NOON.date() + timedelta(days=1)


def number_of(session: Session, model: type[SQLModel]) -> int:
    return session.exec(select(func.count()).select_from(model)).one()


async def last_open(world: World) -> date | None:
    who = PRINTS.of(1, parse(ANN).canonical)
    return (await world.database.read(lambda session: people.last_opens(session, 1, [who]))).get(who)
