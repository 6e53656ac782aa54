"""Teammate invites: one mail, once, whoever asks again."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlmodel import Session, col

from mailer import submission
from mailer.database import Database
from mailer.drafts import Draft, parse
from mailer.models import Email
from mailer.status import Status
from mailer.submission import Accepted
from suppression.rules import ALL, Reason
from tests.test_api_world import variables
from tests.test_submission import NOW, World, world_of


@pytest.fixture
async def world(database: Database) -> World:
    return await world_of(database)


def invite(to: object = "paul@example.org", workspace: str = "Northwind Sales", **more: object) -> dict[str, object]:
    filled = {**variables("teammate-invite"), "workspace": workspace}
    return {"stream": "transactional", "to": to, "template": "teammate-invite", "variables": filled, **more}


async def become(world: World, email_id: str, status: Status) -> None:
    def verb(session: Session) -> None:
        session.execute(update(Email).where(col(Email.id) == email_id).values(status=status))

    await world.database.run(verb)


async def test_a_second_invitation_to_the_same_thing_is_the_first_mail(world: World) -> None:
    first = await world.submit(**invite())
    again = await world.submit(**invite(to="Paul@Example.org"))
    assert (again.id, again.status) == (first.id, Status.QUEUED)
    await become(world, first.id, Status.SENT)
    assert (await world.submit(**invite())).status is Status.SENT
    assert len(await world.emails()) == 1


async def test_another_thing_and_another_person_are_invited_for_themselves(world: World) -> None:
    await world.submit(**invite())
    await world.submit(**invite(workspace="Northwind Support"))
    await world.submit(**invite(to="ines@example.org"))
    # Two workspaces of one name: product code says which one it means.
    await world.submit(**invite(metadata={"workspace_id": 7}))
    await world.submit(**invite(metadata={"workspace_id": 7}))
    await world.submit(**invite(workspace="x" * 300))
    await world.submit(**invite(workspace="x" * 300))
    assert len(await world.emails()) == 5


async def test_of_several_invited_at_once_only_the_new_ones_get_mail(world: World) -> None:
    first = await world.submit(**invite())
    both = await world.submit(**invite(to=["paul@example.org", "ines@example.org"]))
    assert both.emails[0].id == first.id
    assert [each.to for each in both.emails] == ["paul@example.org", "ines@example.org"]
    assert len(await world.emails()) == 2


async def test_a_batch_that_names_one_person_twice_sends_one_mail(world: World) -> None:
    told = await world.submit_many(invite(), invite())
    assert len({each.id for each in told if isinstance(each, Accepted)}) == 1
    assert len(await world.emails()) == 1


async def test_ten_at_the_same_moment_are_one_mail(world: World) -> None:
    told = await asyncio.gather(*(world.submit(**invite()) for _ in range(10)))
    assert len({each.id for each in told}) == 1
    assert len(await world.emails()) == 1


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.EXPIRED, Status.FAILED])
async def test_an_invitation_that_never_went_can_be_sent_anew_once(world: World, status: Status) -> None:
    first = await world.submit(**invite())
    await become(world, first.id, status)
    second = await world.submit(**invite())
    assert second.id != first.id
    assert (await world.submit(**invite())).id == second.id
    assert len(await world.emails()) == 2


async def test_who_may_get_no_mail_is_invited_once_they_may(world: World) -> None:
    await world.suppress("paul@example.org", Reason.HARD_BOUNCE, ALL)
    first = await world.submit(**invite())
    assert first.status is Status.SUPPRESSED
    assert (await world.submit(**invite())).status is Status.SUPPRESSED
    assert len(await world.emails()) == 2


async def test_other_mail_is_sent_as_often_as_it_is_asked_for(world: World) -> None:
    reset = {"stream": "transactional", "to": "paul@example.org", "template": "password-reset"}
    for _ in range(2):
        await world.submit(**reset, variables=variables("password-reset"))
    assert len(await world.emails()) == 2


async def test_what_is_only_captured_uses_nothing_up(world: World) -> None:
    trying = submission.Submitter(world.sender.tenant_id, world.sender.scopes, captures=True)
    draft = parse(Draft, invite())
    for minute in range(2):
        at = NOW + timedelta(minutes=minute)
        await world.database.run(
            lambda session, at=at: submission.submit(session, trying, draft, world.context, at)  # type: ignore[misc]
        )
    await world.submit(**invite())
    assert len(await world.emails()) == 3
