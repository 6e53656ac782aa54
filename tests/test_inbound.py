"""Opt-outs by mail: the token in the local part says all (R1.13), and nobody else is received."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiosmtplib
import pytest
from sqlmodel import select

from mailer import postmaster
from mailer.database import Database
from mailer.errors import ConfigurationError, NotFound
from mailer.feedback import inbound
from mailer.feedback.inbound import Mail, Mailroom, Receipt
from mailer.feedback.optouts import How
from mailer.service import Service
from mailer.settings import Settings
from mailer.smtpd import network_of
from suppression import entries
from suppression.entries import Entry, Question
from suppression.rules import Stream
from suppression.token import OptOut, Purpose, Ring, sign_mailto
from tests.servers import free_port

PERSON = OptOut(1, bytes(range(16)), Stream.PROMOTIONAL)
DOMAIN = "b.example.org"
RING = Ring("k1:" + "s" * 32)
#: As Apple Mail does: an empty subject, and a body that says nothing.
MAIL = b"From: Ann <ann@example.org>\r\nMessage-ID: <1@example.org>\r\nSubject: \r\n\r\n.\r\n"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    settings = Settings(data_dir=str(tmp_path), return_path_domain=DOMAIN, inbound_listen=f"127.0.0.1:{free_port()}")
    service = Service.build(settings)
    await service.prepare()
    await service.start(inlet=True)
    yield service
    await service.stop()


async def post(service: Service, address: str, mail: bytes = MAIL) -> None:
    host, port = service.settings.inbound_address
    async with aiosmtplib.SMTP(hostname=host, port=port, start_tls=False) as client:
        await client.sendmail("ann@example.org", [address], mail)


async def left(service: Service) -> bool:
    question = Question(PERSON.fingerprint, Stream.PROMOTIONAL)
    return await service.database.read(lambda session: entries.check(session, 1, question, service.now())) is not None


async def test_a_mail_to_the_link_opts_out_before_its_250(service: Service) -> None:
    mailto = service.links.ways_out(PERSON).mailto
    assert mailto is not None
    address = mailto.removeprefix("mailto:")
    assert len(address.partition("@")[0]) <= 64
    # Mail servers may change the case of a local part.
    await post(service, address.upper())
    assert await left(service)
    entry = await service.database.read(lambda session: session.exec(select(Entry)).one())
    shown = {"channel": "mailto", "message_id": "<1@example.org>", "from_domain": "example.org"}
    assert shown.items() <= (entry.evidence or {}).items()
    assert "ann@" not in str(entry.evidence)


@pytest.mark.parametrize("damage", ["forged", "truncated", "elsewhere", "other purpose", "stranger", "relay"])
async def test_whoever_is_not_ours_is_refused_at_rcpt(service: Service, damage: str) -> None:
    local = str(service.links.ways_out(PERSON).mailto).removeprefix("mailto:").partition("@")[0]
    forged = local[:-1] + ("a" if local[-1] != "a" else "b")
    ring = service.links.ring
    address = {
        "forged": f"{forged}@{DOMAIN}",
        "truncated": f"{local[:-1]}@{DOMAIN}",
        "elsewhere": f"{local}@other.example",
        "other purpose": f"u-{ring.sign_short(Purpose.RETURN_PATH, [bytes(17)])[0]}@{DOMAIN}",
        "stranger": f"somebody@{DOMAIN}",
        "relay": f"ann%other.example@{DOMAIN}",
    }[damage]
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
        await post(service, address)
    assert refused.value.recipients[0].code == 550
    assert not await left(service)


@pytest.mark.parametrize(
    "mail",
    [
        b"",
        b"\xff\x00 no header at all\r\n",
        b"From: =?broken?=\r\nMessage-ID: \x00\x01\r\n\r\n",
        b"Subject: long\r\n\r\n" + b"x" * 300_000 + b"\r\n",
        b"Subject: large\r\n\r\n" + (b"y" * 900 + b"\r\n") * 12_000,
    ],
    ids=["empty", "garbage", "broken headers", "long line", "10 MB"],
)
async def test_whatever_the_mail_says_it_opts_out(service: Service, mail: bytes) -> None:
    await post(service, str(service.links.ways_out(PERSON).mailto).removeprefix("mailto:"), mail)
    assert await left(service)


@dataclass
class Desk:
    """Receives mail as a test tells it to."""

    left: list[tuple[OptOut, How]] = field(default_factory=list)
    mails: list[Mail] = field(default_factory=list)
    fails_for: bytes = b""

    async def leave(self, opt_out: OptOut, how: How) -> None:
        if opt_out.fingerprint == self.fails_for:
            raise ConnectionError("away")
        self.left.append((opt_out, how))

    def bounces(self, local: str) -> Receipt | None:
        """Read what another kind of mail is for."""
        return self._bounce if local.startswith("b-") else None

    async def _bounce(self, mail: Mail) -> str:
        self.mails.append(mail)
        return "250 2.0.0 Noted"


@asynccontextmanager
async def listening(desk: Desk, *, lmtp: bool = False) -> AsyncIterator[int]:
    room = Mailroom([inbound.opt_outs(RING, desk.leave), desk.bounces], DOMAIN)
    server = inbound.listener(room, ("127.0.0.1", 0), lmtp=lmtp)
    port = await server.start()
    try:
        yield port
    finally:
        await server.stop()


async def talk(port: int, *said: str, replies: Callable[[str], int] | None = None) -> list[str]:
    """Say each line and return the replies, whole; `replies` says how many answer a line."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heard = [await _reply(reader)]
    for each in said:
        writer.write(each.encode() + b"\r\n")
        heard += [await _reply(reader) for _ in range(replies(each) if replies else 1)]
    writer.close()
    await writer.wait_closed()
    return heard


