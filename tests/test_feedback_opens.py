"""Who loaded a picture, what may be recorded of it, and that no load ever waits for the database."""

from collections.abc import AsyncIterator, Sequence

import pytest
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col, delete, select, update

from mailer import people
from mailer.database import Database
from mailer.feedback import opens
from mailer.feedback.opens import GIF, RULES, Class, Hits, Sighting, Verdict, classify
from mailer.links import Audience, Hit
from mailer.models import ConsentRule, Email, Event, Opens, SeenHit, Tenant
from suppression.address import parse
from suppression.rules import Stream
from tests.recipients.world import ANN, BOB, NOON, PRINTS, World, open_world

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"
APPLE_MAIL = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
PREFETCH = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
)
OUTLOOK = "Mozilla/4.0 (compatible; ms-office; MSOffice 16)"
AUDIENCE = Audience(1, Stream.PROMOTIONAL, "november", "newsletter", "letter", NOON.date())
HUMAN, MACHINE = Verdict(Class.HUMAN, "browser"), Verdict(Class.MACHINE, "gmail-prefetch")


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with open_world(database) as world:
        yield world


def test_r6_1_the_picture_is_43_octets_of_a_transparent_gif() -> None:
    assert len(GIF) == 43
    assert GIF.startswith(b"GIF89a\x01\x00\x01\x00")
    assert GIF.endswith(b";")


@pytest.mark.parametrize(
    ("agent", "expected", "rule"),
    [
        (FIREFOX, Class.HUMAN, "browser"),
        (APPLE_MAIL, Class.HUMAN, "browser"),
        (OUTLOOK, Class.HUMAN, "mail-program"),
        (FIREFOX.replace("Firefox", "Thunderbird"), Class.HUMAN, "mail-program"),
        (GMAIL, Class.PROXY, "google-image-proxy"),
        ("YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html", Class.PROXY, "yahoo-mail-proxy"),
        (PREFETCH, Class.MACHINE, "gmail-prefetch"),
        ("Mozilla/5.0", Class.MACHINE, "apple-mail-privacy"),
        ("", Class.MACHINE, "empty-agent"),
        (None, Class.MACHINE, "empty-agent"),
        ("Microsoft Office Existence Discovery", Class.MACHINE, "scanner"),
        ("BarracudaCentral/1.0", Class.MACHINE, "scanner"),
        ("Mozilla/5.0 (X11) AppleWebKit/537.36 HeadlessChrome/120.0 Safari/537.36", Class.MACHINE, "headless-browser"),
        ("python-requests/2.31.0", Class.MACHINE, "http-library"),
        ("python-httpx2/2.16.2", Class.MACHINE, "http-library"),
        ("curl/8.5.0", Class.MACHINE, "http-library"),
        ("Java/17.0.1", Class.MACHINE, "http-library"),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", Class.MACHINE, "crawler"),
        # R6.7: "bot", "java" and the like inside other words say nothing.
        ("Mozilla/5.0 (Linux; Android 11; CUBOT X30) AppleWebKit/537.36 Chrome/120.0 Mobile", Class.HUMAN, "browser"),
        ("MyJavaMail reader", Class.UNKNOWN, "none"),
        ("okhttp/4.9", Class.UNKNOWN, "none"),
    ],
)
def test_r6_6_a_user_agent_has_a_class_and_the_rule_that_says_so(agent: str | None, expected: Class, rule: str) -> None:
    assert classify(agent, "GET") == (expected, rule)


def test_head_is_never_a_human() -> None:
    assert classify(FIREFOX, "HEAD") == (Class.MACHINE, "head")


def test_rules_have_ids_of_their_own() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)


@pytest.mark.timeout(10)
def test_a_hostile_agent_costs_nothing() -> None:
    for piece in ("Mozilla/5.0 (", "(", "Gecko ", "a" * 3, ") "):
        classify("Mozilla/5.0 (" + piece * 60_000, "GET")


async def write(world: World, *sightings: Sighting) -> None:
    await world.database.run(lambda session: opens.record(session, sightings, world.time))


def load(email_id: str, verdict: Verdict = HUMAN) -> Sighting:
    return Sighting(Hit(email_id, None, b""), verdict, NOON)


def crowd(mark: bytes, verdict: Verdict = HUMAN, audience: Audience = AUDIENCE) -> Sighting:
    return Sighting(Hit(None, audience, mark), verdict, NOON)


async def say(world: World, granted: bool, to: str = ANN) -> None:
    fingerprint = PRINTS.of(1, parse(to).canonical)
    await world.database.run(
        lambda session: people.choose_tracking(session, 1, fingerprint, granted=granted, source="test", now=world.time)
    )


async def opened(world: World) -> list[Event]:
    return await world.events("email.opened")


async def test_a_hit_is_stored_with_its_class_and_rule_and_nothing_of_the_reader(world: World) -> None:
    email_id = await world.email(opens=Opens.INDIVIDUAL)
    await say(world, granted=True)
    await write(world, load(email_id))
    (event,) = await opened(world)
    assert (event.email_id, event.at, event.data) == (email_id, NOON, {"class": "human", "rule": "browser"})
    for dimension in (("all", ""), ("topic", "newsletter"), ("template", "letter"), ("tag", "campaign=november")):
        assert await world.count("opens:human", *dimension) == 1


async def test_r6_4_repeats_are_stored_and_not_counted(world: World) -> None:
    email_id = await world.email(opens=Opens.INDIVIDUAL)
    await say(world, granted=True)
    await write(world, load(email_id, MACHINE), load(email_id), load(email_id))
    await write(world, load(email_id), load(email_id, MACHINE))
    assert len(await opened(world)) == 5
    assert await world.count("opens:human") == 1
    assert await world.count("opens:machine") == 1


