"""The client's half of SMTP, against a relay that keeps to it and one that does not."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import pytest

from mailer.compose.letter import Order, Recipient, Sender, Transactional
from mailer.compose.mailing import Mailing
from mailer.compose.skeleton import compile_content
from mailer.compose.templates import Parts, literal
from mailer.delivery import replies
from mailer.delivery import wire as wires
from mailer.delivery.envelope import Envelope, original_recipient
from mailer.delivery.offers import Offers
from mailer.delivery.relay import connect
from mailer.delivery.wire import Answer, Lost, Wire
from mailer.relays import Notify
from mailer.relays import Relay as Address
from suppression.rules import Stream
from tests import servers
from tests.servers import Relay, Stage

ENVELOPE = Envelope("us@x.example", "ann@example.org", 5, False)
MAIL = b"Subject: hi\r\n\r\nHello\r\n"
Open = Callable[..., Awaitable[Wire]]


class Deaf(asyncio.Transport):
    """A transport that takes everything and says nothing."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Drop it."""

    def is_closing(self) -> bool:
        """Never."""
        return False

    def abort(self) -> None:
        """Nothing is open."""


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Open connections that are closed after the test."""
    made: list[Wire] = []

    async def opening(relay: Relay, *, timeout: float = 600) -> Wire:
        address = Address(scheme="smtp", host="127.0.0.1", port=relay.port, starttls="off", timeout=timeout)
        made.append(await connect(address, "us.example", ssl.create_default_context()))
        return made[-1]

    yield opening
    for each in made:
        await each.quit()


async def send(wire: Wire, data: bytes = MAIL, envelope: Envelope = ENVELOPE) -> Answer:
    answer = await wire.offer(envelope)
    return await hand_over(wire, data) if answer.positive else answer


async def hand_over(wire: Wire, data: bytes) -> Answer:
    answer = await wire.data()
    return await wire.hand_over(data).dot if answer.code == 354 else answer


async def test_a_mail_arrives_as_it_was_handed_over(relay: Relay, opened: Open) -> None:
    wire = await opened(relay)
    assert await send(wire) == Answer(250, "2.0.0 taken")
    [mail] = relay.mails
    assert (mail.sender, mail.recipient, mail.data) == ("us@x.example", "ann@example.org", MAIL)


async def test_a_connection_carries_many_mails(relay: Relay, opened: Open) -> None:
    wire = await opened(relay)
    for place in range(50):
        assert (await send(wire, envelope=ENVELOPE._replace(recipient=f"u{place}@example.org"))).positive
    assert (wire.mails, relay.connections) == (50, 1)
    assert relay.recipients == [f"u{place}@example.org" for place in range(50)]


async def test_mail_and_rcpt_travel_together_where_the_relay_offers_it(relay: Relay, opened: Open) -> None:
    await send(await opened(relay))
    assert relay.together == 2


async def test_commands_wait_for_their_answers_where_it_does_not(opened: Open) -> None:
    async with servers.relay(("8BITMIME", "SIZE 1000")) as relay:
        assert (await send(await opened(relay))).positive
        assert relay.together == 1


@pytest.mark.parametrize("extensions", [("PIPELINING",), ()])
async def test_a_refused_sender_is_told_apart_from_a_refused_recipient(
    extensions: tuple[str, ...], opened: Open
) -> None:
    async with servers.relay(extensions) as relay:
        wire = await opened(relay)
        relay.at(Stage.MAIL, "550 no such sender", times=1)
        assert await wire.offer(ENVELOPE) == Answer(550, "no such sender", to_sender=True)
        await wire.reset()
        relay.at(Stage.RCPT, "550 no such user", times=1)
        assert await wire.offer(ENVELOPE) == Answer(550, "no such user")
        await wire.reset()
        assert (await send(wire)).positive


async def test_size_is_announced_only_where_it_is_understood(relay: Relay, opened: Open) -> None:
    await send(await opened(relay))
    assert relay.mails[0].options.strip() == "SIZE=5"
    async with servers.relay(()) as plain:
        await send(await opened(plain))
        assert plain.mails[0].options == ""


async def test_a_mail_that_is_larger_than_the_relay_takes_is_known_before_it_is_offered(opened: Open) -> None:
    async with servers.relay(("SIZE 100",)) as relay:
        wire = await opened(relay)
        assert wire.size_limit == 100
        assert replies.unfit(ENVELOPE._replace(size=101), wire.offers) is not None
        relay.at(Stage.MAIL, "552 5.3.4 too large")
        answer = await wire.offer(ENVELOPE._replace(size=101))
        assert replies.decide(answer, replies.Stage.SENDER).category == "too_large"


async def test_a_relay_that_offers_nothing_takes_mail_all_the_same(opened: Open) -> None:
    async with servers.relay(()) as relay:
        wire = await opened(relay)
        assert (wire.extensions, wire.size_limit) == (frozenset(), None)
        assert (await send(wire)).positive
        assert (relay.mails[0].options, relay.together) == ("", 1)


async def test_eight_bits_are_announced_only_where_they_are_understood(opened: Open) -> None:
    async with servers.relay(("SMTPUTF8",)) as relay:
        await send(await opened(relay), envelope=Envelope("us@x.example", "їжак@example.org", 5, True))
        assert relay.mails[0].options.strip() == "SMTPUTF8"


@pytest.mark.parametrize(
    ("announced", "limit"), [("1000", 1000), ("0", None), ("", None), ("many", None), ("²", None), ("9" * 5000, None)]
)
def test_the_largest_mail_is_what_ehlo_says(announced: str, limit: int | None) -> None:
    assert Offers.read({"SIZE": announced, "PIPELINING": ""}) == Offers(frozenset({"size", "pipelining"}), limit)


async def test_an_address_beyond_ascii_asks_for_smtputf8(relay: Relay, opened: Open) -> None:
    envelope = Envelope("us@x.example", "їжак@example.org", 5, True)
    await send(await opened(relay), envelope=envelope)
    assert relay.mails[0].recipient == "їжак@example.org"
    assert "SMTPUTF8 BODY=8BITMIME" in relay.mails[0].options


# --- reports (RFC 3461, RFC 6533)


@pytest.mark.parametrize(
    ("recipient", "written"),
    [
        ("ann@example.org", "rfc822;ann@example.org"),
        ("ann+a=b@example.org", "rfc822;ann+2Ba+3Db@example.org"),
        ('"a b"@example.org', 'rfc822;"a+20b"@example.org'),
        ("їжак+a@example.org", r"utf-8;\x{457}\x{436}\x{430}\x{43A}\x{2B}a@example.org"),
        ("a\\ї@example.org", r"utf-8;a\x{5C}\x{457}@example.org"),
    ],
    ids=["plain", "plus", "quoted", "beyond ascii", "backslash"],
)
def test_an_address_as_orcpt_says_it(recipient: str, written: str) -> None:
    assert original_recipient(recipient) == written


@pytest.mark.parametrize("lmtp", [False, True], ids=["smtp", "lmtp"])
@pytest.mark.parametrize("notify", ["failure", "success"])
async def test_reports_are_asked_for_where_the_relay_knows_them(notify: Notify, lmtp: bool) -> None:
    async with servers.relay(("PIPELINING", "DSN"), lmtp=lmtp) as relay:
        scheme = "lmtp" if lmtp else "smtp"
        at = Address(scheme=scheme, host="127.0.0.1", port=relay.port, starttls="off", notify=notify)
        wire = await connect(at, "us.example", ssl.create_default_context())
        assert (await send(wire, envelope=ENVELOPE._replace(envelope_id="a+1"))).positive
        assert (await send(wire)).positive
        await wire.quit()
    mail, rcpt, _data, *others = relay.commands[1:]
    when = {"failure": "FAILURE,DELAY", "success": "SUCCESS,FAILURE,DELAY"}[notify]
    assert mail == "MAIL FROM:<us@x.example> RET=HDRS ENVID=a+2B1"
    assert rcpt == f"RCPT TO:<ann@example.org> NOTIFY={when} ORCPT=rfc822;ann@example.org"
    # Reports of this one would come to nobody who reads them.
    assert others[:2] == ["MAIL FROM:<us@x.example>", "RCPT TO:<ann@example.org>"]


async def test_no_reports_are_asked_for_where_the_relay_does_not_know_them(relay: Relay, opened: Open) -> None:
    assert (await send(await opened(relay), envelope=ENVELOPE._replace(envelope_id="a1"))).positive
    assert not [line for line in relay.commands if "ENVID" in line or "NOTIFY" in line]


# --- replies, however they come


@pytest.fixture
async def said(opened: Open) -> Callable[[bytes, float], Awaitable[Answer]]:
    """Return what a client makes of bytes that come in pieces of one octet."""

    async def say(reply: bytes, pause: float) -> Answer:
        wire = Wire(Offers())
        wire.connection_made(Deaf())
        reading = wire.data()
        for octet in reply:
            wire.data_received(bytes([octet]))
            if pause:
                await asyncio.sleep(pause)
        assert reading.done()
        return await reading

    return say


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (b"250 ok\r\n", Answer(250, "ok")),
        (b"250\r\n", Answer(250, "")),
        (b"250 ok\n", Answer(250, "ok")),
        (b"250-first\r\n250-second\r\n250 third\r\n", Answer(250, "first\nsecond\nthird")),
        (b"550-5.1.1 no\r\n550-5.1.1\r\n550 5.1.1 gone\r\n", Answer(550, "5.1.1 no\n5.1.1\n5.1.1 gone")),
        (b"250 \xff\xfe\r\n", Answer(250, "\ufffd\ufffd")),
        (b"250 o\x00k\r\n", Answer(250, "ok")),
    ],
)
async def test_a_reply_is_whole_only_at_its_last_line(
    said: Callable[[bytes, float], Awaitable[Answer]], reply: bytes, answer: Answer
) -> None:
    assert await said(reply, 0) == answer


@pytest.mark.parametrize("reply", [b"hello\r\n", b"\r\n", b"2x0 ok\r\n", "²²² ok\r\n".encode(), b"x" * 70000])
async def test_what_is_not_smtp_ends_the_connection(reply: bytes) -> None:
    wire = Wire(Offers())
    wire.connection_made(Deaf())
    waiting = wire.data()
    wire.data_received(reply)
    assert wire.lost
    with pytest.raises(Lost):
        await waiting


async def test_replies_to_several_commands_in_one_packet_find_their_commands(relay: Relay, opened: Open) -> None:
    wire = Wire(Offers())
    wire.connection_made(Deaf())
    first, second = wire.data(), wire.data()
    wire.data_received(b"250-a\r\n250 b\r\n550 c\r\n")
    assert (await first, await second) == (Answer(250, "a\nb"), Answer(550, "c"))


# --- the mail itself


@pytest.mark.parametrize("end", ["\n.\n", "\n.\r\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\r\n.\r\n", "\r\n\x00.\r\n"])
async def test_smuggled_commands_stay_a_part_of_the_mail(relay: Relay, opened: Open, end: str) -> None:
    wire = await opened(relay)
    body = f"begin{end}MAIL FROM:<evil@x.example>\r\nRCPT TO:<v@x.example>\r\nDATA\r\nend\r\n"
    assert (await send(wire, composed(body))).positive
    assert (await send(wire)).positive
    assert relay.recipients == ["ann@example.org"] * 2
    raw = relay.mails[0].raw
    assert raw.count(b"\n") == raw.count(b"\r") == raw.count(b"\r\n")
    assert b"MAIL FROM:<evil@x.example>\r\n" in relay.mails[0].data


def composed(body: str) -> bytes:
    content = literal(Stream.TRANSACTIONAL, Parts("hi", None, body))
    mailing = Mailing(compile_content(content), Sender("us@x.example"), Transactional())
    order = Order(recipient=Recipient("ann@example.org"), message_id="a@x.example", dated_at=datetime.now(UTC))
    return mailing.compose(order).to_bytes()


async def test_a_mail_of_many_megabytes_does_not_overrun_a_slow_relay(relay: Relay, opened: Open) -> None:
    data = b"Subject: big\r\n\r\n" + (b"x" * 76 + b"\r\n") * 100_000
    assert (await send(await opened(relay), data)).positive
    assert relay.mails[0].data == data


# --- a relay that goes away


@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.DATA])
async def test_a_close_before_the_mail_is_no_doubt(relay: Relay, opened: Open, stage: Stage) -> None:
    wire = await opened(relay)
    relay.at(stage, close=True)
    with pytest.raises(Lost) as caught:
        await send(wire)
    assert not caught.value.in_doubt
    assert wire.lost
    assert relay.mails == []


@pytest.mark.parametrize("stage", [Stage.BODY, Stage.DOT])
async def test_a_close_after_the_mail_was_handed_over_is_a_doubt(relay: Relay, opened: Open, stage: Stage) -> None:
    wire = await opened(relay)
    relay.at(stage, close=True)
    with pytest.raises(Lost) as caught:
        await send(wire)
    assert caught.value.in_doubt


@pytest.mark.parametrize(
    ("stage", "timeout"),
    [
        (Stage.MAIL, "_COMMAND_TIMEOUT"),
        (Stage.RCPT, "_COMMAND_TIMEOUT"),
        (Stage.DATA, "_DATA_TIMEOUT"),
    ],
)
async def test_a_silence_ends_the_connection_after_its_time(
    relay: Relay, opened: Open, monkeypatch: pytest.MonkeyPatch, stage: Stage, timeout: str
) -> None:
    wire = await opened(relay)
    monkeypatch.setattr(wires, timeout, 0.05)
    relay.at(stage, hang=True)
    with pytest.raises(Lost, match="no answer within") as caught:
        await send(wire)
    assert not caught.value.in_doubt
    assert wire.lost


async def test_a_silence_after_the_final_dot_is_a_doubt(relay: Relay, opened: Open) -> None:
    wire = await opened(relay, timeout=0.05)
    relay.at(Stage.DOT, hang=True)
    with pytest.raises(Lost, match="no answer within") as caught:
        await send(wire)
    assert caught.value.in_doubt
    assert wire.lost


def test_the_waits_are_those_of_the_standard() -> None:
    # RFC 5321 section 4.5.3.2
    assert (wires._COMMAND_TIMEOUT, wires._DATA_TIMEOUT, wires._FINAL_DOT_TIMEOUT) == (300, 120, 600)


async def test_nothing_can_be_sent_after_the_end(relay: Relay, opened: Open) -> None:
    wire = await opened(relay)
    relay.at(Stage.DOT, close=True)
    with pytest.raises(Lost):
        await send(wire)
    for act in (wire.offer(ENVELOPE), hand_over(wire, MAIL), wire.reset()):
        with pytest.raises(Lost):
            await act
    await wire.quit()


async def test_a_goodbye_that_nobody_asked_for_ends_the_connection(relay: Relay, opened: Open) -> None:
    wire = await opened(relay)
    wire.data_received(b"421 4.4.2 idle for too long\r\n")
    assert wire.lost == "the relay ended the session (421)"
    with pytest.raises(Lost):
        await wire.offer(ENVELOPE)


async def test_a_silent_close_between_mails_is_noticed(relay: Relay, opened: Open) -> None:
    wire = await opened(relay)
    relay.at(Stage.BETWEEN, times=1)
    assert (await send(wire)).positive
    for _ in range(100):
        if wire.lost:
            break
        await asyncio.sleep(0.01)
    assert wire.lost


async def test_a_cancelled_command_never_lends_its_answer_to_the_next(relay: Relay, opened: Open) -> None:
    wire = await opened(relay)
    relay.at(Stage.MAIL, "550 5.1.8 not you", wait=0.05, times=1)
    wire.offer(ENVELOPE).cancel()
    await wire.reset()
    assert (await send(wire)).positive


async def test_the_next_mail_is_offered_behind_the_last_dot(relay: Relay, opened: Open) -> None:
    wire = await opened(relay)
    assert (await wire.offer(ENVELOPE)).positive
    assert (await wire.data()).code == 354
    handed = wire.hand_over(MAIL, ENVELOPE._replace(recipient="ben@example.org"))
    assert (await handed.dot).positive
    assert handed.offered is not None
    assert (await handed.offered).positive
    assert (await hand_over(wire, MAIL)).positive
    assert relay.recipients == ["ann@example.org", "ben@example.org"]


async def test_what_is_refused_at_data_or_after_the_dot_is_no_loss(relay: Relay, opened: Open) -> None:
    wire = await opened(relay)
    relay.at(Stage.DATA, "451 4.3.0 later", times=1)
    assert await send(wire) == Answer(451, "4.3.0 later")
    await wire.reset()
    relay.at(Stage.DOT, "554 5.7.1 spam", times=1)
    assert await send(wire) == Answer(554, "5.7.1 spam")
    assert (await send(wire)).positive


async def test_a_relay_that_says_250_to_data_is_not_believed(relay: Relay, opened: Open) -> None:
    wire = await opened(relay)
    relay.at(Stage.DATA, "250 thanks", times=1)
    assert (await send(wire)).code == 250
    assert relay.mails == []


async def test_goodbye_is_said_and_never_raises(relay: Relay, opened: Open) -> None:
    wire = await opened(relay)
    await wire.quit()
    await wire.quit()
    assert relay.commands[-1] == "QUIT"