async def _reply(reader: asyncio.StreamReader) -> str:
    async with asyncio.timeout(10):
        while (line := (await reader.readline()).decode())[3:4] == "-":
            pass
    return line.strip()


def person(number: int) -> OptOut:
    return OptOut(1, bytes([number]) * 16, Stream.PROMOTIONAL)


def mailbox(number: int) -> str:
    return f"{sign_mailto(RING, person(number))}@{DOMAIN}"


async def test_lmtp_answers_for_each_recipient() -> None:
    desk = Desk(fails_for=person(2).fingerprint)
    async with listening(desk, lmtp=True) as port:
        heard = await talk(
            port,
            "EHLO mx.example.org",
            "LHLO mx.example.org",
            "MAIL FROM:<ann@example.org>",
            *(f"RCPT TO:<{mailbox(number)}>" for number in (1, 2, 3)),
            f"RCPT TO:<nobody@{DOMAIN}>",
            "DATA",
            "Subject: x\r\n\r\n..dot\r\n.",
            "QUIT",
            replies=lambda line: 3 if line.endswith("\r\n.") else 1,
        )
    codes = [each[:3] for each in heard]
    assert codes == ["220", "500", "250", "250", "250", "250", "250", "550", "354", "250", "451", "250", "221"]
    assert [opt_out for opt_out, _ in desk.left] == [person(1), person(3)]


async def test_smtp_has_the_whole_mail_come_again_where_a_part_failed() -> None:
    desk = Desk(fails_for=person(2).fingerprint)
    async with listening(desk) as port, aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as client:
        with pytest.raises(aiosmtplib.SMTPDataError) as later:
            await client.sendmail("ann@example.org", [mailbox(1), mailbox(2), mailbox(3)], MAIL)
        assert later.value.code == 451
        desk.fails_for = b""
        await client.sendmail("ann@example.org", [mailbox(2)], MAIL)
    assert [opt_out for opt_out, _ in desk.left] == [person(1), person(3), person(2)]


async def test_other_readers_get_the_beginning_of_their_mail() -> None:
    desk = Desk()
    mail = b"Subject: report\r\n\r\n.dot\r\n" + (b"z" * 998 + b"\r\n") * 3000
    async with listening(desk) as port, aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as client:
        await client.sendmail("mx@example.org", [f"b-1@{DOMAIN}"], mail)
    (arrived,) = desk.mails
    assert arrived.raw == mail[: 1024 * 1024]
    assert not desk.left


async def test_who_guesses_addresses_is_sent_away() -> None:
    async with listening(Desk()) as port:
        guesses = [f"RCPT TO:<guess{number}@{DOMAIN}>" for number in range(20)]
        heard = await talk(port, "EHLO x.example", "MAIL FROM:<>", *guesses)
    assert {each[:3] for each in heard[3:-1]} == {"550"}
    assert heard[-1].startswith("421")


async def test_one_connection_too_many_is_told_to_come_later() -> None:
    async with listening(Desk()) as port:
        # Of ten networks: all of 127.0.0.0/8 is this machine.
        open_ones = [
            await asyncio.open_connection("127.0.0.1", port, local_addr=(f"127.0.0.{2 + number // 10}", 0))
            for number in range(100)
        ]
        for reader, _ in open_ones:
            assert (await _reply(reader)).startswith("220")
        assert (await talk(port))[0].startswith("421")
        for _, writer in open_ones:
            writer.close()


