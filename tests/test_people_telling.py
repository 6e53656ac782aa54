"""What happens to people's choices and to the suppression list is told: once, to its tenant, without an address."""

from collections.abc import AsyncIterator, Callable

import pytest
from sqlmodel import Session, col, select

from mailer import people
from mailer.database import Database
from mailer.feedback import optouts
from mailer.feedback.optouts import Chosen, How, Kind
from mailer.models import Consent, Event
from mailer.people import Left
from mailer.status import Status
from suppression import rules
from suppression.address import parse
from suppression.entries import Entry, LiftError, NewEntry
from suppression.rules import Origin, Reason
from tests.recipients.world import ANN, NOON, PRINTS, World, open_world

ANNS = PRINTS.of(1, parse(ANN).canonical)
CREATED, LIFTED, CHANGED = "suppression.created", "suppression.lifted", "consent.changed"
BY_LINK = How(Kind.LINK, "192.0.2.7")


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with open_world(database) as world:
        yield world


def manual(session: Session) -> Left:
    new = NewEntry(
        tenant_id=1,
        fingerprint=ANNS,
        key_id="f1",
        reason=Reason.MANUAL,
        scope=rules.ALL,
        origin=Origin.API,
        address=ANN,
        note=f"{ANN} asked by phone",
    )
    return people.suppress(session, new, NOON)


async def everything(world: World) -> list[Event]:
    statement = select(Event).order_by(col(Event.id))
    return list(await world.database.read(lambda session: session.exec(statement).all()))


async def test_an_entry_is_told_when_it_is_made_and_not_again(world: World) -> None:
    left = await world.database.run(manual)
    await world.database.run(manual)
    (event,) = await everything(world)
    assert (event.kind, event.tenant_id, event.email_id, event.at) == (CREATED, 1, None, NOON)
    assert event.data == {"suppression_id": left.entry.id, "reason": "manual", "scope": "all", "origin": "api"}


async def test_a_lift_is_told_once_with_who_did_it(world: World) -> None:
    entry = (await world.database.run(manual)).entry

    def lift(session: Session) -> Entry:
        return people.lift(session, 1, entry.id, "operator:desk", "wrote to us", NOON)

    await world.database.run(lift)
    await world.database.run(lift)
    (event,) = await world.events(LIFTED)
    assert (event.tenant_id, event.email_id) == (1, None)
    assert event.data == {
        "suppression_id": entry.id,
        "reason": "manual",
        "scope": "all",
        "lifted_by": "operator:desk",
    }


async def test_a_lift_that_is_refused_is_not_told(world: World) -> None:
    entry = (await world.database.run(manual)).entry
    with pytest.raises(LiftError):
        await world.database.run(lambda session: people.lift(session, 1, entry.id, "person", None, NOON))
    assert await world.events(LIFTED) == []


async def test_an_opt_out_tells_what_it_made_and_from_which_mail(world: World) -> None:
    email_id = await world.email()
    opt_out = world.opt_out(email_id)
    outcome = await world.database.run(lambda session: optouts.opted_out(session, opt_out, BY_LINK, NOON))
    made, told = await everything(world)
    assert (made.kind, made.tenant_id, made.email_id) == (CREATED, 1, None)
    assert made.data == {
        "suppression_id": outcome.entry_ids[0],
        "reason": "unsubscribe",
        "scope": "stream:promotional",
        "origin": "recipient",
        "email_id": email_id,
        "campaign_id": "ca_1",
    }
    assert (told.kind, told.email_id) == ("email.unsubscribed", email_id)


async def test_what_is_taken_back_is_told(world: World) -> None:
    opt_out = world.opt_out(await world.email())
    await world.database.run(lambda session: optouts.opted_out(session, opt_out, BY_LINK, NOON))
    await world.database.run(lambda session: optouts.undo(session, opt_out, NOON))
    kinds = [event.kind for event in await everything(world)]
    assert kinds == [CREATED, "email.unsubscribed", LIFTED, "email.resubscribed"]
    (event,) = await world.events(LIFTED)
    assert (event.data or {})["lifted_by"] == "person"


async def test_a_return_to_one_topic_tells_what_ends_and_what_stands_in_its_place(world: World) -> None:
    opt_out = world.opt_out()
    await world.database.run(lambda session: optouts.opted_out(session, opt_out, BY_LINK, NOON))
    back = Chosen(frozenset({"events"}), frozenset({"events"}))
    how = How(Kind.PREFERENCES)
    await world.database.run(lambda session: optouts.choose(session, opt_out, back, how, NOON))
    made = [(event.data or {})["scope"] for event in await world.events(CREATED)]
    ended = [(event.data or {})["scope"] for event in await world.events(LIFTED)]
    assert made == ["stream:promotional", "topic:newsletter", "topic:product-updates", "topic:surveys"]
    assert ended == ["stream:promotional"]


async def test_waiting_mail_that_is_stopped_is_told_mail_by_mail(world: World) -> None:
    stopped = [await world.email(status=status) for status in (Status.QUEUED, Status.HELD, Status.SCHEDULED)]
    await world.email(status=Status.SENT)
    entry = (await world.database.run(manual)).entry
    told = await world.events("email.suppressed")
    assert {event.email_id for event in told} == set(stopped)
    assert len(told) == len(stopped)
    assert all(event.data == {"reason": "manual", "suppression_id": entry.id} for event in told)


@pytest.mark.parametrize("granted", [True, False])
async def test_an_answer_to_tracking_is_told_when_it_is_news(world: World, granted: bool) -> None:
    def choose(session: Session) -> bool:
        return people.choose_tracking(session, 1, ANNS, granted=granted, source="page", now=NOON)

    assert [await world.database.run(choose) for _ in range(2)] == [True, False]
    (event,) = await world.events(CHANGED)
    consent = await world.database.read(lambda session: session.exec(select(Consent)).one())
    assert (event.tenant_id, event.email_id, event.at) == (1, None, NOON)
    assert event.data == {"consent_id": consent.id, "purpose": "tracking", "granted": granted, "source": "page"}


async def test_a_consent_names_the_key_of_its_fingerprint(world: World) -> None:
    await world.database.run(manual)
    await world.database.run(
        lambda session: people.choose_tracking(session, 1, ANNS, granted=False, source="page", now=NOON)
    )
    assert await world.database.read(lambda session: session.exec(select(Consent.key_id)).one()) == "f1"


ACTS: list[Callable[[Session], object]] = [
    manual,
    lambda session: people.choose_tracking(session, 1, ANNS, granted=True, source="page", now=NOON),
]


async def test_no_event_holds_an_address(world: World) -> None:
    await world.email(status=Status.QUEUED)
    for act in ACTS:
        await world.database.run(act)
    opt_out = world.opt_out(await world.email())
    await world.database.run(lambda session: optouts.opted_out(session, opt_out, BY_LINK, NOON))
    told = await everything(world)
    assert len(told) == 5
    assert not any("@" in str(event.data) or "192.0.2" in str(event.data) for event in told)
