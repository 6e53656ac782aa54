"""The other pages of recipients: preferences, the mail in the browser, the picture, words and headers."""

import re
import time
import tomllib
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import pytest
from sqlalchemy.exc import OperationalError
from sqlmodel import select

from mailer import ids, people
from mailer.database import Database, Verb
from mailer.feedback.opens import GIF, Hits
from mailer.links import Audience, one_email, one_of
from mailer.models import Opens
from mailer.web.recipient.words import FOLDER, WORDS, voice
from suppression.entries import Entry
from suppression.rules import Stream
from tests.recipients.world import ANN, NOON, PRINTS, World, open_world

FIREFOX = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"}
AUDIENCE = Audience(1, Stream.PROMOTIONAL, "november", "newsletter", "letter", NOON.date())
PIXEL_HEADERS = {
    "content-type": "image/gif",
    "content-length": "43",
    "cache-control": "no-store, no-cache, must-revalidate, private, max-age=0",
    "pragma": "no-cache",
    "expires": "0",
}
_NAMED = re.compile(r"{(\w+)}")


@pytest.fixture
async def world(sqlite: Database) -> AsyncIterator[World]:
    async with open_world(sqlite) as world:
        yield world


async def page_of(world: World) -> str:
    return world.preferences(world.opt_out(await world.email()))


async def tracking(world: World) -> bool | None:
    fingerprint = PRINTS.of(1, "ann.weaver@example.org")
    return await world.database.read(lambda session: people.tracking_choice(session, 1, fingerprint))