@pytest.mark.parametrize(
    ("written", "address", "lmtp"),
    [
        ("0.0.0.0:25", ("0.0.0.0", 25), False),
        ("smtp://127.0.0.1:2525", ("127.0.0.1", 2525), False),
        ("lmtp://127.0.0.1:2424", ("127.0.0.1", 2424), True),
        ("lmtp://[::1]:24", ("::1", 24), True),
    ],
)
def test_where_it_listens(written: str, address: tuple[str, int], lmtp: bool) -> None:
    settings = Settings(inbound_listen=written)
    assert (settings.inbound_address, settings.inbound_lmtp) == (address, lmtp)


@pytest.mark.parametrize("written", ["25", "127.0.0.1", "http://127.0.0.1:25", "127.0.0.1:70000", "lmtp://:24"])
def test_where_it_cannot_listen(written: str) -> None:
    with pytest.raises(ConfigurationError, match="MAILER_INBOUND_LISTEN"):
        _ = Settings(inbound_listen=written).inbound_address


async def test_one_network_takes_a_part_of_the_connections_only() -> None:
    async with listening(Desk()) as port:
        open_ones = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        for reader, _ in open_ones:
            assert (await _reply(reader)).startswith("220")
        assert (await talk(port))[0].startswith("421")
        elsewhere, other = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
        assert (await _reply(elsewhere)).startswith("220")
        other.close()
        open_ones[0][1].close()
        await open_ones[0][1].wait_closed()
        async with asyncio.timeout(10):
            while (await talk(port))[0].startswith("421"):
                await asyncio.sleep(0.05)
        for _, writer in open_ones:
            writer.close()


async def test_our_own_mail_server_may_have_them_all() -> None:
    async with listening(Desk(), lmtp=True) as port:
        open_ones = [await asyncio.open_connection("127.0.0.1", port) for _ in range(30)]
        for reader, _ in open_ones:
            assert (await _reply(reader)).startswith("220")
        for _, writer in open_ones:
            writer.close()


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        (("192.0.2.7", 4711), "192.0.2.7"),
        (("2001:db8::1:2:3:4", 4711, 0, 0), "2001:db8::/64"),
        (("::ffff:192.0.2.7", 4711, 0, 0), "192.0.2.7"),
        (("fe80::1%eth0", 4711, 0, 2), "fe80::/64"),
        ("/run/socket", ""),
    ],
    ids=["IPv4", "IPv6", "mapped", "zone", "unix"],
)
def test_what_of_an_address_is_one_senders(peer: object, network: str) -> None:
    assert network_of(peer) == network


@pytest.mark.parametrize("to", [f"Postmaster@{DOMAIN}", "postmaster"], ids=["domain", "bare"])
async def test_mail_to_the_postmaster_is_kept_for_operators(service: Service, to: str) -> None:
    mail = b"From: Mo <mo@isp.example>\r\nSubject: =?utf-8?q?Ihre_gro=C3=9Fe_Post?=\r\n\r\nPlease call.\r\n"
    heard = await talk(
        service.settings.inbound_address[1],
        "EHLO isp.example",
        "MAIL FROM:<mo@isp.example>",
        f"RCPT TO:<{to}>",
        "DATA",
        mail.decode() + ".",
        "QUIT",
    )
    assert [each[:3] for each in heard] == ["220", "250", "250", "250", "354", "250", "221"]
    [kept] = await service.database.read(lambda session: postmaster.listing(session, 10))
    assert (kept.sender, kept.subject) == ("mo@isp.example", "Ihre große Post")
    assert await service.database.read(lambda session: postmaster.read(session, kept.id)) == mail


async def test_mail_to_the_postmaster_is_kept_for_a_while_and_never_too_much(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postmaster, "MOST", 3)
    now = datetime(2027, 3, 1, tzinfo=UTC)
    kept = [
        await database.run(
            lambda session, day=day: postmaster.keep(  # type: ignore[misc]
                session, "x\n@example.org", b"Subject: \xff\r\n\r\n" + b"z" * 300_000, now + timedelta(days=day)
            )
        )
        for day in range(5)
    ]
    found = await database.read(lambda session: postmaster.listing(session, 10))
    assert [each.id for each in found] == kept[:1:-1]
    assert found[0].sender == "x?@example.org"
    assert len(await database.read(lambda session: postmaster.read(session, kept[4]))) == postmaster.LARGEST
    await database.run(lambda session: postmaster.forget(session, now + timedelta(days=33, hours=1)))
    assert [each.id for each in await database.read(lambda session: postmaster.listing(session, 10))] == kept[4:]
    with pytest.raises(NotFound, match="30 days"):
        await database.read(lambda session: postmaster.read(session, kept[0]))
