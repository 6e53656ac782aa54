"""Scanner alarm: opt-outs in a burst hold, are shown, and may be undone in bulk; nobody's own word is touched."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime

import pytest
from sqlalchemy import text
from sqlmodel import Session, select, update

from mailer import alarms, people
from mailer.alarms import FEWEST, Undoing, Undone
from mailer.database import Database
from mailer.errors import Invalid, NotFound
from mailer.feedback import optouts
from mailer.feedback.optouts import How, Kind
from mailer.models import Alarm, AlarmKind, Email, OptOutMark
from suppression import rules
from suppression.entries import Entry, LiftError, lift
from tests.recipients.world import RESUBSCRIBED, World, open_world

CAMPAIGN = "ca_autumn"
SCANNER = "203.0.113."
WHY = Undoing("", "operator:kim", "their gateway presses every button")


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with open_world(database) as world:
        yield world


async def sent(world: World, number: int, domain: str = "corp.example", campaign: str = CAMPAIGN) -> list[str]:
    """Send a campaign to people of a domain and return the ids."""
    return [await world.email(f"p{place}@{domain}", campaign=campaign) for place in range(number)]


async def leave(world: World, email_id: str, how: How) -> None:
    to = str((await world.row(email_id)).address)
    opt_out = world.opt_out(email_id, to=to)
    await world.database.run(lambda session: optouts.opted_out(session, opt_out, how, world.time))


async def burst(world: World, ids: list[str], kind: Kind = Kind.ONE_CLICK) -> None:
    for place, email_id in enumerate(ids):
        await leave(world, email_id, How(kind, f"{SCANNER}{place % 200}"))


async def look(world: World) -> list[Alarm]:
    """Do what the clock does and return the alarms."""
    found = await world.database.read(lambda session: alarms.suspected(session, world.time))
    await world.database.run(lambda session: alarms.keep(session, found, world.time))
    return await world.database.read(lambda session: alarms.listing(session, 1))


async def of_domain(world: World) -> Alarm:
    (alarm,) = [each for each in await look(world) if each.kind is AlarmKind.DOMAIN]
    return alarm


async def undo(world: World, alarm: Alarm, tenant_id: int = 1) -> Undone:
    return await alarms.undo_all(world.database, tenant_id, WHY._replace(alarm_id=alarm.id), world.now)


async def test_a_burst_is_an_alarm_and_its_opt_outs_hold(world: World) -> None:
    ids = await sent(world, 30)
    world.later(seconds=43)
    await burst(world, ids[:12])
    domain, network = sorted(await look(world), key=lambda alarm: alarm.kind)
    assert (domain.kind, domain.value, domain.count) == (AlarmKind.DOMAIN, "corp.example", 12)
    assert (network.kind, network.value, network.campaign_id) == (AlarmKind.NETWORK, "203.0.113.0/24", CAMPAIGN)
    assert not await world.may_get("p0@corp.example")
    assert len(await world.events()) == 12
    # A second look at the same finds nothing new.
    assert await world.database.read(lambda session: alarms.suspected(session, world.time)) == []


@pytest.mark.parametrize(
    ("people", "leavers", "after", "kind", "domain"),
    [
        (30, FEWEST - 1, 43, Kind.ONE_CLICK, "corp.example"),
        (60, 11, 43, Kind.ONE_CLICK, "corp.example"),
        (30, 12, 121, Kind.ONE_CLICK, "corp.example"),
        (30, 12, 43, Kind.PREFERENCES, "corp.example"),
    ],
    ids=["few", "a small share", "later", "by hand"],
)
async def test_what_is_no_burst_raises_nothing(
    world: World, people: int, leavers: int, after: int, kind: Kind, domain: str
) -> None:
    ids = await sent(world, people, domain)
    world.later(seconds=after)
    await burst(world, ids[:leavers], kind)
    assert await look(world) == []


async def test_a_big_providers_domain_is_no_sign_but_one_network_is(world: World) -> None:
    ids = await sent(world, 30, "gmail.com")
    world.later(seconds=43)
    for place, email_id in enumerate(ids[:12]):
        await leave(world, email_id, How(Kind.ONE_CLICK, f"198.51.{place}.9"))
    assert await look(world) == []
    await burst(world, ids[12:24])
    assert [alarm.kind for alarm in await look(world)] == [AlarmKind.NETWORK]


async def test_a_network_is_measured_by_all_domains_it_asked_for(world: World) -> None:
    ids = [(await sent(world, 1, f"c{place}.example"))[0] for place in range(12)]
    world.later(seconds=30)
    await burst(world, ids)
    (alarm,) = await look(world)
    assert (alarm.kind, alarm.count) == (AlarmKind.NETWORK, 12)


async def test_undone_in_bulk_with_a_note(world: World) -> None:
    ids = await sent(world, 14)
    world.later(seconds=43)
    await burst(world, ids)
    alarm = await of_domain(world)
    world.later(hours=3)
    assert await undo(world, alarm) == Undone(14, 0)
    assert await world.may_get("p0@corp.example")
    entries = await world.database.read(lambda session: session.exec(select(Entry)).all())
    assert {(entry.lifted_by, entry.lift_note) for entry in entries} == {(WHY.by, WHY.note)}
    assert {event.email_id for event in await world.events(RESUBSCRIBED)} == set(ids)
    assert await world.count("resubscribed", "campaign", CAMPAIGN) == 14
    provider = (await world.row(ids[0])).provider
    assert await world.count("unsubscribed", "provider", provider) == 14
    assert await world.count("resubscribed", "provider", provider) == 14
    undone = await world.database.read(lambda session: alarms.get(session, 1, alarm.id))
    assert (undone.undone_at, undone.note) == (world.time, f"{WHY.by}: {WHY.note}")
    # Twice is once.
    assert await undo(world, alarm) == Undone(0, 14)
    assert len(await world.events(RESUBSCRIBED)) == 14


async def test_whoever_said_so_themselves_stays_away(world: World) -> None:
    ids = await sent(world, 15)
    world.later(seconds=43)
    await burst(world, ids)
    # The scanner itself asks a second time: that is nobody's word.
    await leave(world, ids[14], How(Kind.ONE_CLICK, f"{SCANNER}200"))
    alarm = await of_domain(world)
    await leave(world, ids[0], How(Kind.LINK, "192.0.2.1"))
    world.later(minutes=9)
    await leave(world, ids[1], How(Kind.ONE_CLICK, f"{SCANNER}1"))
    await leave(world, ids[2], How(Kind.PREFERENCES))
    await leave(world, ids[3], How(Kind.MAILTO))
    complaint = How(Kind.COMPLAINT)
    complainer = world.opt_out(ids[4], to="p4@corp.example")
    await world.database.run(lambda session: optouts.complained(session, complainer, complaint, world.time))
    events = rules.topic_scope("events")
    narrowed = world.opt_out(ids[5], to="p5@corp.example")
    await world.database.run(
        lambda session: optouts.opted_out(session, narrowed, How(Kind.PREFERENCES), world.time, scope=events)
    )
    back = world.opt_out(ids[6], to="p6@corp.example")
    await world.database.run(lambda session: optouts.undo(session, back, world.time))
    assert await undo(world, alarm) == Undone(8, 7)
    stay = [await world.may_get(f"p{place}@corp.example") for place in range(15)]
    assert stay == [False] * 6 + [True] * 9


async def test_an_operator_still_ends_no_other_opt_out(world: World) -> None:
    ids = await sent(world, 12)
    world.later(seconds=43)
    await burst(world, ids)
    entry = await world.database.read(lambda session: session.exec(select(Entry)).first())
    assert entry is not None
    with pytest.raises(LiftError):
        await world.database.run(lambda session: lift(session, 1, entry.id, "operator:kim", "why", world.time))
    alarm = await of_domain(world)
    with pytest.raises(Invalid):
        await alarms.undo_all(world.database, 1, Undoing(alarm.id, "operator:kim", " "), world.now)
    with pytest.raises(NotFound):
        await undo(world, alarm, tenant_id=2)
    assert not await world.may_get("p0@corp.example")


async def test_who_says_so_while_it_is_undone_stays_away(postgresql: Database) -> None:
    async with open_world(postgresql) as world:
        ids = await sent(world, 12)
        world.later(seconds=43)
        await burst(world, ids)
        alarm = await of_domain(world)
        world.later(minutes=9)

        def slowly(session: Session) -> None:
            assert alarms.undo(session, 1, WHY._replace(alarm_id=alarm.id), world.time).lifted == 12
            session.execute(text("SELECT pg_sleep(1)"))

        async def meanwhile() -> None:
            await asyncio.sleep(0.3)
            await leave(world, ids[0], How(Kind.ONE_CLICK, "192.0.2.1"))

        await asyncio.gather(world.database.run(slowly), meanwhile())
        assert not await world.may_get("p0@corp.example")
        assert await world.may_get("p1@corp.example")
        assert await undo(world, alarm) == Undone(0, 12)
        assert not await world.may_get("p0@corp.example")


async def test_what_is_taken_back_before_it_is_confirmed_is_left_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await sent(world, 12)
    world.later(seconds=43)
    await burst(world, ids)
    alarm = await of_domain(world)
    world.later(minutes=9)
    leave_now = people.leave

    def undone_behind_it(session: Session, leaving: people.Leaving, now: datetime) -> people.Left:
        # As on PostgreSQL an undo may commit between two statements of an opt-out.
        left = leave_now(session, leaving, now)
        monkeypatch.undo()
        session.expunge(left.entry)
        alarms.undo(session, 1, WHY._replace(alarm_id=alarm.id), now)
        return left

    monkeypatch.setattr(people, "leave", undone_behind_it)
    await leave(world, ids[0], How(Kind.ONE_CLICK, "192.0.2.1"))
    assert not await world.may_get("p0@corp.example")
    assert await world.may_get("p1@corp.example")


async def test_what_goes_on_after_an_undo_is_an_alarm_again(world: World) -> None:
    ids = await sent(world, 24)
    world.later(seconds=43)
    await burst(world, ids[:12])
    await undo(world, await of_domain(world))
    await burst(world, ids[12:])
    alarm = await of_domain(world)
    assert (alarm.count, alarm.undone_at) == (24, None)
    assert await undo(world, alarm) == Undone(12, 12)


async def test_mail_of_no_campaign_and_other_tenants_are_apart(world: World) -> None:
    await world.database.run(lambda session: session.execute(update(Email).values(campaign_id=None)))
    ids = await sent(world, 12, campaign="ca_x")
    await world.database.run(lambda session: session.execute(update(Email).values(campaign_id=None)))
    world.later(seconds=43)
    await burst(world, ids)
    assert {alarm.campaign_id for alarm in await look(world)} == {""}
    assert await world.database.read(lambda session: alarms.listing(session, 2)) == []


async def test_marks_are_forgotten_after_a_month(world: World) -> None:
    ids = await sent(world, 12)
    world.later(seconds=43)
    await burst(world, ids)
    await look(world)
    world.later(days=31)
    await world.database.run(lambda session: alarms.forget(session, world.time))
    assert await world.database.read(lambda session: session.exec(select(OptOutMark)).all()) == []
    assert len(await look(world)) == 2
