"""What is stored of hits can be judged and counted again, and is forgotten in time."""

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import func, select
from sqlmodel import Session, SQLModel

from mailer import erasure, people
from mailer.counters import FACTS, Key
from mailer.database import Database
from mailer.feedback.tracking import again, keeping, recording
from mailer.feedback.tracking.sightings import Class, Sighting, Trace, Verdict
from mailer.links import Audience, Hit
from mailer.models import HitTrace, Opens
from mailer.targets import Link
from suppression.address import parse
from suppression.rules import Stream
from tests.recipients.world import ANN, BOB, NOON, PRINTS, World, open_world

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"
UNKNOWN, HUMAN = Verdict(Class.UNKNOWN, "none"), Verdict(Class.HUMAN, "browser")
LATER = NOON + timedelta(minutes=10)
AUDIENCE = Audience(1, Stream.PROMOTIONAL, "november", "newsletter", "letter", NOON.date())


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with open_world(database) as world:
        for who in (ANN, BOB):
            fingerprint = PRINTS.of(1, parse(who).canonical)
            said = partial(people.choose_tracking, tenant_id=1, fingerprint=fingerprint, granted=True)
            await database.run(partial(said, source="test", now=NOON))
        yield world


def hit(email_id: str, verdict: Verdict, agent: str, *, place: int | None = None, after: float = 0) -> Sighting:
    link = Link(place, "https://a.example", "a") if place is not None else None
    when = LATER + timedelta(seconds=after)
    return Sighting(Hit(email_id, None, b"", link), verdict, when, Trace("GET", agent, "office"))


async def write(world: World, *sightings: Sighting) -> None:
    await world.database.run(lambda session: recording.record(session, sightings, LATER))


async def sums(world: World) -> dict[Key, int]:
    statement = select(*(FACTS.c[name] for name in Key._fields), func.sum(FACTS.c.amount)).group_by(
        *(FACTS.c[name] for name in Key._fields)
    )
    found = await world.database.read(lambda session: session.execute(statement).all())
    return {Key(*key): int(amount) for *key, amount in found if amount}


async def reclassify(world: World, kinds: dict[str, Class]) -> tuple[int, int]:
    hits, changed, last = 0, 0, ""
    for _ in range(10):
        step = await world.database.run(
            partial(again.reclassify, tenant_id=1, since=NOON.date(), kinds=kinds, after=last)
        )
        if step.last is None:
            return hits, changed
        hits, changed, last = hits + step.hits, changed + step.changed, step.last
    raise AssertionError("it does not end")


async def test_new_rules_are_applied_to_what_is_stored_and_the_sums_follow(world: World) -> None:
    ann, bob = await world.email(opens=Opens.INDIVIDUAL), await world.email(BOB, opens=Opens.INDIVIDUAL)
    # As rules of an earlier day judged them.
    await write(world, hit(ann, UNKNOWN, FIREFOX), hit(ann, HUMAN, "curl/8.5.0", after=60), hit(bob, HUMAN, FIREFOX))
    assert (await world.count("read"), await world.count("opens:unknown")) == (2, 1)
    assert await reclassify(world, {}) == (3, 2)
    rules = {(event.email_id, event.data["rule"]) for event in await world.events("email.opened") if event.data}
    assert rules == {(ann, "browser"), (ann, "http-library"), (bob, "browser")}
    assert (await world.count("read"), await world.count("opens:unknown"), await world.count("opens:machine")) == (
        2,
        0,
        1,
    )
    # The list of networks calls the office a machine now.
    assert await reclassify(world, {"office": Class.MACHINE}) == (3, 2)
    assert (await world.count("read"), await world.count("opens:machine"), await world.count("touched")) == (0, 2, 2)
    assert await reclassify(world, {"office": Class.MACHINE}) == (3, 0)
    # And what was judged again is what would have been counted at once.
    before = await sums(world)
    assert await missing(world) == {}
    assert await sums(world) == before


async def test_a_hit_whose_trace_is_forgotten_stays_what_it_was(world: World) -> None:
    email_id = await world.email(opens=Opens.INDIVIDUAL)
    await write(world, hit(email_id, UNKNOWN, FIREFOX), hit(email_id, UNKNOWN, FIREFOX, after=60))
    first = (await world.events("email.opened"))[0].id
    traces = SQLModel.metadata.tables[str(HitTrace.__tablename__)]
    await world.database.run(lambda session: session.execute(traces.delete().where(traces.c.event_id == first)))
    assert await reclassify(world, {}) == (2, 1)
    assert [event.data["class"] for event in await world.events("email.opened") if event.data] == ["unknown", "human"]


async def missing(world: World) -> dict[Key, int]:
    return dict((await world.database.read(lambda session: again.difference(session, 1, NOON.date()))).sums)


async def test_counters_are_what_the_stored_hits_say(world: World) -> None:
    ann = await world.email(opens=Opens.INDIVIDUAL, clicks=Opens.INDIVIDUAL, campaign="ca_spring")
    bob = await world.email(BOB, opens=Opens.INDIVIDUAL, clicks=Opens.INDIVIDUAL, campaign="ca_spring")
    for number in range(3):
        await write(
            world,
            hit(ann, HUMAN, FIREFOX, place=number + 1, after=number * 0.4),
            hit(bob, HUMAN, FIREFOX, place=1, after=number * 600),
            hit(bob, UNKNOWN, "x", after=number * 700),
            Sighting(Hit(None, AUDIENCE, bytes([number % 2] * 8)), HUMAN, LATER),
        )
    good = await sums(world)
    assert await missing(world) == {}

    def spoil(session: Session) -> None:
        tally = again.difference(session, 1, NOON.date())
        tally.add(1, NOON.date(), "promotional", "opens:human", [("all", "")], 7)
        tally.add(1, NOON.date(), "promotional", "clicks_total:human", [("link", "ca_spring#1")], -2)
        tally.write(session)

    await world.database.run(spoil)
    assert await sums(world) != good
    wrong = await missing(world)
    assert sorted(wrong.values()) == [-7, 2]
    await world.database.run(lambda session: again.difference(session, 1, NOON.date()).write(session))
    assert await sums(world) == good


async def test_traces_are_forgotten_after_their_time_and_with_their_person(world: World) -> None:
    ann, bob = await world.email(opens=Opens.INDIVIDUAL), await world.email(BOB, opens=Opens.INDIVIDUAL)
    await write(world, hit(ann, HUMAN, FIREFOX), hit(bob, HUMAN, FIREFOX))
    assert await kept(world) == {ann, bob}
    who = PRINTS.all_of(1, parse(ANN).canonical)
    await world.database.run(lambda session: erasure.erase(session, 1, who, LATER, None))
    assert await kept(world) == {bob}
    await world.database.run(lambda session: keeping.forget(session, LATER + timedelta(days=30)))
    assert await kept(world) == {bob}
    await world.database.run(lambda session: keeping.forget(session, LATER + timedelta(days=31)))
    assert await kept(world) == set()
    assert len(await world.events("email.opened")) == 2


async def kept(world: World) -> set[str]:
    traces = SQLModel.metadata.tables[str(HitTrace.__tablename__)]
    return set(await world.database.read(lambda session: session.execute(select(traces.c.email_id)).scalars().all()))


async def test_a_link_of_a_template_is_called_by_where_it_leads_now(world: World) -> None:
    for label in ("first", "second"):
        await world.database.run(partial(keeping.name, labels={(1, "letter#1"): label}))
    table = SQLModel.metadata.tables["link"]
    found = await world.database.read(lambda session: session.execute(select(table.c.label)).scalars().all())
    assert found == ["second"]
