"""Relays that refuse, hang, drop, dawdle, close, greylist, complain or know little: both streams stay honest."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlmodel import select

from mailer import halts
from mailer.database import Database
from mailer.delivery import limits, wire
from mailer.delivery.offers import Offers
from mailer.delivery.wire import Wire
from mailer.relays import parse_relay
from mailer.status import Status
from suppression.entries import Entry
from suppression.rules import Stream
from tests import servers
from tests.delivery import mails, trouble
from tests.delivery.mails import Letters, P, T
from tests.delivery.trouble import add, deliver, rows, to, worker
from tests.servers import Certificate, Redis, Relay, Stage

BOTH = pytest.mark.parametrize("stream", [T, P])
#: Where both streams do alike, the one that it happens to most.
CAMPAIGNS, RESETS = (pytest.mark.parametrize("stream", [stream]) for stream in (P, T))
SENT = Status.SENT


@pytest.fixture
async def store(redis: Redis) -> AsyncIterator[limits.Store]:
    """The limits that workers share, with Gmail's minutes as seconds."""
    made = limits.RedisStore(redis.url, trouble.FAST)
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Relays rest a tenth of a second."""
    monkeypatch.setattr(halts, "WAITS", (timedelta(seconds=0.1),))


async def nothing_but(database: Database, relay: Relay, number: int) -> None:
    """Everybody got the mail once, and the sums say so."""
    assert await database.read(mails.statuses) == {SENT: number}
    assert len(set(relay.recipients)) == len(relay.recipients) == number
    assert (await database.read(mails.sums))["sent"] == number
    assert await database.read(lambda session: session.exec(select(Entry)).all()) == []


# --- before a mail is offered


@BOTH
async def test_a_relay_that_refuses_connections_costs_no_try(
    postgresql: Database, relay: Relay, store: limits.Store, stream: Stream
) -> None:
    await add(postgresql, 40, stream)
    await relay.stop()
    async with worker(postgresql, stream, [to(relay)], store) as ours:
        await ours.ring()
        assert ours.trouble == f"smtp://127.0.0.1:{relay.port}: it cannot be reached"
        assert {(email.status, email.attempts) for email in await rows(postgresql)} == {(Status.QUEUED, 0)}
        await relay.start()
        await deliver(ours, until=lambda found: found == {SENT: 40})
    await nothing_but(postgresql, relay, 40)


@pytest.mark.parametrize(
    ("stage", "stream"),
    [(Stage.GREETING, T), (Stage.EHLO, P), (Stage.STARTTLS, T), (Stage.HANDSHAKE, P), (Stage.AUTH, T)],
)
async def test_a_relay_that_hangs_before_the_first_mail_costs_no_try(
    postgresql: Database, store: limits.Store, certificate: Certificate, stage: Stage, stream: Stream
) -> None:
    await add(postgresql, 20, stream)
    tls = certificate.served() if stage in (Stage.STARTTLS, Stage.HANDSHAKE) else None
    extensions = ("PIPELINING", "AUTH PLAIN")
    async with servers.relay(extensions, tls=tls, passwords={"us": "secret"}) as relay:
        relay.at(stage, hang=True)
        options = "verify=no&connections=4" if tls else "starttls=off&connections=4"
        async with worker(postgresql, stream, [to(relay, options, who="us:secret@")], store, step=0.2) as ours:
            async with asyncio.timeout(5):
                await ours.ring()
            assert ours.trouble == f"smtp://127.0.0.1:{relay.port}: it did not answer in time"
            assert {(email.status, email.attempts) for email in await rows(postgresql)} == {(Status.QUEUED, 0)}
            relay.behave()
            await deliver(ours, until=lambda found: found == {SENT: 20})
        await nothing_but(postgresql, relay, 20)


async def test_a_relay_that_hangs_is_probed_by_one_connection_of_all_workers(
    postgresql: Database, relay: Relay, store: limits.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halts, "PROBE", timedelta(seconds=0.5))
    await add(postgresql, 20, T)
    await relay.stop()
    async with (
        worker(postgresql, T, [to(relay)], store) as one,
        worker(postgresql, T, [to(relay)], store) as two,
    ):
        await one.ring()
        await two.connections.breaker.look()
        relay.at(Stage.GREETING, hang=True)
        await relay.start()
        probing = asyncio.create_task(deliver(one, two, until=lambda found: found == {SENT: 20}))
        while relay.connections < 4:
            await asyncio.sleep(0.01)
        assert relay.peak == 1
        relay.behave()
        await probing
    await nothing_but(postgresql, relay, 20)


@BOTH
@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.DATA])
async def test_a_relay_that_hangs_before_the_mail_is_handed_over_costs_a_try_and_no_doubt(
    postgresql: Database,
    relay: Relay,
    store: limits.Store,
    stage: Stage,
    stream: Stream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "_COMMAND_TIMEOUT", 0.3)
    monkeypatch.setattr(wire, "_DATA_TIMEOUT", 0.3)
    await add(postgresql, 20, stream)
    relay.at(stage, hang=True, times=4)
    async with worker(postgresql, stream, [to(relay)], store) as ours:
        await deliver(ours, until=lambda found: set(found) == {SENT, Status.DEFERRED})
        relay.behave()
        await postgresql.run(mails.make_due)
        await deliver(ours, until=lambda found: found == {SENT: 20})
    await nothing_but(postgresql, relay, 20)
    assert not any(email.maybe_duplicate for email in await rows(postgresql))


# --- around the dot


@BOTH
@pytest.mark.parametrize("took", [True, False])
async def test_a_relay_that_hangs_after_the_dot_leaves_doubt_that_each_stream_settles_its_way(
    postgresql: Database, relay: Relay, store: limits.Store, took: bool, stream: Stream
) -> None:
    await add(postgresql, 20, stream)
    relay.at(Stage.DOT, hang=True, times=4, takes=took)
    async with worker(postgresql, stream, [to(relay, "starttls=off&connections=4&timeout=1")], store) as ours:
        waits = Status.UNCERTAIN if stream is P else Status.DEFERRED
        await deliver(ours, until=lambda found: found == {SENT: 16, waits: 4})
        await postgresql.run(mails.make_due)
        ends = {SENT: 16, Status.UNCERTAIN: 4} if stream is P else {SENT: 20}
        await deliver(ours, until=lambda found: found == ends)
    copies = Counter(relay.recipients)
    assert len(copies) == (20 if took or stream is T else 16)
    assert copies.total() == (24 if took and stream is T else len(copies))
    assert len({(mail.recipient, mail.data) for mail in relay.mails}) == len(copies), "a copy has other bytes"


@BOTH
async def test_a_relay_that_drops_in_the_middle_of_the_mail_leaves_doubt_that_each_stream_settles_its_way(
    postgresql: Database, relay: Relay, store: limits.Store, stream: Stream
) -> None:
    await add(postgresql, 20, stream)
    relay.at(Stage.BODY, times=3)
    async with worker(postgresql, stream, [to(relay)], store, letters=Letters(body=b"x" * 60 + b"\r\n")) as ours:
        waits = Status.UNCERTAIN if stream is P else Status.DEFERRED
        await deliver(ours, until=lambda found: found == {SENT: 17, waits: 3})
        await postgresql.run(mails.make_due)
        ends = {SENT: 17, Status.UNCERTAIN: 3} if stream is P else {SENT: 20}
        await deliver(ours, until=lambda found: found == ends)
    assert len(relay.recipients) == len(set(relay.recipients)) == ends[SENT]


@BOTH
async def test_a_relay_that_answers_the_dot_after_a_long_time_gets_one_copy(
    postgresql: Database, relay: Relay, store: limits.Store, stream: Stream
) -> None:
    usual = parse_relay("smtp://relay.example", "MAILER_PROMOTIONAL_RELAY")
    assert usual.timeout == 600, "an answer after 61 s is far from late"
    assert Wire(Offers())._dot_timeout == 600
    await add(postgresql, 12, stream)
    # A tenth of the time that it has, as 61 s are of 600 s; longer than anybody else waits here.
    relay.at(Stage.DOT, wait=1.2, times=4)
    async with worker(postgresql, stream, [to(relay, "starttls=off&connections=4&timeout=12")], store) as ours:
        await deliver(ours, until=lambda found: found == {SENT: 12})
    await nothing_but(postgresql, relay, 12)
    assert not any(email.maybe_duplicate for email in await rows(postgresql))


@CAMPAIGNS
async def test_a_relay_that_closes_silently_after_some_mails_gets_the_rest_over_new_connections(
    postgresql: Database, relay: Relay, store: limits.Store, stream: Stream
) -> None:
    await add(postgresql, 200, stream)
    relay.mails_a_connection = 7
    relay.at(Stage.DOT, wait=0.002)
    async with worker(postgresql, stream, [to(relay)], store) as ours:
        await deliver(ours, until=lambda found: found == {SENT: 200})
    assert relay.together >= 2, "the next mail rode ahead"
    assert relay.connections >= 200 // 7
    await nothing_but(postgresql, relay, 200)
    assert await postgresql.read(mails.sums) == {"sent": 200}, "no refusal was counted"


@BOTH
async def test_a_reply_with_a_nul_leaves_no_doubt(
    postgresql: Database, relay: Relay, store: limits.Store, stream: Stream
) -> None:
    """PostgreSQL keeps no NUL in a text: an outcome that holds one could not be written at all."""
    await add(postgresql, 20, stream)
    relay.at(Stage.DOT, "250 2.0.0 queued as \0\0AB", takes=True)
    async with worker(postgresql, stream, [to(relay)], store) as ours:
        await deliver(ours, until=lambda found: found == {SENT: 20})
    await nothing_but(postgresql, relay, 20)
    assert {email.reply for email in await rows(postgresql)} == {"250 2.0.0 queued as AB"}


# --- 4xx


@CAMPAIGNS
async def test_a_relay_that_greylists_gets_every_mail_at_the_second_try(
    postgresql: Database, relay: Relay, store: limits.Store, stream: Stream
) -> None:
    await add(postgresql, 60, stream)
    relay.at(Stage.RCPT, "450 4.2.0 Greylisted, see http://postgrey.example/help", times=60)
    async with worker(postgresql, stream, [to(relay)], store) as ours:
        await deliver(ours, until=lambda found: found == {Status.DEFERRED: 60})
        assert relay.mails == []
        await ours.ring()
        assert {email.attempts for email in await rows(postgresql)} == {1}, "not before its time"
        await postgresql.run(mails.make_due)
        await deliver(ours, until=lambda found: found == {SENT: 60})
    await nothing_but(postgresql, relay, 60)
    assert await postgresql.read(mails.sums) == {"deferred": 60, "sent": 60}


@CAMPAIGNS
async def test_gmails_421_4_7_28_pauses_gmail_on_every_worker_and_nobody_else(
    postgresql: Database, relay: Relay, store: limits.Store, redis: Redis, stream: Stream
) -> None:
    gmail = await add(postgresql, 60, stream, prefix="gmail", urgency=1)
    await postgresql.run(lambda session: mails.move(session, gmail, provider="gmail"))
    await add(postgresql, 120, stream, prefix="other")
    relay.at(Stage.RCPT, "421 4.7.28 Our system has detected an unusual rate of mail", close=True, to="gmail")
    second = limits.RedisStore(redis.url, trouble.FAST._replace(pause=1.5))
    first = limits.RedisStore(redis.url, trouble.FAST._replace(pause=1.5))
    async with (
        worker(postgresql, stream, [to(relay)], first) as one,
        worker(postgresql, stream, [to(relay)], second) as two,
    ):
        # Every domain but Gmail's goes on meanwhile.
        await deliver(one, two, until=lambda found: found.get(SENT) == 120)
        asked = sum(line.startswith("RCPT TO:<gmail") for line in relay.commands)
        assert asked <= 2 * 4, "more than what was in flight was offered after the complaint"
        assert all(not recipient.startswith("gmail") for recipient in relay.recipients)
        assert (await postgresql.read(mails.statuses)).get(Status.BOUNCED) is None
        assert await postgresql.read(lambda session: session.exec(select(Entry)).all()) == []
        relay.behave()
        await postgresql.run(mails.make_due)
        await deliver(one, two, until=lambda found: found == {SENT: 180})
    await first.close()
    await second.close()
    await nothing_but(postgresql, relay, 180)


# --- a relay that knows little


_KNOWN = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 20000")
#: Nothing, all but one each, and what is usual in pairs.
_SETS = (
    (),
    _KNOWN[:1],
    _KNOWN[:2],
    _KNOWN[2:],
    _KNOWN[1:],
    (_KNOWN[0], *_KNOWN[2:]),
    (*_KNOWN[:2], _KNOWN[3]),
    _KNOWN[:3],
)


@pytest.mark.parametrize("extensions", _SETS, ids=lambda names: "+".join(names).replace(" ", "=") or "none")
async def test_a_relay_that_knows_little_is_asked_for_no_more(
    postgresql: Database, store: limits.Store, extensions: tuple[str, ...]
) -> None:
    await add(postgresql, 12, P)
    await add(postgresql, 12, T)
    utf8, large = Letters(), Letters(body=b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 300)
    utf8.smtputf8 = True
    async with servers.relay(extensions) as relay:
        relays = [to(relay)]
        async with worker(postgresql, P, relays, store) as ours, worker(postgresql, T, relays, store) as theirs:
            await deliver(ours, theirs, until=lambda found: found == {SENT: 24})
        await nothing_but(postgresql, relay, 24)
        names = {name.split()[0] for name in extensions}
        assert ("SIZE=" in relay.mails[0].options) == ("SIZE" in names)
        assert "BODY" not in relay.mails[0].options, "composed mail has seven bits"
        assert (relay.together > 1) == ("PIPELINING" in names)
        # What such a relay cannot take is not offered, and says so.
        await add(postgresql, 1, T, prefix="utf8")
        async with worker(postgresql, T, relays, store, letters=utf8) as ours:
            await deliver(ours, until=lambda found: found.get(SENT, 0) + found.get(Status.FAILED, 0) == 25)
        await add(postgresql, 1, T, prefix="large")
        async with worker(postgresql, T, relays, store, letters=large) as ours:
            await deliver(ours, until=lambda found: found.get(SENT, 0) + found.get(Status.FAILED, 0) == 26)
        [special], [big] = await rows(postgresql, "utf8"), await rows(postgresql, "large")
        assert special.status is (SENT if "SMTPUTF8" in names else Status.FAILED)
        assert big.status is (Status.FAILED if "SIZE" in names else SENT)
        if "SMTPUTF8" in names:
            [taken] = [mail for mail in relay.mails if mail.recipient.startswith("utf8")]
            assert taken.options.split()[-1] == ("BODY=8BITMIME" if "8BITMIME" in names else "SMTPUTF8")


# --- several relays


@CAMPAIGNS
async def test_a_relay_that_dies_leaves_its_mail_to_the_other(
    postgresql: Database, relay: Relay, store: limits.Store, stream: Stream
) -> None:
    async with servers.relay() as other:
        relay.at(Stage.DOT, wait=0.005)
        other.at(Stage.DOT, wait=0.005)
        await add(postgresql, 240, stream)
        heavy = to(relay, "starttls=off&connections=6&weight=3")
        light = to(other, "starttls=off&connections=2&weight=1")
        async with worker(postgresql, stream, [heavy, light], store) as ours:
            running = asyncio.create_task(ours.ring())
            while len(relay.mails) < 80:
                await asyncio.sleep(0.005)
            assert 80 / 6 < len(other.mails) < 80 / 1.5, "three mails to one"
            await relay.stop()
            await running
            waits = {SENT, Status.UNCERTAIN, Status.DEFERRED}
            await deliver(ours, until=lambda found: set(found) <= waits)
            await postgresql.run(mails.make_due)
            await deliver(ours, until=lambda found: set(found) <= {SENT, Status.UNCERTAIN})
        found = await postgresql.read(mails.statuses)
        copies = Counter(relay.recipients + other.recipients)
        uncertain = found.get(Status.UNCERTAIN, 0)
        assert sum(found.values()) == 240
        assert uncertain <= (6 if stream is P else 0)
        assert len(copies) >= 240 - uncertain
        assert copies.total() - len(copies) <= (0 if stream is P else 6)
        assert len(relay.mails) < 180 < len(relay.mails) + len(other.mails) + 6


@CAMPAIGNS
async def test_a_spare_relay_is_used_only_while_the_others_are_away(
    postgresql: Database, relay: Relay, store: limits.Store, stream: Stream
) -> None:
    async with servers.relay() as spare:
        relays = [to(relay), to(spare, "starttls=off&connections=4&weight=0")]
        await add(postgresql, 40, stream, prefix="first")
        async with worker(postgresql, stream, relays, store) as ours:
            await deliver(ours, until=lambda found: found == {SENT: 40})
            assert (len(relay.mails), spare.connections) == (40, 0)
            await relay.stop()
            await add(postgresql, 40, stream, prefix="second")
            await deliver(ours, until=lambda found: found.get(SENT) == 80)
            assert len(spare.mails) == 40
            await relay.start()
            await asyncio.sleep(0.15)
            await add(postgresql, 80, stream, prefix="third")
            await deliver(ours, until=lambda found: found.get(SENT) == 160)
            await add(postgresql, 40, stream, prefix="fourth")
            before = len(spare.mails)
            await deliver(ours, until=lambda found: found == {SENT: 200})
            assert len(spare.mails) == before, "the first one is back"
        assert len(relay.recipients) + len(spare.recipients) == 200


@RESETS
async def test_a_single_mail_does_not_wait_for_a_relay_that_hangs_while_another_one_works(
    postgresql: Database, relay: Relay, store: limits.Store, stream: Stream
) -> None:
    relay.at(Stage.GREETING, hang=True)
    async with servers.relay() as other:
        await add(postgresql, 1, stream)
        async with worker(postgresql, stream, [to(relay), to(other)], store) as ours:
            # A step may take 60 s; a password reset must not.
            await deliver(ours, seconds=3, until=lambda found: found == {SENT: 1})
        assert (relay.connections, len(other.mails)) == (1, 1)


async def test_a_stop_does_not_wait_for_a_relay_that_hangs_and_gives_the_mail_back(
    postgresql: Database, relay: Relay, store: limits.Store
) -> None:
    relay.at(Stage.GREETING, hang=True)
    await add(postgresql, 20, T)
    async with worker(postgresql, T, [to(relay)], store) as ours:
        running = asyncio.create_task(ours.ring())
        while relay.open < 4:
            await asyncio.sleep(0.01)
        async with asyncio.timeout(3):
            await ours.stop()
            await running
    assert {(email.status, email.attempts) for email in await rows(postgresql)} == {(Status.QUEUED, 0)}