class _Fields(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.ticked: list[tuple[str, str]] = []
        self.labelled: list[bool] = []
        self._inside = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "label":
            self._inside += 1
        if tag == "input" and found["type"] != "hidden":
            self.labelled.append(self._inside > 0)
            if "checked" in found:
                self.ticked.append((found["name"] or "", found["value"] or ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "label":
            self._inside -= 1


async def test_preferences_show_topics_and_nothing_is_ticked_about_tracking(world: World) -> None:
    page = (await world.get(await page_of(world))).text
    fields = _Fields(page)
    assert fields.ticked == [
        ("promotional", "chosen"),
        *(("topic", key) for key in ("newsletter", "product-updates", "surveys", "events", "new-lead")),
    ]
    assert all(fields.labelled)
    assert "billing" not in page
    assert page.count("<form") == 2
    assert page.count("<fieldset") == page.count("<legend") == 3


async def test_r10_2_pages_show_the_masked_address_only(world: World) -> None:
    path = await page_of(world)
    for text in ((await world.get(path)).text, (await world.post(path, form="topics")).text):
        assert "a•••@example.org" in text
        assert ANN not in text
        assert "weaver" not in text.lower()


async def test_saving_topics_shows_what_was_saved(world: World) -> None:
    path = await page_of(world)
    shown = ["newsletter", "product-updates", "surveys", "events", "new-lead"]
    answer = await world.post(path, form="topics", promotional="chosen", shown=shown, topic=["events"])
    assert answer.status == 200
    assert "Saved." in answer.text
    assert _Fields(answer.text).ticked == [("promotional", "chosen"), ("topic", "events")]
    assert await world.may_get(topic="events")
    assert not await world.may_get(topic="newsletter")
    assert not await world.may_get(stream=Stream.TRANSACTIONAL, topic="new-lead")


async def test_no_promotional_mail_at_all(world: World) -> None:
    path = await page_of(world)
    shown = ["newsletter", "product-updates", "surveys", "events", "new-lead"]
    answer = await world.post(path, form="topics", promotional="none", shown=shown, topic=["events", "new-lead"])
    assert set(await world.standing()) == {"stream:promotional"}
    assert _Fields(answer.text).ticked == [("promotional", "none"), ("topic", "new-lead")]
    assert (await world.events())[0].data == {
        "suppression_id": (await world.database.read(lambda session: session.exec(select(Entry.id)).one())),
        "scope": "stream:promotional",
        "how": "preferences",
        "campaign_id": "ca_1",
    }
    assert await world.count("unsubscribed") == 1


async def test_the_tracking_choice_is_a_form_of_its_own(world: World) -> None:
    path = await page_of(world)
    empty = await world.post(path, form="tracking")
    assert "please choose yes or no" in empty.text
    assert await tracking(world) is None
    assert "Saved." in (await world.post(path, form="tracking", tracking="yes")).text
    assert await tracking(world) is True
    answer = await world.post(path, form="tracking", tracking="no")
    assert await tracking(world) is False
    assert ("tracking", "no") in _Fields(answer.text).ticked
    assert await world.standing() == {}


@pytest.mark.parametrize("body", [b"", b"List-Unsubscribe=One-Click", b"form=other&topic=events"])
async def test_a_post_that_is_no_form_of_the_preference_page_saves_nothing(world: World, body: bytes) -> None:
    path = await page_of(world)
    before = await world.fingerprint_of_everything()
    response = await world.client.post(
        path, content=body, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert response.status_code == 200
    assert await world.fingerprint_of_everything() == before


async def test_a_preference_link_with_a_slash_does_not_redirect(world: World) -> None:
    assert (await world.get(await page_of(world) + "/?utm_source=x")).status == 200


async def test_pages_speak_the_language_of_the_mail_then_of_the_browser(world: World) -> None:
    ukrainian = world.link(world.opt_out(await world.email(locale="uk-UA")))
    gone = world.link(world.opt_out())
    assert "Відписатися?" in (await world.get(ukrainian, "en")).text
    assert "Відписатися?" in (await world.get(gone, "de;q=0.9, uk;q=0.8, en;q=0.1")).text
    assert "Unsubscribe?" in (await world.get(gone, "de")).text
    assert "Unsubscribe?" in (await world.get(gone, "uk;q=0, *;q=zz,,;")).text
    damaged = await world.get("/u/x", "uk")
    assert "Це посилання пошкоджене" in damaged.text
    assert damaged.headers["content-language"] == "uk"
    assert '<html lang="uk">' in damaged.text


def test_every_language_says_the_same_things() -> None:
    english = {key: sorted(_NAMED.findall(text)) for key, text in WORDS["en"].items()}
    for language, words in WORDS.items():
        assert words.keys() == english.keys(), language
        assert {key: sorted(_NAMED.findall(text)) for key, text in words.items()} == english, language


def test_no_sentence_stands_in_two_files() -> None:
    files = [tomllib.loads(path.read_text("utf-8"))["en"] for path in FOLDER.glob("*.toml")]
    keys = [key for each in files for key in each]
    assert len(files) > 1
    assert len(keys) == len(set(keys)) == len(WORDS["en"])


def test_what_is_put_into_a_sentence_is_escaped() -> None:
    sentence = voice("en", "")("ask_all", who="<i>@example.org", sender="A & B")
    assert "&lt;i&gt;@example.org" in sentence
    assert "A &amp; B" in sentence
    assert "<b>" in sentence


async def test_r10_9_headers_of_pages(world: World) -> None:
    opt_out = world.opt_out(await world.email())
    for path in (world.link(opt_out), world.preferences(opt_out), "/u/x"):
        headers = (await world.get(path)).headers
        assert headers["content-security-policy"] == (
            "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        )
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "noindex" in headers["x-robots-tag"]
        assert headers["cache-control"] == "no-store"
        assert "set-cookie" not in headers


async def test_pages_load_nothing_but_our_style_sheet(world: World) -> None:
    page = (await world.get(await world.newsletter())).text
    assert "style=" not in page
    (path,) = re.findall(r'<link rel="stylesheet" href="([^"]+)">', page)
    assert len(re.findall(r"src=|href=", page)) == 2
    sheet = await world.get(path)
    assert (sheet.status, sheet.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "url(" not in sheet.text


async def test_a_mail_in_the_browser_is_locked_up(world: World) -> None:
    email_id = await world.email()
    path = str(world.links.ways_out(world.opt_out(email_id)).view).removeprefix(world.links.local_url)
    world.mail[email_id] = "<p>Hello</p><script>alert(1)</script>"
    found = await world.get(path)
    assert (found.status, found.text) == (200, world.mail[email_id])
    policy = found.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data: https:;")
    assert "sandbox" in policy
    assert "allow-scripts" not in policy
    del world.mail[email_id]
    gone = await world.get(path)
    assert gone.status == 404
    assert "not here any more" in gone.text
    assert "This link is damaged" in (await world.get("/v/" + "a" * 40)).text


async def pixels(world: World) -> dict[str, str]:
    email_id = await world.email(opens=Opens.INDIVIDUAL)
    good = str(world.links.of_mail(Stream.PROMOTIONAL, None, one_email(ids.to_bytes(email_id))).pixel).removeprefix(
        world.links.local_url
    )
    return {
        "individual": good,
        "aggregate": str(world.links.of_mail(AUDIENCE.stream, None, one_of(AUDIENCE.pack())).pixel).removeprefix(
            world.links.local_url
        ),
        "forged": good[:20] + ("a" if good[20] != "a" else "b") + good[21:],
        "cut": good[:-9],
        "upper": "/o/" + good[3:-4].upper() + ".gif",
        "other purpose": world.link(world.opt_out(email_id)).replace("/u/", "/o/") + ".gif",
        "empty": "/o/.gif",
        "bare": "/o/",
        "deep": "/o/a/b.gif",
        "slash": good + "/",
        "query": good + "?utm=1",
        "long": "/o/" + "a" * 5000 + ".gif",
    }


async def test_r6_2_r6_3_every_picture_is_the_same(world: World) -> None:
    for path in (await pixels(world)).values():
        for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS"):
            response = await world.client.request(
                method, path, headers={"If-None-Match": "*", "Range": "bytes=0-1", "Cookie": "a=1"}
            )
            assert response.status_code == 200
            assert dict(response.headers) == PIXEL_HEADERS
            assert response.content == (b"" if method == "HEAD" else GIF)


async def test_r6_3_only_what_verifies_is_seen(world: World) -> None:
    for path in (await pixels(world)).values():
        await world.client.get(path, headers=FIREFOX)
    assert len(world.hits) == 4, "individual, aggregate, with a slash, with a query"
    await world.client.post((await pixels(world))["individual"])
    assert len(world.hits) == 4


async def test_r6_3_head_is_not_a_human(world: World) -> None:
    await world.client.head((await pixels(world))["aggregate"], headers=FIREFOX)
    await world.hits.flush()
    assert await world.count("opens:human") == 0
    assert await world.count("opens:machine") == 1


async def test_a_picture_is_written_within_a_second(world: World) -> None:
    world.hits.start()
    await world.client.get((await pixels(world))["aggregate"], headers=FIREFOX)
    begun = time.monotonic()
    while not await world.count("opens:human"):
        assert time.monotonic() - begun < 1
    assert await world.count("opens:human", "tag", "campaign=november") == 1


async def test_r6_consent_withdrawn_after_the_mail_was_sent(world: World) -> None:
    pixel = (await pixels(world))["individual"]
    page = await page_of(world)
    await world.post(page, form="tracking", tracking="yes")
    await world.client.get(pixel, headers=FIREFOX)
    # The answer does not wait for the question; the question is asked when the hit is written.
    await world.post(page, form="tracking", tracking="no")
    await world.hits.flush()
    assert await world.events("email.opened") == []
    await world.post(page, form="tracking", tracking="yes")
    await world.client.get(pixel, headers=FIREFOX)
    await world.hits.flush()
    assert len(await world.events("email.opened")) == 1


async def test_r6_3_a_database_that_is_away_does_not_break_pictures(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixel = (await pixels(world))["aggregate"]

    async def away(_verb: Verb[object], *, urgency: int = 1) -> object:
        raise OperationalError("INSERT", {}, Exception("away"))

    monkeypatch.setattr(world.database, "run", away)
    assert (await world.client.get(pixel)).content == GIF
    await world.hits.flush()
    assert len(world.hits) == 1
    monkeypatch.undo()
    await world.hits.flush()
    assert await world.count("opens:machine") == 1


async def test_r6_4_a_full_buffer_still_answers(world: World) -> None:
    pixel = (await pixels(world))["aggregate"]
    world.hits = Hits(world.write, limit=2)
    for _ in range(5):
        assert (await world.client.get(pixel)).content == GIF
    assert (len(world.hits), world.hits.dropped) == (2, 3)
