"""Who was invited may have their address removed: by a link in the mail, and only by the button behind it."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from sqlmodel import Session, col, select

from mailer import submission
from mailer.database import Database
from mailer.delivery.letters import Letterbox
from mailer.drafts import Draft, parse
from mailer.keyring import Keyring
from mailer.models import Email, Invitation
from mailer.sealing import Seals
from mailer.status import Status
from mailer.submission import Submitter
from suppression.entries import Entry
from suppression.token import Purpose
from tests.recipients.world import ANN, BOB, World, open_world
from tests.test_api_world import variables


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with open_world(database) as world:
        yield world


async def invite(world: World, *to: str, **more: object) -> None:
    asked = {
        "stream": "transactional",
        "to": list(to or (ANN,)),
        "template": "teammate-invite",
        "variables": {**variables("teammate-invite"), **more},
    }
    sender = Submitter.trusted(1)
    await world.database.run(
        lambda session: submission.submit(session, sender, parse(Draft, asked), world.intake, world.time)
    )


async def emails(world: World) -> list[Email]:
    return await world.database.read(lambda session: list(session.exec(select(Email).order_by(col(Email.id)))))


async def link(world: World, place: int = -1) -> str:
    return urlsplit(str(((await emails(world))[place].variables or {})["removal_url"])).path


async def test_each_invited_person_has_a_link_of_their_own_whatever_the_caller_gives(world: World) -> None:
    await invite(world, ANN, BOB, removal_url="https://evil.example/r/x")
    first, second = [world.links.read_removal((await link(world, place))[3:]) for place in range(2)]
    assert first is not None
    assert second is not None
    found = {bytes(email.fingerprint or b"") for email in await emails(world)}
    assert {first.fingerprint, second.fingerprint} == found
    assert len(found) == 2


async def test_opening_the_link_removes_nothing_and_the_button_wants_its_tick(world: World) -> None:
    await invite(world)
    path = await link(world)
    before = await world.fingerprint_of_everything()
    for method in ("GET", "HEAD", "OPTIONS") * 3:
        assert (await world.client.request(method, path)).status_code in (200, 204)
    page = await world.get(path)
    assert "a•••@example.org" in page.text
    assert ANN not in page.text
    assert "checked" not in page.text
    # A scanner's press, and one-click bodies.
    for form in ({}, {"sure": "no"}, {"List-Unsubscribe": "One-Click"}):
        answer = await world.post(path, **form)
        assert answer.status == 422
        assert "please tick the line" in answer.text
    assert await world.fingerprint_of_everything() == before


async def test_the_button_erases_within_the_tenant_and_twice_is_once(world: World) -> None:
    await world.email(topic="newsletter", status=Status.QUEUED)
    elsewhere = await world.email(tenant_id=2, status=Status.QUEUED)
    await invite(world)
    path = await link(world)
    for _ in range(2):
        answer = await world.post(path, sure="yes")
        assert answer.status == 200
        assert "Your address is removed" in answer.text
    found = {email.id: email for email in await emails(world)}
    assert (found.pop(elsewhere).address, len(found)) == (ANN, 2)
    assert {email.status for email in found.values()} == {Status.CANCELLED}
    assert {(email.address, email.fingerprint, email.variables) for email in found.values()} == {(None, None, None)}
    [entry] = await world.database.read(lambda session: session.exec(select(Entry)).all())
    assert (entry.origin, entry.scope, entry.address) == ("erasure", "all", None)
    assert not await world.may_get()
    assert await world.may_get(tenant_id=2)
    assert "address was invited" in (await world.get(path)).text


async def test_who_was_removed_is_not_invited_to_the_same_thing_again(world: World) -> None:
    await invite(world)
    sent = (await emails(world))[0].id

    def send(session: Session) -> None:
        session.get_one(Email, sent).status = Status.SENT

    await world.database.run(send)
    await world.post(await link(world), sure="yes")
    await invite(world)
    assert len(await emails(world)) == 1
    assert len(await world.database.read(lambda session: session.exec(select(Invitation)).all())) == 1


async def test_a_token_that_is_none_of_ours_meets_the_one_page(world: World) -> None:
    await invite(world)
    token = (await link(world))[3:]
    ring = world.links.ring
    opt_out = world.links.read_removal(token)
    assert opt_out is not None
    wrong = [
        token[:-1],
        token.upper(),
        ring.sign(Purpose.OPT_OUT, opt_out.pack()),
        ring.sign(Purpose.REMOVAL, opt_out._replace(tenant_id=77).pack()),
    ]
    pages = {(await world.get("/u/nothing")).text}
    before = await world.fingerprint_of_everything()
    for each in wrong:
        for answer in (await world.get(f"/r/{each}"), await world.post(f"/r/{each}", sure="yes")):
            assert answer.status == 404
            pages.add(answer.text)
    assert len(pages) == 1
    assert await world.fingerprint_of_everything() == before


async def test_the_page_speaks_the_language_of_the_mail(world: World) -> None:
    await invite(world)
    mail = (await emails(world))[0]

    def speak(session: Session) -> None:
        session.get_one(Email, mail.id).locale = "uk"

    await world.database.run(speak)
    assert "Видалити вашу адресу?" in (await world.get(await link(world))).text


async def test_the_mail_that_is_sent_shows_the_link(world: World) -> None:
    await invite(world)
    [email] = await emails(world)
    letters = Letterbox(world.database, world.links, Keyring(Seals("k1:" + "s" * 32, "dkim")))
    html = await letters.view(email.id)
    assert html is not None
    assert f'href="{world.links.local_url}{await link(world)}"' in html
    assert "remove it here" in html
