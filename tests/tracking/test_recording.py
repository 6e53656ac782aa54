"""What may be recorded of a picture that was loaded, and how it counts."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlmodel import Session, col, delete, select, update

from mailer import people
from mailer.database import Database
from mailer.feedback.tracking import recording
from mailer.feedback.tracking.sightings import Class, Sighting, Verdict
from mailer.links import Audience, Hit
from mailer.models import ConsentRule, Email, Event, Opens, SeenHit, Tenant
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
