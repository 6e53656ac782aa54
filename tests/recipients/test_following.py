"""Links that are followed by way of us: only where we signed to, at once, and seen."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from mailer import ids
from mailer.database import Database
from mailer.links import Audience, one_email, one_of
from mailer.models import Opens
from mailer.targets import Link
from suppression.rules import Stream
from suppression.token import Purpose
from tests.recipients.world import World, open_world

LINK = Link(2, "https://shop.example/sale?utm_source=news#top", "https://shop.example/sale#top")
PHONE = {
    "User-Agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
}


@pytest.fixture
async def world(sqlite: Database) -> AsyncIterator[World]:
    async with open_world(sqlite) as opened:
        yield opened


def address(world: World, said: bytes, link: Link = LINK) -> str:
    """Return the path of a tracked link."""
    signed = world.links.clicks(Stream.PROMOTIONAL, [(said, [link])])[0][0]
    assert signed is not None
    return "/c/" + signed.rpartition("/c/")[2]


async def test_r7_2_a_link_leads_on_and_is_seen(world: World) -> None:
    email_id = await world.email(opens=Opens.INDIVIDUAL, clicks=Opens.INDIVIDUAL)
    path = address(world, one_email(ids.to_bytes(email_id)))
    response = await world.client.get(path, headers=PHONE, follow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (302, LINK.target)
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert "noindex" in response.headers["x-robots-tag"]
    assert "set-cookie" not in response.headers
    assert len(world.hits) == 1


async def test_r7_2_head_leads_on_and_post_does_not(world: World) -> None:
    path = address(world, one_of(Audience(1, Stream.PROMOTIONAL, "ca_1", "news", "", datetime.now(UTC).date()).pack()))
    head = await world.client.head(path, follow_redirects=False)
    assert (head.status_code, head.headers["location"], head.content) == (302, LINK.target, b"")
    post = await world.client.post(path, follow_redirects=False)
    assert (post.status_code, "location" in post.headers) == (405, False)


@pytest.mark.parametrize("change", ["cut", "case", "flip", "more", "other", "pixel", "empty", "query", "short"])
async def test_r7_1_whatever_we_did_not_sign_leads_nowhere(world: World, change: str) -> None:
    said = one_email(b"\x01" * 16)
    token = address(world, said).removeprefix("/c/")
    bad = {
        "cut": token[:-1],
        "case": token.swapcase(),
        "flip": token[:30] + ("A" if token[30] != "A" else "B") + token[31:],
        "more": token + "A",
        "other": world.links.ring.sign_long(Purpose.VIEW, [said])[0],
        "pixel": world.links.ring.sign(Purpose.OPEN, said),
        "empty": "",
        "query": "?url=https://evil.example/",
        "short": world.links.ring.sign(Purpose.CLICK, said),
    }[change]
    response = await world.client.get(f"/c/{bad}", follow_redirects=False)
    assert (response.status_code, "location" in response.headers, len(world.hits)) == (404, False, 0)


@pytest.mark.parametrize(
    "target",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//evil.example",
        "https://good.example@evil.example/",
        "https:\\\\evil.example",
        "https://a.example/\r\nSet-Cookie: x=y",
        " https://a.example/",
    ],
    ids=["script", "data", "scheme", "user", "backslash", "crlf", "space"],
)
async def test_r7_1_not_even_a_signed_target_may_be_other_than_plain(world: World, target: str) -> None:
    path = address(world, one_email(b"\x01" * 16), Link(1, target, target))
    response = await world.client.get(path, follow_redirects=False)
    assert (response.status_code, "location" in response.headers, len(world.hits)) == (404, False, 0)


async def test_a_link_and_the_pixel_of_one_mail_say_the_same_number(world: World) -> None:
    audience = Audience(7, Stream.PROMOTIONAL, "ca_1", "news", "letter", datetime(2027, 3, 1, tzinfo=UTC).date())
    said = one_of(audience.pack())
    signed = world.links.clicks(Stream.PROMOTIONAL, [(said, [LINK])])[0][0]
    assert signed is not None
    hit = world.links.read_click(signed.rpartition("/")[2])
    pixel = world.links.of_mail(Stream.PROMOTIONAL, None, said).pixel
    assert pixel is not None
    seen = world.links.read_open(pixel.rpartition("/")[2].removesuffix(".gif"))
    assert hit is not None
    assert seen is not None
    assert (hit.audience, hit.mark, hit.link) == (audience, seen.mark, LINK)


async def test_a_link_too_long_to_open_everywhere_is_not_signed(world: World) -> None:
    links, said = world.links, one_email(b"\x01" * 16)
    long = Link(1, "https://a.example/" + "x" * 2000, "{{ url }}")
    signed = links.clicks(Stream.PROMOTIONAL, [(said, [LINK, long, LINK])])[0]
    assert [each is None for each in signed] == [False, True, False]
    assert max(len(each) for each in signed if each) < 2000


async def test_clicks_are_counted_by_link_and_by_mail(world: World) -> None:
    audience = Audience(1, Stream.PROMOTIONAL, "ca_1", "newsletter", "letter", world.time.date())
    said, other = one_of(audience.pack()), Link(3, "https://shop.example/b", "https://shop.example/b")
    for link in (LINK, LINK, other):
        await world.client.get(address(world, said, link), headers=PHONE, follow_redirects=False)
    await world.hits.flush()
    assert await world.count("clicks:human", "link", "ca_1#2") == 1
    assert await world.count("clicks:human", "link", "ca_1#3") == 1
    assert (await world.count("clicked"), await world.count("read")) == (1, 1)
