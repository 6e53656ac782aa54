"""What a person has chosen, and how a return to one topic leaves the others left."""

from collections.abc import AsyncIterator
from functools import partial

import pytest
from sqlmodel import Session, select

from mailer import people
from mailer.database import Database
from mailer.models import Consent
from mailer.people import Leaving, Preferences, Rejoined
from suppression import entries, rules
from suppression.address import parse
from suppression.entries import Entry, NewEntry, check_keys
from suppression.entries.kin import CHUNK
from suppression.rules import Origin, Reason, Scope, Stream
from tests.recipients.world import ANN, BOB, PRINTS, World, open_world

ANNS, BOBS = (PRINTS.of(1, parse(address).canonical) for address in (ANN, BOB))
OTHERS = {"topic:newsletter", "topic:product-updates", "topic:surveys"}


@pytest.fixture
async def world(sqlite: Database) -> AsyncIterator[World]:
    async with open_world(sqlite) as world:
        yield world


def leaving(scope: Scope = rules.STREAM_PROMOTIONAL) -> Leaving:
    return Leaving(tenant_id=1, fingerprint=ANNS, scope=scope)


async def leave(world: World, scope: Scope) -> None:
    await world.database.run(lambda session: people.leave(session, leaving(scope), world.time))


async def rejoin(world: World, *topics: str) -> Rejoined:
    return await world.database.run(lambda session: people.rejoin(session, leaving(), topics, world.time))


async def preferences(world: World) -> Preferences:
    return await world.database.read(lambda session: people.preferences(session, 1, ANNS, world.time))


async def add(world: World, reason: Reason, scope: Scope) -> None:
    new = NewEntry(tenant_id=1, fingerprint=ANNS, key_id="f1", reason=reason, scope=scope, origin=Origin.ADMIN)
    await world.database.run(lambda session: entries.add(session, new, world.time))


async def test_who_never_said_is_neither_yes_nor_no(world: World) -> None:
    assert await world.database.read(lambda session: people.tracking_choice(session, 1, ANNS)) is None


async def test_the_newest_answer_holds_and_every_change_is_kept(world: World) -> None:
    def choose(session: Session, *, granted: bool) -> bool:
        return people.choose_tracking(session, 1, ANNS, granted=granted, source="page", now=world.time)

    news = [await world.database.run(partial(choose, granted=yes)) for yes in (True, False, False, True)]
    assert news == [True, True, False, True]
    rows = await world.database.read(lambda session: session.exec(select(Consent)).all())
    assert [row.granted for row in rows] == [True, False, True]
    assert await world.database.read(lambda session: people.tracking_choice(session, 1, ANNS)) is True
    assert await world.database.read(lambda session: people.tracking_choice(session, 2, ANNS)) is None


async def test_many_answers_in_one_query(world: World) -> None:
    def choose(session: Session) -> None:
        people.choose_tracking(session, 1, ANNS, granted=False, source="page", now=world.time)

    await world.database.run(choose)
    found = await world.database.read(lambda session: people.tracking_choices(session, 1, [ANNS, BOBS, ANNS]))
    assert found == {ANNS: False}
    assert await world.database.read(lambda session: people.tracking_choices(session, 1, [])) == {}


async def test_preferences_of_somebody_who_left_nothing(world: World) -> None:
    found = await preferences(world)
    assert not any(choice.left for choice in found.topics)
    assert [choice.topic.key for choice in found.topics if not choice.may_leave] == ["billing"]
    assert (found.all_promotional_left, found.tracking) == (False, None)


async def test_preferences_say_why(world: World) -> None:
    await leave(world, rules.topic_scope("surveys"))
    await add(world, Reason.HARD_BOUNCE, rules.ALL)
    found = {choice.topic.key: choice for choice in (await preferences(world)).topics}
    assert found["surveys"].left
    assert not found["events"].left, "a bounce is no decision of the person's"
    assert found["events"].why is Reason.HARD_BOUNCE


async def test_rejoining_a_topic_lifts_its_own_entry_only(world: World) -> None:
    for key in ("surveys", "events"):
        await leave(world, rules.topic_scope(key))
    await rejoin(world, "events")
    assert set(await world.standing()) == {"topic:surveys"}
    entry = await world.database.read(
        lambda session: session.exec(select(Entry).where(Entry.scope == "topic:events")).one()
    )
    assert entry.lifted_by == "person"


async def test_rejoining_one_topic_splits_the_whole_stream(world: World) -> None:
    await leave(world, rules.STREAM_PROMOTIONAL)
    await rejoin(world, "events")
    assert set(await world.standing()) == OTHERS
    assert await world.may_get(topic="events")
    assert not await world.may_get(topic="newsletter")


async def test_a_fresh_opt_in_ends_a_complaint_for_that_topic(world: World) -> None:
    await add(world, Reason.COMPLAINT, rules.STREAM_PROMOTIONAL)
    await rejoin(world, "events")
    assert set(await world.standing()) == OTHERS


async def test_rejoining_a_notification_keeps_all_promotional_mail_left(world: World) -> None:
    await leave(world, rules.ALL)
    await rejoin(world, "new-lead")
    assert set(await world.standing()) == {"stream:promotional"}
    assert await world.may_get(stream=Stream.TRANSACTIONAL, topic="new-lead")


async def test_nobody_talks_a_bounce_or_an_operator_away(world: World) -> None:
    await add(world, Reason.HARD_BOUNCE, rules.ALL)
    await add(world, Reason.MANUAL, rules.STREAM_PROMOTIONAL)
    assert await rejoin(world, "events", "newsletter") == ((), ())
    assert not await world.may_get(topic="events")


async def test_rejoining_what_was_not_left_changes_nothing(world: World) -> None:
    await leave(world, rules.topic_scope("surveys"))
    assert await rejoin(world, "events", "no-such-topic") == ((), ())


async def test_an_entry_names_the_key_of_its_fingerprint(world: World) -> None:
    await world.database.run(lambda session: check_keys(session, PRINTS, world.time))
    await leave(world, rules.STREAM_PROMOTIONAL)
    assert await world.database.read(lambda session: session.exec(select(Entry.key_id)).all()) == ["f1"]


async def test_of_very_many_the_languages_that_they_chose_are_told(database: Database) -> None:
    asked = [PRINTS.of(1, f"p{each}@example.org") for each in range(CHUNK + 905)]
    async with open_world(database) as world:

        def story(session: Session) -> dict[bytes, str]:
            for place, locale in ((0, "uk"), (CHUNK - 1, "en"), (CHUNK, "uk"), (401, None), (904, "en")):
                people.choose_language(session, 1, asked[place], locale, address=None, now=world.time)
            return people.chosen_languages(session, 1, [*asked, asked[0]])

        found = await world.database.run(story)
        assert found == {asked[0]: "uk", asked[CHUNK - 1]: "en", asked[CHUNK]: "uk", asked[904]: "en"}
        assert await world.database.run(lambda session: people.chosen_languages(session, 2, asked)) == {}
        assert await world.database.run(lambda session: people.chosen_languages(session, 1, [])) == {}
