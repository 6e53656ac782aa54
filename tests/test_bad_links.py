"""Forged, damaged and borrowed links over every route: one answer, nothing recorded, nothing told."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from sqlmodel import select
from starlette.routing import Route

from mailer import ids, links
from mailer.database import Database
from mailer.models import Event
from mailer.web.recipient import routes
from suppression.entries import Entry
from suppression.token import OptOut, Purpose, Ring
from tests.recipients.world import BOB, NOON, World, open_world

LARGE = 10 * 1024 * 1024
#: Route -> the purposes whose tokens it takes.
TAKES = {
    links.UNSUBSCRIBE: {Purpose.OPT_OUT},
    links.PREFERENCES: {Purpose.PREFERENCES, Purpose.EDIT},
    links.CONFIRM: {Purpose.CONFIRM},
    links.VIEW: {Purpose.VIEW},
    links.OPEN: {Purpose.OPEN},
}
Damage = Callable[[World, str], str]


def forged(_world: World, token: str) -> str:
    return token[:-9] + ("a" if token[-9] != "a" else "b") + token[-8:]


def truncated(_world: World, token: str) -> str:
    return token[:-8]


def longer(_world: World, token: str) -> str:
    return token + "a" * 8


def upper(_world: World, token: str) -> str:
    return token.upper()


def one_upper(_world: World, token: str) -> str:
    letter = next(place for place, each in enumerate(token) if each.isalpha())
    return token[:letter] + token[letter].upper() + token[letter + 1 :]


def endless(_world: World, token: str) -> str:
    return token * 40


def other_ring(world: World, token: str) -> str:
    ring = Ring("k2:" + "x" * 32)
    for purpose in Purpose:
        if (payload := world.links.ring.verify(purpose, token)) is not None:
            return ring.sign(purpose, payload)
    raise AssertionError("it was no token of ours")


DAMAGES: tuple[Damage, ...] = (forged, truncated, longer, upper, one_upper, endless, other_ring)


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with open_world(database) as world:
        yield world


def served(world: World) -> list[str]:
    """Return the routes of ours that stand; the confirmation of a subscription may not be among them yet."""
    known = {route.path for route in routes(world) if isinstance(route, Route)}
    return [path for path in TAKES if any(path.partition("{")[0] == each.partition("{")[0] for each in known)]


def tokens(world: World, opt_out: OptOut, email_id: str) -> dict[Purpose, str]:
    """Return a good token of every purpose about one person and mail."""
    ring, raw = world.links.ring, ids.to_bytes(email_id)
    ends = int((NOON + timedelta(days=1)).timestamp()).to_bytes(5)
    payloads = {
        Purpose.EDIT: ends + opt_out.pack(),
        Purpose.OPEN: links.one_email(raw),
        Purpose.VIEW: raw,
    }
    return {purpose: ring.sign(purpose, payloads.get(purpose, opt_out.pack())) for purpose in Purpose}


async def recorded(world: World) -> tuple[list[int], list[str]]:
    """Return what a write would change, and the kinds of all events."""
    await world.hits.stop()
    kinds = await world.database.read(lambda session: session.exec(select(Event.kind)).all())
    return await world.fingerprint_of_everything(), sorted(kinds)


async def ask(world: World, path: str, token: str) -> set[tuple[int, str]]:
    """Ask in every way a program may, and return the answers."""
    url = path.replace("{token}", token)
    answers = [await world.client.get(url), await world.client.head(url)]
    if path not in (links.OPEN, links.VIEW):
        answers += [await world.client.post(url, data=form) for form in ({}, {"act": "undo"}, {"form": "topics"})]
    assert all("location" not in answer.headers and "set-cookie" not in answer.headers for answer in answers)
    return {(answer.status_code, answer.text) for answer in answers if answer.request.method != "HEAD"}


async def test_a_link_that_is_not_ours_meets_one_answer_everywhere(world: World) -> None:
    email_id = await world.email()
    good = tokens(world, world.opt_out(email_id), email_id)
    before = await recorded(world)
    pages: set[tuple[int, str]] = set()
    for path in served(world):
        wrong = {purpose for purpose in Purpose if purpose not in TAKES[path]}
        borrowed = [good[purpose] for purpose in wrong]
        damaged = [damage(world, good[purpose]) for purpose in TAKES[path] for damage in DAMAGES]
        answers = set[tuple[int, str]]()
        for token in [*borrowed, *damaged, "x", "a" * 90, "%00", "..%2f..", "é"]:
            answers |= await ask(world, path, token)
        assert len(answers) == 1, f"{path} tells one bad link from another"
        if path == links.OPEN:
            assert answers.pop()[0] == 200
        else:
            pages |= answers
    assert len(pages) == 1, "the page is the same on every route"
    assert pages.pop()[0] == 404
    assert await recorded(world) == before


async def test_a_sender_that_is_not_there_is_a_damaged_link(world: World) -> None:
    email_id = await world.email()
    stranger = world.opt_out(email_id)._replace(tenant_id=99)
    before = await recorded(world)
    damaged = await ask(world, links.UNSUBSCRIBE, "x")
    for path, purpose in ((links.UNSUBSCRIBE, Purpose.OPT_OUT), (links.PREFERENCES, Purpose.PREFERENCES)):
        assert await ask(world, path, tokens(world, stranger, email_id)[purpose]) == damaged
    assert await recorded(world) == before


@pytest.mark.parametrize("whose", ["another tenant's", "another person's"])
async def test_a_link_with_somebody_elses_mail_touches_nobody_else(world: World, whose: str) -> None:
    theirs = await world.email(to=BOB)
    waiting = await world.email(to=BOB)
    link = world.opt_out(theirs, tenant_id=2) if whose == "another tenant's" else world.opt_out(theirs)
    assert (await world.post(world.link(link))).status == 200
    assert await world.may_get(BOB)
    assert await world.may_get(tenant_id=1 if link.tenant_id == 2 else 2)
    (event,) = await world.events()
    assert (event.tenant_id, event.email_id) == (link.tenant_id, None)
    assert BOB not in str(await world.standing())
    entry = await world.database.read(lambda session: session.exec(select(Entry)).one())
    assert (entry.address, entry.tenant_id) == (None, link.tenant_id)
    assert (await world.row(waiting)).suppression_id is None


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"])
async def test_a_post_of_10_mb_opts_out(world: World, kind: str) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"List-Unsubscribe=One-Click&x="
        for _ in range(LARGE // 65536):
            yield b"x" * 65536

    answer = await world.client.post(await world.newsletter(), content=body(), headers={"Content-Type": kind})
    assert answer.status_code == 200
    assert not await world.may_get()
    assert len(await world.events()) == 1


async def test_a_post_of_10_mb_to_a_bad_link_is_read_and_refused(world: World) -> None:
    path = (await world.newsletter())[:-8]
    before = await recorded(world)
    answer = await world.client.post(path, content=b"x" * LARGE)
    assert answer.status_code == 404
    assert await recorded(world) == before
