"""The unsubscribe link over HTTP; every test is named by the requirement that it holds (standards, section 1)."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.exc import OperationalError
from sqlmodel import select, update

from mailer import ids
from mailer.database import Database, Verb
from mailer.links import Links, one_email
from mailer.models import Email, Event, OptOutScope, Tenant
from mailer.settings import Settings
from mailer.status import Status
from suppression.entries import Entry
from suppression.rules import Stream
from suppression.token import Purpose, Ring
from tests.recipients.world import ANN, OLD_RING, RESUBSCRIBED, World, open_world

# RFC 8058 section 8, to the letter; the last one is malformed in the RFC itself.
MULTIPART = (
    b'--u9cuMdFFxMGGfnM9\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n'
    b"--u9cuMdFFxMGGfnM9--\r\n"
)
MALFORMED_8_3 = (
    b'---FormBoundaryjWmhtjORrn\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\n'
    b"One-Click\r\n---FormBoundaryjWmhtjORrn--\r\n"
)
BODIES = {
    "8.1 and 8.2 urlencoded": ("application/x-www-form-urlencoded", b"List-Unsubscribe=One-Click"),
    "multipart": ("multipart/form-data; boundary=u9cuMdFFxMGGfnM9", MULTIPART),
    "8.3 malformed": (
        "multipart/form-data; boundary=---FormBoundaryjWmhtjORrn",
        MALFORMED_8_3,
    ),
    "wrong boundary": ("multipart/form-data; boundary=another", MULTIPART),
    "no boundary": ("multipart/form-data", MULTIPART),
    "empty": ("application/x-www-form-urlencoded", b""),
    "no type": ("", b""),
    "text": ("text/plain", b"List-Unsubscribe=One-Click"),
    "json": ("application/json", b'{"act": "undo"}'),
    "text that looks like ours": ("text/plain", b"act=undo"),
    "unknown act": ("application/x-www-form-urlencoded", b"act=resubscribe"),
    "both": ("application/x-www-form-urlencoded", b"List-Unsubscribe=One-Click&act=undo"),
    "no text": ("application/x-www-form-urlencoded", b"\xff\xfe\x00act=%ff%zz"),
    "too many fields": ("application/x-www-form-urlencoded", b"a=1&" * 2000),
    "10 MB": ("application/x-www-form-urlencoded", b"act=undo&x=" + b"x" * 10_000_000),
    "20 MB": ("application/octet-stream", b"x" * 20_000_000),
}


@pytest.fixture
async def world(sqlite: Database) -> AsyncIterator[World]:
    async with open_world(sqlite) as world:
        yield world


async def test_r1_4_the_address_alone_says_who_and_what(world: World) -> None:
    path = await world.newsletter()
    response = await world.client.request("POST", path)
    assert response.status_code == 200
    assert not await world.may_get()


@pytest.mark.parametrize("name", BODIES)
async def test_r1_5_r1_9_any_body_opts_out(world: World, name: str) -> None:
    kind, body = BODIES[name]
    path = await world.newsletter()
    headers = {"Content-Type": kind} if kind else {}
    response = await world.client.post(path, content=body, headers=headers)
    assert response.status_code == 200
    assert "Done" in response.text or "unsubscribed" in response.text
    assert not await world.may_get()


@pytest.mark.parametrize(
    "headers",
    [
        {"X-HTTP-Method-Override": "GET"},
        {"User-Agent": "curl/8"},
        {"User-Agent": ""},
        {"Origin": "https://mail.google.com", "Sec-Fetch-Site": "cross-site"},
        {"Cookie": "session=1"},
        {"Host": "some.other.example"},
        {"Accept": "application/json"},
    ],
)
async def test_r1_5_no_header_gets_in_the_way(world: World, headers: dict[str, str]) -> None:
    response = await world.client.post(await world.newsletter(), headers=headers)
    assert response.status_code == 200
    assert not await world.may_get()


@pytest.mark.parametrize("suffix", ["", "/", "//", "?utm_source=mail", "/?utm_source=mail&x=%20", "?"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_r1_6_nothing_redirects(world: World, suffix: str, method: str) -> None:
    response = await world.client.request(method, await world.newsletter() + suffix)
    assert response.status_code == 200
    assert "location" not in response.headers
    assert "set-cookie" not in response.headers
    assert await world.may_get() is (method == "GET")


async def test_r1_7_reading_changes_nothing(world: World) -> None:
    path = await world.newsletter()
    before = await world.fingerprint_of_everything()
    for _ in range(100):
        assert (await world.client.get(path)).status_code == 200
        assert (await world.client.head(path)).status_code == 200
    options = await world.client.options(path)
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, POST, OPTIONS")
    for method in ("PUT", "PATCH", "DELETE"):
        assert (await world.client.request(method, path)).status_code == 405
    assert await world.fingerprint_of_everything() == before
    assert await world.may_get()


async def test_r1_7_r1_16_the_page_has_a_button_that_posts_back_and_no_script(world: World) -> None:
    page = (await world.get(await world.newsletter())).text
    assert '<form method="post"><input type="hidden" name="act" value="leave">' in page
    assert "<script" not in page
    assert "http-equiv" not in page
    assert "action=" not in page
    assert "a•••@example.org" in page
    assert ANN not in page
    assert 'href="/p/' in page


async def test_r1_10_two_at_once_are_one(database: Database) -> None:
    async with open_world(database) as world:
        path = await world.newsletter()
        answers = await asyncio.gather(*(world.client.post(path) for _ in range(8)))
        assert {answer.status_code for answer in answers} == {200}
        assert len(await world.events()) == 1
        assert await world.count("unsubscribed") == 1


async def test_r1_10_a_repeat_keeps_the_first_time(world: World) -> None:
    path = await world.newsletter()
    await world.post(path)
    first = await world.standing()
    world.later(days=40)
    assert (await world.post(path)).status == 200
    assert await world.standing() == first


async def test_r1_10_a_link_that_does_not_verify_meets_one_page_whatever_is_wrong(world: World) -> None:
    email_id = await world.email()
    opt_out = world.opt_out(email_id)
    good = world.link(opt_out).removeprefix("/u/")
    preferences = world.preferences(opt_out).removeprefix("/p/")
    view = str(world.links.ways_out(opt_out).view).rpartition("/")[2]
    pixel = (
        str(world.links.of_mail(Stream.PROMOTIONAL, None, one_email(ids.to_bytes(email_id))).pixel)
        .rpartition("/")[2]
        .removesuffix(".gif")
    )
    foreign = Ring("k2:" + "x" * 32).sign(Purpose.OPT_OUT, opt_out.pack())
    stranger = world.links.ring.sign(Purpose.OPT_OUT, opt_out._replace(tenant_id=77).pack())
    bad = ["", "x", good[:-1], good[1:], good + "a", good.upper(), good.title(), "a" * 5000, "%00", "é", "a/b/c"]
    bad += [good[:40] + ("a" if good[40] != "a" else "b") + good[41:], preferences, view, pixel, foreign, stranger]
    before = await world.fingerprint_of_everything()
    answers = [await world.get(f"/u/{token}") for token in bad] + [await world.post(f"/u/{token}") for token in bad]
    answers += [await world.get(f"/p/{token}") for token in [*bad[:11], good, view, pixel]]
    answers += [await world.post(f"/p/{token}", form="topics") for token in [good, view, pixel]]
    assert {answer.status for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1
    assert len({tuple(sorted(answer.headers.items())) for answer in answers}) == 1
    assert "This link is damaged" in answers[0].text
    assert await world.fingerprint_of_everything() == before


async def test_r1_10_only_own_faults_are_5xx(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await world.newsletter()
    tries = 0

    async def away(_verb: Verb[object], *, urgency: int = 1, conclusive: bool = False) -> object:
        nonlocal tries
        tries += 1
        raise OperationalError("SELECT", {}, Exception("away"))

    monkeypatch.setattr(world.database, "run", away)
    monkeypatch.setattr(world.database, "read", away)
    for answer in (await world.post(path), await world.get(path)):
        assert answer.status == 503
        assert answer.headers["retry-after"] == "60"
        assert "the link stays good" in answer.text
    assert tries == 4, "a POST is tried again, for it may have met a deadlock"
    monkeypatch.undo()
    assert await world.may_get()


async def test_r1_11_the_answer_comes_after_the_commit(world: World) -> None:
    path = await world.newsletter()
    response = await world.client.post(path)
    # Another connection sees it at once.
    entries = await world.database.read(lambda session: session.exec(select(Entry)).all())
    assert (response.status_code, len(entries)) == (200, 1)


async def test_r1_12_an_old_key_still_verifies(world: World) -> None:
    opt_out = world.opt_out(await world.email())
    old = Links(Settings(), Ring(OLD_RING)).ways_out(opt_out).unsubscribe.removeprefix("http://127.0.0.1:8000")
    assert old != world.link(opt_out)
    world.later(days=3000)
    assert (await world.post(old)).status == 200
    assert not await world.may_get()


async def test_r1_12_the_mail_and_its_address_may_be_gone(world: World) -> None:
    paths = [world.link(world.opt_out("em_" + "0" * 26)), world.link(world.opt_out())]
    page = await world.get(paths[0])
    assert "You will no longer get promotional mail from Ringwise." in page.text
    for path in paths:
        assert (await world.post(path)).status == 200
    assert not await world.may_get()


async def test_r1_12_the_address_is_erased_and_the_row_stays(world: World) -> None:
    path = await world.newsletter()
    await world.database.run(lambda session: session.execute(update(Email).values(address=None)))
    assert "You will get no more promotional mail" in (await world.post(path)).text
    assert not await world.may_get()


async def test_an_opt_out_meets_the_mail_that_waits(world: World) -> None:
    queued = await world.email(status=Status.QUEUED)
    claimed = await world.email(status=Status.SENDING)
    invoice = await world.email(status=Status.QUEUED, stream=Stream.TRANSACTIONAL, topic=None)
    await world.post(await world.newsletter())
    assert await world.status(queued) is Status.SUPPRESSED
    assert await world.status(claimed) is Status.SUPPRESSED
    assert await world.status(invoice) is Status.QUEUED


async def test_a_transactional_link_leaves_only_its_topic(world: World) -> None:
    email_id = await world.email(stream=Stream.TRANSACTIONAL, topic="new-lead")
    path = world.link(world.opt_out(email_id, stream=Stream.TRANSACTIONAL, topic="new-lead"))
    assert "Unsubscribe from New leads?" in (await world.get(path)).text
    assert "New leads" in (await world.post(path)).text
    assert set(await world.standing()) == {"topic:new-lead"}
    assert "You are unsubscribed" in (await world.get(path)).text
    for act in ("only_topic", "keep", "everything"):
        await world.post(path, act=act, topic=["events"])
    assert set(await world.standing()) == {"topic:new-lead"}


async def test_undo_within_half_an_hour(world: World) -> None:
    path = await world.newsletter()
    answer = await world.post(path, act="leave")
    assert 'name="act" value="undo"' in answer.text
    back = await world.post(path, act="undo")
    assert "You are back" in back.text
    assert 'value="undo"' not in back.text
    assert await world.may_get()
    (event,) = await world.events(RESUBSCRIBED)
    assert event.email_id is not None
    assert "There is nothing to undo" in (await world.post(path, act="undo")).text


async def test_undo_after_half_an_hour_changes_nothing(world: World) -> None:
    path = await world.newsletter()
    await world.post(path)
    world.later(minutes=31)
    assert 'value="undo"' not in (await world.get(path)).text
    assert "There is nothing to undo" in (await world.post(path, act="undo")).text
    assert not await world.may_get()


async def test_only_this_topic_before_and_after(world: World) -> None:
    path = await world.newsletter()
    assert "Leave only “Newsletter”" in (await world.get(path)).text
    await world.post(path, act="only_topic")
    assert set(await world.standing()) == {"topic:newsletter"}
    world.later(seconds=1)
    await world.post(path)
    assert "stream:promotional" in await world.standing()
    answer = await world.post(path, act="only_topic")
    assert set(await world.standing()) == {"topic:newsletter"}
    assert "<li>Newsletter</li>" in answer.text
    assert await world.may_get(topic="events")


async def test_keep_these_topics(world: World) -> None:
    path = await world.newsletter()
    await world.post(path)
    answer = await world.post(path, act="keep", topic=["events", "surveys"])
    assert set(await world.standing()) == {"topic:newsletter", "topic:product-updates"}
    assert "<li>Newsletter</li><li>Product updates</li>" in answer.text


async def test_keep_nothing_is_everything(world: World) -> None:
    path = await world.newsletter()
    await world.post(path, act="keep")
    assert set(await world.standing()) == {"stream:promotional"}
    await world.post(path, act="keep", topic=["billing", "no-such-topic"])
    assert set(await world.standing()) == {"stream:promotional"}


async def test_keep_everything_is_nothing_left(world: World) -> None:
    path = await world.newsletter()
    await world.post(path)
    answer = await world.post(path, act="keep", topic=["newsletter", "product-updates", "surveys", "events"])
    assert "Nothing was stopped" in answer.text
    assert await world.standing() == {}
    assert await world.count("resubscribed") == 1


async def test_where_links_leave_the_topic_the_page_offers_everything(world: World) -> None:
    await world.database.run(lambda session: session.execute(update(Tenant).values(opt_out_scope=OptOutScope.TOPIC)))
    path = await world.newsletter()
    assert "Unsubscribe from Newsletter?" in (await world.get(path)).text
    answer = await world.post(path)
    assert set(await world.standing()) == {"topic:newsletter"}
    assert 'value="everything"' in answer.text
    await world.post(path, act="everything")
    assert not await world.may_get(topic="events")


async def test_how_a_person_left_is_recorded(world: World) -> None:
    first, second = await world.newsletter(), await world.newsletter()
    await world.post(first)
    await world.post(first, act="undo")
    await world.post(second, act="leave")
    hows = [event.data["how"] for event in await world.events() if event.data]
    assert hows == ["one_click", "link"]


async def test_r10_11_the_log_names_nobody(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await world.newsletter()
    with caplog.at_level("DEBUG", logger="mailer"):
        await world.post(path)

        async def away(_verb: Verb[object], *, urgency: int = 1, conclusive: bool = False) -> object:
            raise OperationalError("SELECT", {"address": ANN}, Exception(ANN))

        monkeypatch.setattr(world.database, "run", away)
        await world.post(path)
        monkeypatch.undo()
    assert caplog.records
    assert ANN not in caplog.text
    assert path.removeprefix("/u/") not in caplog.text


async def test_events_hold_no_address(world: World) -> None:
    await world.post(await world.newsletter())
    events = await world.database.read(lambda session: session.exec(select(Event)).all())
    assert all("@" not in str(event.data) and "192" not in str(event.data) for event in events)


async def test_the_evidence_names_who_asked_and_not_our_proxy(world: World) -> None:
    path = await world.newsletter()
    world.links = Links(Settings(trusted_proxies="127.0.0.0/8"), world.links.ring)
    answer = await world.client.post(path, headers={"X-Forwarded-For": "198.51.100.66, 203.0.113.9"})
    assert answer.status_code == 200
    entry = await world.database.read(lambda session: session.exec(select(Entry)).one())
    assert (entry.evidence or {})["ip"] == "203.0.113.9"


async def test_two_tenants_have_their_own_people(world: World) -> None:
    assert (await world.post(await world.newsletter())).status == 200
    assert not await world.may_get()
    assert await world.may_get(tenant_id=2)
