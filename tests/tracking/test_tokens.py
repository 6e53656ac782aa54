"""What no hit may come of: tokens that are forged, of another purpose, of another tenant, erased, or withdrawn."""

from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest
from sqlalchemy import update
from sqlmodel import SQLModel

from mailer import ids, people
from mailer.database import Database
from mailer.links import Audience, Links, one_email, one_of
from mailer.models import Opens
from mailer.settings import Settings
from mailer.targets import Link
from mailer.web.recipient.pixel import GIF
from suppression.address import parse
from suppression.rules import Stream
from suppression.token import Ring
from tests.recipients.world import ANN, BOB, NOON, PRINTS, World, open_world

FIREFOX = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"}
LINK = Link(1, "https://shop.example/a", "https://shop.example/a")
P = Stream.PROMOTIONAL


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with open_world(database) as world:
        yield world


async def say(world: World, who: str, *, granted: bool) -> None:
    world.later(minutes=10)
    said = partial(people.choose_tracking, tenant_id=1, fingerprint=PRINTS.of(1, parse(who).canonical), granted=granted)
    await world.database.run(partial(said, source="test", now=world.time))


def followed(links: Links, said: bytes) -> str:
    (url,) = links.clicks(P, [(said, [LINK])])[0]
    assert url is not None
    return url.removeprefix(links.local_url)


async def good(world: World, to: str = ANN) -> bytes:
    await say(world, to, granted=True)
    email_id = await world.email(to, opens=Opens.INDIVIDUAL, clicks=Opens.INDIVIDUAL)
    world.later(minutes=10)
    return one_email(ids.to_bytes(email_id))


async def written(world: World, *paths: str) -> list[tuple[int, bytes, str | None]]:
    """Ask for each path; return the answers, and leave what they left behind written down."""
    answers = []
    for path in paths:
        found = await world.client.get(path, headers=FIREFOX)
        answers.append((found.status_code, found.content, found.headers.get("location")))
    await world.hits.flush()
    return answers


def changed(token: str, at: int) -> str:
    return token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]


DAMAGES: dict[str, Callable[[str], str]] = {
    "a letter": lambda path: changed(path, 20),
    "case": lambda path: path.swapcase().replace(path.swapcase()[:3], path[:3]).replace(".GIF", ".gif"),
    "cut": lambda path: path[:30],
    "cut, with its end": lambda path: path[:30] + (".gif" if path.endswith(".gif") else ""),
}


@pytest.mark.parametrize("name", DAMAGES)
async def test_a_damaged_token_gets_the_same_picture_or_no_redirect_and_leaves_nothing(world: World, name: str) -> None:
    said = await good(world)
    pixel, link = world.pixel(said), followed(world.links, said)
    before = await world.fingerprint_of_everything()
    picture, redirect = await written(world, DAMAGES[name](pixel), DAMAGES[name](link))
    assert picture == (200, GIF, None)
    assert (redirect[0], redirect[2]) == (404, None)
    assert await world.fingerprint_of_everything() == before


async def test_a_token_opens_no_door_of_another_purpose(world: World) -> None:
    said = await good(world)
    pixel, link = world.pixel(said), followed(world.links, said)
    opt_out = world.opt_out(await world.email())
    token = world.preferences(opt_out).removeprefix("/p/")
    before = await world.fingerprint_of_everything()
    paths = (f"/o/{link.removeprefix('/c/')}.gif", f"/o/{token}.gif", f"/c/{token}")
    first, second, third = await written(world, *paths)
    assert first == second == (200, GIF, None)
    assert third[0] == 404
    assert (await written(world, "/c/" + pixel.removeprefix("/o/").removesuffix(".gif")))[0][0] == 404
    assert await world.fingerprint_of_everything() == before


async def test_a_key_of_somebody_else_signs_nothing(world: World) -> None:
    said = await good(world)
    foreign = Links(Settings(), Ring("k2:" + "x" * 32))
    pixel = str(foreign.of_mail(P, None, said).pixel).removeprefix(foreign.local_url)
    before = await world.fingerprint_of_everything()
    picture, redirect = await written(world, pixel, followed(foreign, said))
    assert picture == (200, GIF, None)
    assert (redirect[0], redirect[2]) == (404, None)
    assert await world.fingerprint_of_everything() == before


async def test_who_is_erased_withdrew_or_never_was_is_answered_and_not_written_down(world: World) -> None:
    ann, bob = await good(world), await good(world, BOB)
    await say(world, BOB, granted=False)
    email = SQLModel.metadata.tables["email"]
    gone = update(email).where(email.c.id == ids.from_bytes("em", ann[1:])).values(address=None, fingerprint=None)
    await world.database.run(lambda session: session.execute(gone))
    nobody = one_email(b"\1" * 16)
    stranger = one_of(Audience(99, P, "spring", "newsletter", "letter", NOON.date()).pack())
    before = await world.fingerprint_of_everything()
    for said in (ann, bob, nobody, stranger):
        picture, redirect = await written(world, world.pixel(said), followed(world.links, said))
        assert picture == (200, GIF, None)
        assert (redirect[0], redirect[2]) == (302, LINK.target)
    assert await world.fingerprint_of_everything() == before


async def test_what_verifies_is_written_down_with_its_mails_own_tenant(world: World) -> None:
    said = await good(world)
    await written(world, world.pixel(said), followed(world.links, said))
    events = [*await world.events("email.opened"), *await world.events("email.clicked")]
    assert [(event.tenant_id, event.email_id) for event in events] == [(1, ids.from_bytes("em", said[1:]))] * 2
    traces = SQLModel.metadata.tables["hit_trace"]
    kept = await world.database.read(lambda session: session.execute(traces.select()).all())
    assert [(row.tenant_id, row.method, row.agent, row.network) for row in kept] == [
        (1, "GET", FIREFOX["User-Agent"], "")
    ] * 2
