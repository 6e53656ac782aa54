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
from mailer.feedback.tracking.hits import Hits
from mailer.links import Audience, one_email, one_of
from mailer.models import Consent, Email, Opens, Topic, Visibility
from mailer.status import Status
from mailer.web.recipient.pixel import GIF
from mailer.web.recipient.words import EDITION, FOLDER, WORDS, voice
from suppression.entries import Entry, forget
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


async def edit_page(world: World) -> str:
    return world.edit(world.opt_out(await world.email()))


async def private_topic(world: World) -> None:
    secret = Topic(
        tenant_id=1, key="beta", stream=Stream.PROMOTIONAL, visibility=Visibility.PRIVATE, names={"en": "Bêta"}
    )
    await world.database.run(lambda session: session.add(secret))


async def test_r10_2_a_mails_link_shows_no_state_and_ticks_nothing(world: World) -> None:
    path = await page_of(world)
    before = (await world.get(path)).text
    assert _Fields(before).ticked == []
    assert all(_Fields(before).labelled)
    await world.post(world.edit(world.opt_out(await world.email())), form="topics", shown=["events"], topic=[])
    await world.post(world.edit(world.opt_out(await world.email())), form="tracking", tracking="yes")
    assert (await world.get(path)).text == before, "the page is the same however the person stands"
    assert "billing" not in before.lower()
    assert "they cannot be stopped here" in before


async def test_r10_2_pages_show_the_masked_address_only(world: World) -> None:
    opt_out = world.opt_out(await world.email())
    for path in (world.preferences(opt_out), world.edit(opt_out)):
        for text in ((await world.get(path)).text, (await world.post(path, form="topics")).text):
            assert "a•••@example.org" in text
            assert ANN not in text
            assert "weaver" not in text.lower()


async def test_a_mails_link_stops_topics_one_by_one(world: World) -> None:
    path = await page_of(world)
    answer = await world.post(path, form="stop", topic=["newsletter", "new-lead", "billing", "no-such-topic"])
    assert (answer.status, "<li>Newsletter</li><li>New leads</li>" in answer.text) == (200, True)
    assert set(await world.standing()) == {"topic:newsletter", "topic:new-lead"}
    assert await world.may_get(stream=Stream.TRANSACTIONAL, topic="billing")
    assert await world.count("unsubscribed") == 1, "one act is one person lost"
    assert "please tick what should stop" in (await world.post(path, form="stop")).text


async def test_a_mails_link_stops_all_and_takes_exactly_that_back(world: World) -> None:
    path = await page_of(world)
    await world.post(path, form="stop", topic=["surveys"])
    world.later(minutes=1)
    answer = await world.post(path, form="all")
    assert set(await world.standing()) == {"topic:surveys", "stream:promotional"}
    assert 'value="undo"' in answer.text
    back = await world.post(path, form="undo")
    assert "Taken back" in back.text
    assert set(await world.standing()) == {"topic:surveys"}, "the last act alone"
    assert "works for 30 minutes, and only once" in (await world.post(path, form="undo")).text
    assert set(await world.standing()) == {"topic:surveys"}, "pressed twice it gives back once"


async def test_an_undo_reaches_over_the_pages_of_one_mail(world: World) -> None:
    opt_out = world.opt_out(await world.email())
    await world.post(world.link(opt_out))
    assert 'value="undo"' in (await world.get(world.preferences(opt_out))).text
    await world.post(world.preferences(opt_out), form="undo")
    assert await world.standing() == {}


async def test_a_pause_ends_by_itself_or_by_the_person(world: World) -> None:
    opt_out = world.opt_out(await world.email())
    path = world.preferences(opt_out)
    answer = await world.post(path, form="snooze")
    assert "for 30 days" in answer.text
    assert not await world.may_get(topic="events")
    assert await world.may_get(stream=Stream.TRANSACTIONAL, topic="new-lead")
    assert await world.events() == [], "a pause is not an opt-out"
    await world.post(path, form="undo")
    assert await world.may_get(topic="events")
    await world.post(path, form="snooze")
    world.later(days=29)
    assert not await world.may_get(topic="events")
    assert "Paused until 20 December 2026" in (await world.get(world.edit(opt_out))).text
    await world.post(world.edit(opt_out), form="topics", pause="no", shown=[], topic=[])
    assert await world.may_get(topic="events")
    await world.post(path, form="snooze")
    world.later(days=30, seconds=1)
    assert await world.may_get(topic="events")


@pytest.mark.parametrize(
    "form",
    [
        {"form": "topics", "promotional": "chosen", "shown": ["events"], "topic": ["events"], "language": "uk"},
        {"form": "tracking", "tracking": "yes"},
        {"form": "untracked", "tracking": "yes"},
        {"form": "edit"},
    ],
)
async def test_r10_2_a_forwarded_mail_never_brings_anything_back(
    world: World, form: dict[str, str | list[str]]
) -> None:
    opt_out = world.opt_out(await world.email())
    await world.post(world.link(opt_out))
    world.later(hours=1)
    assert (await world.post(world.preferences(opt_out), **form)).status == 200
    assert set(await world.standing()) == {"stream:promotional"}
    assert await tracking(world) is not True
    assert "Get less mail" in (await world.get(world.preferences(opt_out))).text, "the language is as it was"


