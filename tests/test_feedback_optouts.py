"""Opting out is one transaction: the entry, what waits, the events and the counters."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import select as sql_select
from sqlmodel import Session, col, select, update

from mailer.counters import FACTS
from mailer.database import Database
from mailer.errors import NotFound
from mailer.feedback import optouts
from mailer.feedback.optouts import UNDO_FOR, Chosen, How, Kind
from mailer.models import OptOutScope, Tenant
from mailer.status import Status
from suppression import entries, rules
from suppression.address import parse
from suppression.entries import Entry, NewEntry
from suppression.rules import Origin, Reason, Scope, Stream
from suppression.token import OptOut, sign_mailto, verify_mailto
from tests.recipients.world import ANN, BOB, NOON, PRINTS, RESUBSCRIBED, World, open_world

ONE_CLICK = How(Kind.ONE_CLICK, "192.0.2.7")
ALL_PROMOTIONAL = {"stream:promotional"}


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with open_world(database) as world:
        yield world


async def leave(world: World, opt_out: OptOut, scope: Scope | None = None) -> optouts.Outcome:
    return await world.database.run(
        lambda session: optouts.opted_out(session, opt_out, ONE_CLICK, world.time, scope=scope)
    )


async def undo(world: World, opt_out: OptOut) -> optouts.Outcome | None:
    return await world.database.run(lambda session: optouts.undo(session, opt_out, world.time))


async def narrow(world: World, opt_out: OptOut, *topics: str) -> optouts.Outcome:
    return await world.database.run(
        lambda session: optouts.left_only(session, opt_out, set(topics), ONE_CLICK, world.time)
    )


async def add(world: World, reason: Reason, scope: Scope) -> None:
    new = NewEntry(
        tenant_id=1,
        fingerprint=PRINTS.of(1, parse(ANN).canonical),
        key_id="f1",
        reason=reason,
        scope=scope,
        origin=Origin.ADMIN,
    )
    await world.database.run(lambda session: entries.add(session, new, world.time))


async def test_a_promotional_link_leaves_the_stream_and_nothing_else(world: World) -> None:
    email_id = await world.email()
    outcome = await leave(world, world.opt_out(email_id))
    assert outcome.created
    assert outcome.scope == "stream:promotional"
    assert not await world.may_get(topic="events")
    assert await world.may_get(stream=Stream.TRANSACTIONAL, topic=None)
    assert await world.may_get(stream=Stream.TRANSACTIONAL, topic="new-lead")
    assert await world.may_get(BOB)
    (event,) = await world.events()
    assert event.email_id == email_id
    assert event.data == {
        "suppression_id": outcome.entry_ids[0],
        "scope": "stream:promotional",
        "how": "one_click",
        "counted": True,
        "campaign_id": "ca_1",
    }
    for dimension in (("all", ""), ("topic", "newsletter"), ("template", "letter"), ("tag", "campaign=november")):
        assert await world.count("unsubscribed", *dimension) == 1


async def test_the_entry_keeps_the_evidence_and_no_token(world: World) -> None:
    email_id = await world.email()
    opt_out = world.opt_out(email_id)
    await leave(world, opt_out)
    entry = await world.database.read(lambda session: session.exec(select(Entry)).one())
    assert entry.address == ANN
    assert entry.origin is Origin.RECIPIENT
    assert entry.evidence is not None
    assert entry.evidence["email_id"] == email_id
    assert entry.evidence["ip"] == "192.0.2.7"
    assert str(entry.evidence["token"]) not in world.link(opt_out)


async def test_the_counter_belongs_to_the_day_of_the_mail_and_its_hour_to_the_day_of_the_act(world: World) -> None:
    opt_out = world.opt_out(await world.email())
    world.later(days=9)
    await leave(world, opt_out)
    unsubscribed = sql_select(FACTS.c.day).where(FACTS.c.metric == "unsubscribed").distinct()
    hours = FACTS.c.dimension.in_(["stream_hour", "campaign_hour"])
    for counted, day in (
        (unsubscribed.where(~hours), NOON.date()),
        (unsubscribed.where(hours), NOON.date() + timedelta(days=9)),
    ):
        found = await world.database.read(lambda session, counted=counted: session.execute(counted).scalars().all())  # type: ignore[misc]
        assert found == [day]


async def test_twice_is_once_and_the_first_time_stays(world: World) -> None:
    opt_out = world.opt_out(await world.email())
    first = await leave(world, opt_out)
    world.later(days=3)
    second = await leave(world, opt_out)
    assert (second.entry_ids, second.created) == (first.entry_ids, False)
    assert await world.standing() == {"stream:promotional": NOON}
    assert len(await world.events()) == 1
    assert await world.count("unsubscribed") == 1


async def test_a_tenant_may_let_links_leave_the_topic_only(world: World) -> None:
    await world.database.run(lambda session: session.execute(update(Tenant).values(opt_out_scope=OptOutScope.TOPIC)))
    opt_out = world.opt_out(await world.email())
    assert (await leave(world, opt_out)).scope == "topic:newsletter"
    assert not await world.may_get()
    assert await world.may_get(topic="events")
    await leave(world, opt_out, rules.STREAM_PROMOTIONAL)
    assert not await world.may_get(topic="events")
    assert await world.count("unsubscribed") == 1, "one mail lost one person, in two steps"


async def test_a_transactional_link_leaves_its_topic_only(world: World) -> None:
    email_id = await world.email(stream=Stream.TRANSACTIONAL, topic="new-lead")
    await leave(world, world.opt_out(email_id, stream=Stream.TRANSACTIONAL, topic="new-lead"))
    assert set(await world.standing()) == {"topic:new-lead"}
    assert not await world.may_get(stream=Stream.TRANSACTIONAL, topic="new-lead")
    assert await world.may_get(stream=Stream.TRANSACTIONAL, topic="billing")
    assert await world.may_get()


async def test_r1_13_a_mailto_has_its_token_in_the_local_part_and_no_room_for_a_topic(world: World) -> None:
    local = sign_mailto(world.links.ring, world.opt_out(await world.email()))
    assert len(local) <= 64
    meant = verify_mailto(world.links.ring, local.upper())
    assert meant is not None
    how = How(Kind.MAILTO)
    await world.database.run(lambda session: optouts.opted_out(session, meant, how, world.time))
    assert set(await world.standing()) == ALL_PROMOTIONAL

    notice = world.opt_out(stream=Stream.TRANSACTIONAL, topic=None)
    await world.database.run(lambda session: optouts.opted_out(session, notice, how, world.time))
    assert set(await world.standing()) == {*ALL_PROMOTIONAL, "topic:new-lead"}


async def test_r1_12_it_works_when_the_mail_is_gone(world: World) -> None:
    opt_out = world.opt_out("em_" + "0" * 26)
    await leave(world, opt_out)
    assert not await world.may_get()
    (event,) = await world.events()
    assert event.email_id is None
    assert await world.count("unsubscribed", "topic", "newsletter") == 1
    assert (await undo(world, opt_out)) is not None
    assert await world.may_get()


async def test_another_persons_mail_lends_nothing_to_a_link(world: World) -> None:
    await leave(world, world.opt_out(await world.email(BOB), to=ANN))
    entry = await world.database.read(lambda session: session.exec(select(Entry)).one())
    assert entry.address is None


async def test_an_unknown_tenant_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        await leave(world, world.opt_out(tenant_id=77))


async def test_what_waits_is_suppressed_unless_its_intent_is_written(world: World) -> None:
    waiting = [Status.QUEUED, Status.SCHEDULED, Status.HELD, Status.DEFERRED, Status.SENDING]
    stopped = [await world.email(status=status, topic="events") for status in waiting]
    going = [
        await world.email(status=Status.SENDING, intent_at=NOON),
        await world.email(status=Status.SENT),
        await world.email(status=Status.CANCELLED),
        await world.email(BOB, status=Status.QUEUED),
        await world.email(status=Status.QUEUED, tenant_id=2),
        await world.email(status=Status.QUEUED, stream=Stream.TRANSACTIONAL, topic=None),
        await world.email(status=Status.QUEUED, stream=Stream.TRANSACTIONAL, topic="new-lead"),
    ]
    before = [await world.status(each) for each in going]
    outcome = await leave(world, world.opt_out(await world.email()))
    for each in stopped:
        row = await world.row(each)
        assert (row.status, row.settled_at) == (Status.SUPPRESSED, NOON)
        assert (row.suppression_id, row.suppression_reason) == (outcome.entry_ids[0], "unsubscribe")
    assert [await world.status(each) for each in going] == before
    assert await world.count("suppressed:unsubscribe") == 5
    assert await world.count("suppressed:unsubscribe", "topic", "events") == 5


async def test_a_left_topic_stops_its_own_mail_only(world: World) -> None:
    mine = await world.email(status=Status.QUEUED, stream=Stream.TRANSACTIONAL, topic="new-lead")
    other = await world.email(status=Status.QUEUED, stream=Stream.TRANSACTIONAL, topic="billing")
    offer = await world.email(status=Status.QUEUED)
    await leave(world, world.opt_out(stream=Stream.TRANSACTIONAL, topic="new-lead"))
    assert await world.status(mine) is Status.SUPPRESSED
    assert await world.status(other) is Status.QUEUED
    assert await world.status(offer) is Status.QUEUED


async def test_undo_gives_back_exactly_what_the_link_took(world: World) -> None:
    await add(world, Reason.UNSUBSCRIBE, rules.topic_scope("surveys"))
    queued = await world.email(status=Status.QUEUED)
    opt_out = world.opt_out(await world.email())
    await leave(world, opt_out)
    world.later(minutes=29)
    assert (await undo(world, opt_out)) is not None
    assert set(await world.standing()) == {"topic:surveys"}
    assert await world.status(queued) is Status.SUPPRESSED, "what was stopped stays stopped"
    assert len(await world.events(RESUBSCRIBED)) == 1
    assert await world.count("resubscribed") == 1
    assert (await undo(world, opt_out)) is None
    assert await world.count("resubscribed") == 1


async def test_undo_ends_after_thirty_minutes(world: World) -> None:
    opt_out = world.opt_out(await world.email())
    await leave(world, opt_out)
    world.time += UNDO_FOR + timedelta(seconds=1)
    assert (await undo(world, opt_out)) is None
    assert not await world.may_get()


async def test_only_the_same_link_can_undo(world: World) -> None:
    first, second = world.opt_out(await world.email()), world.opt_out(await world.email())
    await leave(world, first)
    await leave(world, second)
    assert (await undo(world, second)) is None
    assert not await world.may_get()


async def test_only_this_topic_takes_the_place_of_everything(world: World) -> None:
    opt_out = world.opt_out(await world.email())
    await leave(world, opt_out)
    await narrow(world, opt_out, "newsletter")
    assert set(await world.standing()) == {"topic:newsletter"}
    assert await world.count("unsubscribed") == 1
    assert await world.count("resubscribed") == 0
    await undo(world, opt_out)
    assert await world.standing() == {}
    assert await world.count("resubscribed") == 1


async def test_an_older_opt_out_is_not_narrowed_by_any_link(world: World) -> None:
    opt_out = world.opt_out(await world.email())
    await leave(world, opt_out)
    world.later(days=1)
    await narrow(world, opt_out, "newsletter")
    assert set(await world.standing()) == ALL_PROMOTIONAL


async def test_a_complaint_is_not_narrowed_by_any_link(world: World) -> None:
    await add(world, Reason.COMPLAINT, rules.STREAM_PROMOTIONAL)
    await narrow(world, world.opt_out(await world.email()), "newsletter")
    assert not await world.may_get(topic="events")


async def test_a_preference_page_is_saved_as_it_stands(world: World) -> None:
    opt_out = world.opt_out(await world.email())
    await leave(world, opt_out)
    shown = frozenset({"newsletter", "events", "surveys", "new-lead"})

    async def choose(*wanted: str) -> None:
        chosen = Chosen(shown, frozenset(wanted))
        how = How(Kind.EDIT)
        await world.database.run(lambda session: optouts.choose(session, opt_out, chosen, how, world.time))

    await choose("events", "new-lead")
    # "product-updates" was not shown, so it stays as it was: left.
    assert set(await world.standing()) == {"topic:newsletter", "topic:surveys", "topic:product-updates"}
    await choose("events")
    assert "topic:new-lead" in await world.standing()
    await choose("new-lead")
    assert {"stream:promotional"} <= set(await world.standing())
    assert "topic:new-lead" not in await world.standing()
    assert (await undo(world, opt_out)) is None, "a mail's link takes back what mail's links did"


async def test_all_that_waits_is_stopped_in_the_same_transaction(world: World) -> None:
    for _ in range(30):
        await world.email(status=Status.QUEUED)

    def verb(session: Session) -> int:
        optouts.opted_out(session, world.opt_out(), ONE_CLICK, world.time)
        return len(session.exec(select(Entry).where(col(Entry.lifted_at).is_(None))).all())

    assert await world.database.run(verb) == 1
    assert await world.count("suppressed:unsubscribe") == 30
