"""Every way out counts: one event each, on the mail and campaign that it answers."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from sqlmodel import select, update

from mailer.database import Database
from mailer.feedback import optouts
from mailer.feedback.optouts import How, Kind, Outcome
from mailer.models import Tenant
from mailer.status import Status
from suppression import rules
from suppression.entries import Entry
from suppression.rules import Origin, Reason, Stream
from suppression.token import OptOut, sign_mailto, verify_mailto
from tests.recipients.world import ANN, BOB, World, open_world

COMPLAINED = "email.complained"
#: How many opt out at one moment, and how long the slowest may wait.
CROWD, PATIENCE = 1000, 240.0
#: Way -> does its link name the mail? Those that do not are put down to the newest mail that the person was sent.
NAMED = {
    Kind.LINK: True,
    Kind.ONE_CLICK: True,
    Kind.PREFERENCES: True,
    Kind.EDIT: True,
    Kind.MAILTO: False,
    Kind.API: False,
    Kind.SUPPORT: False,
}


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with open_world(database) as world:
        yield world


def by_mail(world: World, stream: Stream = Stream.PROMOTIONAL) -> OptOut:
    """Return what a mailto says: who and which stream, and no mail."""
    read = verify_mailto(world.links.ring, sign_mailto(world.links.ring, world.opt_out(stream=stream)))
    assert read is not None
    return read


async def leave(world: World, opt_out: OptOut, how: How) -> Outcome:
    return await world.database.run(lambda session: optouts.opted_out(session, opt_out, how, world.time))


async def complain(world: World, opt_out: OptOut, provider: str = "yahoo") -> Outcome:
    how = How(Kind.COMPLAINT, evidence={"provider": provider})
    return await world.database.run(lambda session: optouts.complained(session, opt_out, how, world.time))


async def entry_of(world: World, outcome: Outcome) -> Entry:
    found = select(Entry).where(Entry.id == outcome.entry_ids[0])
    return await world.database.read(lambda session: session.exec(found).one())


def test_the_matrix_names_every_way() -> None:
    # A confirmation is a way in; what providers tell is tried where it is heard (tests/test_hearing.py).
    assert set(NAMED) | {Kind.COMPLAINT, Kind.PROVIDER} == set(Kind) - {Kind.CONFIRM}


@pytest.mark.parametrize("kind", NAMED)
async def test_every_way_counts_once_on_its_mail_and_campaign(world: World, kind: Kind) -> None:
    older = await world.email()
    world.later(minutes=1)
    newest = await world.email()
    world.later(minutes=5)
    answered = older if NAMED[kind] else newest
    opt_out = world.opt_out(older) if NAMED[kind] else by_mail(world)
    outcome = await leave(world, opt_out, How(kind))
    await leave(world, opt_out, How(kind))
    row = await world.row(answered)
    (event,) = await world.events()
    assert (event.email_id, event.tenant_id) == (answered, 1)
    told = {"how": kind.value, "campaign_id": row.campaign_id} | ({} if NAMED[kind] else {"inferred": True})
    assert {**(event.data or {}), **told} == event.data
    assert await world.count("unsubscribed", "campaign", str(row.campaign_id)) == 1
    assert await world.count("unsubscribed") == 1
    entry = await entry_of(world, outcome)
    assert (entry.reason, entry.origin, entry.address) == (Reason.UNSUBSCRIBE, Origin.RECIPIENT, ANN)
    evidence = entry.evidence or {}
    assert (evidence["email_id"], evidence["campaign_id"]) == (answered, row.campaign_id)
    assert evidence.get("inferred", False) is not NAMED[kind]
    assert not await world.may_get(topic="events")
    assert await world.may_get(stream=Stream.TRANSACTIONAL, topic=None)


async def test_what_was_never_sent_and_other_streams_are_not_what_a_mailto_answers(world: World) -> None:
    sent = await world.email()
    world.later(minutes=1)
    await world.email(status=Status.QUEUED)
    await world.email(stream=Stream.TRANSACTIONAL, topic="new-lead")
    await world.email(to=BOB)
    await world.email(tenant_id=2)
    await leave(world, by_mail(world), How(Kind.MAILTO))
    (event,) = await world.events()
    assert event.email_id == sent


async def test_one_mail_loses_one_person_whichever_ways_they_use(world: World) -> None:
    email_id = await world.email(stream=Stream.TRANSACTIONAL, topic="new-lead")
    link = world.opt_out(email_id, stream=Stream.TRANSACTIONAL, topic="new-lead")
    await leave(world, link, How(Kind.ONE_CLICK))
    await leave(world, by_mail(world, Stream.TRANSACTIONAL), How(Kind.MAILTO))
    assert await world.count("unsubscribed") == 1


async def test_support_counts_a_mail_of_this_month_only(world: World) -> None:
    await world.email()
    world.later(days=31)
    await leave(world, world.opt_out(topic=None), How(Kind.SUPPORT, address="Ann.Weaver@example.org", note="she wrote"))
    (event,) = await world.events()
    assert event.email_id is None
    entry = (await world.database.read(lambda session: session.exec(select(Entry)).all()))[0]
    assert (entry.address, entry.note) == ("Ann.Weaver@example.org", "she wrote")


async def test_a_complaint_stops_promotional_mail_and_is_counted_once_a_mail(world: World) -> None:
    first, second = await world.email(), await world.email()
    waiting = await world.email(status=Status.HELD)
    outcome = await complain(world, world.opt_out(first))
    await complain(world, world.opt_out(first))
    await complain(world, world.opt_out(second))
    entry = await entry_of(world, outcome)
    assert (entry.reason, entry.scope, entry.origin) == (Reason.COMPLAINT, rules.STREAM_PROMOTIONAL, Origin.PROVIDER)
    assert {"channel": "complaint", "provider": "yahoo", "email_id": first}.items() <= (entry.evidence or {}).items()
    told = await world.events(COMPLAINED)
    assert {event.email_id for event in told} == {first, second}
    assert len(told) == 2
    assert await world.count("complained") == 2
    assert await world.count("unsubscribed") == 0
    assert await world.status(waiting) == "suppressed"
    assert await world.may_get(stream=Stream.TRANSACTIONAL, topic="new-lead")


async def test_two_reports_of_one_complaint_at_once_are_one(world: World) -> None:
    opt_out = world.opt_out(await world.email())
    other = world.opt_out(await world.email())
    await complain(world, other)
    await asyncio.gather(*(complain(world, opt_out) for _ in range(20)))
    assert len(await world.events(COMPLAINED)) == 2


async def test_a_tenant_may_forbid_that_addresses_are_kept(world: World) -> None:
    await world.database.run(lambda session: session.execute(update(Tenant).values(keep_ip=False)))
    outcome = await leave(world, world.opt_out(await world.email()), How(Kind.ONE_CLICK, "192.0.2.7"))
    assert "192.0.2" not in str((await entry_of(world, outcome)).evidence)


async def post(world: World, path: str) -> httpx2.Response:
    return await world.client.post(path, data={"List-Unsubscribe": "One-Click"}, timeout=PATIENCE)


async def test_a_thousand_posts_of_one_link_at_once_are_one_opt_out(world: World) -> None:
    path = await world.newsletter()
    waiting = await world.email(status=Status.HELD)
    answers = await asyncio.gather(*(post(world, path) for _ in range(CROWD)))
    assert {(answer.status_code, answer.headers.get("location")) for answer in answers} == {(200, None)}
    assert len(await world.events()) == 1
    assert await world.count("unsubscribed") == 1
    assert len(await world.standing()) == 1
    assert await world.status(waiting) == "suppressed"


async def test_a_thousand_people_at_once_are_a_thousand_opt_outs(world: World) -> None:
    links = [world.link(world.opt_out(to=f"p{place}@example.org")) for place in range(CROWD)]
    answers = await asyncio.gather(*(post(world, path) for path in links))
    assert {answer.status_code for answer in answers} == {200}
    assert len(await world.events()) == CROWD