async def test_the_mailed_link_changes_everything_for_a_day(world: World) -> None:
    opt_out = world.opt_out(await world.email())
    await world.post(world.link(opt_out))
    path = world.edit(opt_out)
    shown = ["newsletter", "product-updates", "surveys", "events", "new-lead"]
    answer = await world.post(
        path, form="topics", promotional="chosen", shown=shown, topic=["events"], pause="no", language="uk"
    )
    assert "Збережено" in answer.text, "it speaks the language that was chosen"
    assert _Fields(answer.text).ticked[:3] == [("promotional", "chosen"), ("topic", "events"), ("pause", "no")]
    assert await world.may_get(topic="events")
    assert not await world.may_get(topic="newsletter")
    assert not await world.may_get(stream=Stream.TRANSACTIONAL, topic="new-lead")
    (yes,) = await world.database.read(lambda session: session.exec(select(Consent)).all())
    assert (yes.purpose, yes.granted, yes.source, yes.wording) == ("topic:events", True, "preference page", EDITION)
    world.later(hours=25)
    ended = await world.get(path, "en")
    assert "24 години" in ended.text
    await world.post(path, form="topics", promotional="chosen", shown=shown, topic=shown)
    assert not await world.may_get(topic="newsletter"), "after a day it only stops things"
    await world.post(path, form="stop", topic=["events"])
    assert not await world.may_get(topic="events")


async def test_no_promotional_mail_at_all(world: World) -> None:
    path = await edit_page(world)
    shown = ["newsletter", "product-updates", "surveys", "events", "new-lead"]
    answer = await world.post(path, form="topics", promotional="none", shown=shown, topic=["events", "new-lead"])
    assert set(await world.standing()) == {"stream:promotional"}
    assert [each for each in _Fields(answer.text).ticked if each[0] != "pause"][:2] == [
        ("promotional", "none"),
        ("topic", "new-lead"),
    ]
    assert (await world.events())[0].data == {
        "suppression_id": (await world.database.read(lambda session: session.exec(select(Entry.id)).one())),
        "scope": "stream:promotional",
        "how": "edit",
        "counted": True,
        "campaign_id": "ca_1",
    }
    assert await world.count("unsubscribed") == 1


async def test_a_reason_may_be_said_and_need_not(world: World) -> None:
    path = await page_of(world)
    assert 'name="said"' not in (await world.get(path)).text
    assert 'name="said"' in (await world.post(path, form="all")).text
    assert "Thank you" in (await world.post(path, form="why", said="  too\r\nmany " + "x" * 900)).text
    entry = await world.database.read(lambda session: session.exec(select(Entry)).one())
    said = str((entry.evidence or {})["said"])
    assert (said[:9], len(said)) == ("too many ", 500)
    await world.database.run(lambda session: forget(session, 1, entry.fingerprint))
    assert "said" not in ((await world.database.read(lambda session: session.get_one(Entry, entry.id))).evidence or {})


async def test_private_topics_are_shown_to_whom_they_go_only(world: World) -> None:
    await private_topic(world)
    assert "Bêta" not in (await world.get(await page_of(world))).text
    assert "Bêta" not in (await world.get(await edit_page(world))).text
    own = world.opt_out(await world.email(topic="beta"), topic="beta")
    assert "Bêta" in (await world.get(world.preferences(own))).text, "the mail itself names it"
    assert "Bêta" in (await world.get(await edit_page(world))).text
    assert "Bêta" not in (await world.get(await page_of(world))).text, "another mail, forwarded, does not tell"


async def test_the_link_is_mailed_to_the_mailbox_and_not_more_often_than_it_may(world: World) -> None:
    path = await page_of(world)
    texts = set()
    for _ in range(5):
        texts.add((await world.post(path, form="link")).text)
        world.later(minutes=1)
    assert len(texts) == 1, "whether or not a mail goes"
    statement = select(Email).where(Email.template == "preference-link")
    mails = await world.database.read(lambda session: session.exec(statement).all())
    assert [(mail.address, mail.status, mail.topic, mail.opens) for mail in mails] == [
        (ANN, Status.QUEUED, None, Opens.OFF)
    ] * 3
    assert world.rung == [Stream.TRANSACTIONAL] * 3
    link = str((mails[0].variables or {})["edit_url"]).removeprefix(world.links.local_url)
    assert "What you get" in (await world.get(link)).text
    world.later(hours=25)
    await world.post(path, form="link")
    assert len(world.rung) == 4
    gone = world.preferences(world.opt_out())
    assert "is on its way" in (await world.post(gone, form="link")).text
    assert len(world.rung) == 4


async def test_the_tracking_choice_is_a_form_of_its_own(world: World) -> None:
    path = await edit_page(world)
    empty = await world.post(path, form="tracking")
    assert "please choose yes or no" in empty.text
    assert await tracking(world) is None
    assert not any(name == "tracking" for name, _ in _Fields(empty.text).ticked)
    assert "Saved." in (await world.post(path, form="tracking", tracking="yes")).text
    assert await tracking(world) is True
    await world.post(await page_of(world), form="untracked")
    assert await tracking(world) is False
    assert ("tracking", "no") in _Fields((await world.get(path)).text).ticked
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
        # Within a second they would be one hit.
        world.later(seconds=1)
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
    page = await edit_page(world)
    await world.post(page, form="tracking", tracking="yes")
    await world.client.get(pixel, headers=FIREFOX)
    # The answer does not wait for the question; the question is asked when the hit is written.
    world.later(minutes=1)
    await world.post(page, form="tracking", tracking="no")
    await world.hits.flush()
    assert await world.events("email.opened") == []
    world.later(minutes=1)
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
        world.later(seconds=1)
    assert (len(world.hits), world.hits.dropped) == (2, 3)


def test_r6_1_the_picture_is_43_octets_of_a_transparent_gif() -> None:
    assert len(GIF) == 43
    assert GIF.startswith(b"GIF89a\x01\x00\x01\x00")
    assert GIF.endswith(b";")