async def test_an_open_after_the_marks_were_swept_is_not_counted_again(world: World) -> None:
    email_id = await world.email(opens=Opens.INDIVIDUAL)
    await say(world, granted=True)
    await write(world, load(email_id))
    await world.database.run(lambda session: session.execute(delete(SeenHit)))
    await write(world, load(email_id))
    assert await world.count("opens:human") == 1


async def test_without_a_yes_nothing_is_recorded_where_one_is_required(world: World) -> None:
    email_id = await world.email(opens=Opens.INDIVIDUAL)
    await write(world, load(email_id))
    assert await opened(world) == []
    assert await world.count("opens:human") == 0


async def test_r6_consent_withdrawn_after_sending_means_nothing_is_recorded(world: World) -> None:
    email_id = await world.email(opens=Opens.INDIVIDUAL)
    await say(world, granted=True)
    await write(world, load(email_id))
    await say(world, granted=False)
    await write(world, load(email_id), load(email_id, MACHINE))
    assert len(await opened(world)) == 1
    assert await world.count("opens:machine") == 0


async def test_not_refused_asks_for_no_yes_and_takes_a_no(world: World) -> None:
    await world.database.run(lambda session: session.execute(update(Tenant).values(consent=ConsentRule.NOT_REFUSED)))
    ann, bob = await world.email(opens=Opens.INDIVIDUAL), await world.email(BOB, opens=Opens.INDIVIDUAL)
    await say(world, granted=False, to=BOB)
    await write(world, load(ann), load(bob))
    assert [event.email_id for event in await opened(world)] == [ann]


async def test_an_erased_person_is_not_recorded(world: World) -> None:
    email_id = await world.email(opens=Opens.INDIVIDUAL)
    await say(world, granted=True)
    await world.database.run(lambda session: session.execute(update(Email).values(address=None)))
    await write(world, load(email_id), load("em_" + "0" * 26))
    assert await opened(world) == []


async def test_a_mail_that_was_not_measured_individually_is_not_recorded(world: World) -> None:
    email_id = await world.email(opens=Opens.AGGREGATE)
    await say(world, granted=True)
    await write(world, load(email_id))
    assert await opened(world) == []


async def test_an_audience_counts_a_picture_once_a_class_and_names_nobody(world: World) -> None:
    await write(world, crowd(b"1" * 8, MACHINE), crowd(b"1" * 8), crowd(b"1" * 8), crowd(b"2" * 8))
    await write(world, crowd(b"1" * 8))
    for dimension in (("all", ""), ("topic", "newsletter"), ("template", "letter"), ("tag", "campaign=november")):
        assert await world.count("opens:human", *dimension) == 2
    assert await world.count("opens:machine") == 1
    assert await opened(world) == []
    marks = await world.database.read(lambda session: session.exec(select(col(SeenHit.mark))).all())
    assert all(b"1" * 8 not in mark for mark in marks)


async def test_a_tenant_that_is_gone_does_not_spoil_the_others(world: World) -> None:
    await write(world, crowd(b"1" * 8, audience=AUDIENCE._replace(tenant_id=99)), crowd(b"2" * 8))
    assert await world.count("opens:human") == 1


async def test_r6_4_the_buffer_is_bounded_and_counts_what_it_drops() -> None:
    hits = Hits(_nowhere, limit=3)
    assert [hits.add(crowd(bytes([number]))) for number in range(5)] == [True, True, True, False, False]
    assert (len(hits), hits.dropped) == (3, 2)


async def _nowhere(_sightings: Sequence[Sighting]) -> None:
    return


async def test_what_waits_is_written_in_bulk_and_at_the_stop() -> None:
    written: list[int] = []

    async def write(sightings: Sequence[Sighting]) -> None:
        written.append(len(sightings))

    hits = Hits(write, pause=30)
    hits.start()
    for number in range(1200):
        hits.add(crowd(number.to_bytes(8)))
    await hits.stop()
    assert written == [500, 500, 200]
    assert (len(hits), hits.dropped) == (0, 0)


async def test_while_the_database_is_away_hits_wait() -> None:
    away = True
    written: list[Sighting] = []

    async def write(sightings: Sequence[Sighting]) -> None:
        if away:
            raise OperationalError("INSERT", {}, Exception("away"))
        written.extend(sightings)

    hits = Hits(write, pause=30)
    expected = [crowd(b"1"), crowd(b"2")]
    for each in expected:
        hits.add(each)
    await hits.flush()
    assert len(hits) == 2
    away = False
    await hits.flush()
    assert written == expected


async def test_a_batch_that_cannot_be_written_is_dropped_and_the_writer_lives() -> None:
    calls = 0

    async def write(_sightings: Sequence[Sighting]) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ValueError("poison")

    hits = Hits(write)
    hits.add(crowd(b"1"))
    await hits.flush()
    hits.add(crowd(b"2"))
    await hits.flush()
    assert (calls, hits.dropped) == (2, 1)


async def test_recording_five_hundred_hits_is_a_handful_of_statements(world: World) -> None:
    email_ids = [await world.email(opens=Opens.INDIVIDUAL) for _ in range(20)]
    await say(world, granted=True)
    sightings = [load(email_id) for email_id in email_ids for _ in range(25)]

    def verb(session: Session) -> None:
        opens.record(session, sightings, NOON)

    await world.database.run(verb)
    assert len(await opened(world)) == 500
    assert await world.count("opens:human") == 20
