"""Opening a connection: what is wrong with a relay is one sentence that names it and shows no password."""

import asyncio
import contextlib
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from mailer.delivery.envelope import Envelope
from mailer.delivery.relay import RelayAway, connect, tls_context
from mailer.delivery.wire import Answer
from mailer.relays import Relay as Address
from tests import servers
from tests.servers import Certificate, Relay, Stage

ENVELOPE = Envelope("us@x.example", "ann@example.org", 5, False)


def address(relay: Relay, **options: Any) -> Address:
    return Address(**{"scheme": "smtp", "host": "127.0.0.1", "port": relay.port, "starttls": "off", **options})


async def reason(at: Address, context: ssl.SSLContext | None = None, *, timeout: float = 20) -> str:
    with pytest.raises(RelayAway) as caught:
        await connect(at, "us.example", context or tls_context(at), timeout=timeout)
    assert caught.value.relay is at
    sentence, name = str(caught.value), f"{at.name}: "
    assert sentence.startswith(name)
    return sentence.removeprefix(name)


async def delivered(at: Address, context: ssl.SSLContext | None = None) -> None:
    wire = await connect(at, "us.example", context or tls_context(at))
    assert (await wire.offer(ENVELOPE)).positive
    assert (await wire.data()).code == 354
    assert (await wire.hand_over(b"Subject: hi\r\n\r\nHello\r\n").dot).positive
    await wire.quit()


async def test_a_connection_introduces_us_and_knows_what_the_relay_offers(relay: Relay) -> None:
    wire = await connect(address(relay), "us.example", ssl.create_default_context())
    assert "EHLO us.example" in relay.commands
    assert {"pipelining", "8bitmime", "smtputf8", "size"} <= wire.extensions
    await wire.quit()


async def test_nobody_listens(relay: Relay) -> None:
    at = address(relay)
    await relay.stop()
    assert await reason(at) == "it cannot be reached"


@pytest.mark.parametrize(
    ("stage", "options", "sentence"),
    [
        (Stage.GREETING, {"answer": "554 5.3.2 go away", "close": True}, "it answered 554"),
        (Stage.GREETING, {"answer": "421 4.3.2 too many connections", "close": True}, "it answered 421"),
        (Stage.GREETING, {"close": True}, "it cannot be reached"),
        (Stage.EHLO, {"answer": "451 4.3.0 not now"}, "it answered 451"),
    ],
)
async def test_a_relay_that_does_not_want_us(
    relay: Relay, stage: Stage, options: dict[str, Any], sentence: str
) -> None:
    relay.at(stage, **options)
    assert sentence in await reason(address(relay))


@pytest.mark.parametrize("stage", [Stage.GREETING, Stage.EHLO, Stage.STARTTLS, Stage.HANDSHAKE, Stage.AUTH])
async def test_a_relay_that_hangs_is_away_within_its_time(certificate: Certificate, stage: Stage) -> None:
    async with servers.relay(("AUTH PLAIN",), tls=certificate.served()) as relay:
        relay.at(stage, hang=True)
        at = address(relay, starttls="required", verify=False, username="ann", password="hush")
        began = time.monotonic()
        assert await reason(at, timeout=0.1) == "it did not answer in time"
        assert time.monotonic() - began < 5


async def test_an_encrypted_relay_that_hangs_from_the_first_byte_is_away_within_its_time() -> None:
    async with servers.relay() as relay:
        relay.at(Stage.GREETING, hang=True)
        assert await reason(address(relay, scheme="smtps"), timeout=0.1) == "it did not answer in time"


async def test_a_relay_that_drips_is_away_within_its_time() -> None:
    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"220-wait\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server:
        at = Address(scheme="smtp", host="127.0.0.1", port=server.sockets[0].getsockname()[1])
        assert await reason(at, timeout=0.2) == "it did not answer in time"


@pytest.mark.parametrize("stage", [Stage.EHLO, Stage.STARTTLS, Stage.AUTH])
async def test_a_relay_that_closes_on_the_way(certificate: Certificate, stage: Stage) -> None:
    async with servers.relay(("AUTH PLAIN",), tls=certificate.served()) as relay:
        relay.at(stage, close=True)
        at = address(relay, starttls="required", verify=False, username="ann", password="hush")
        assert await reason(at) == "it closed the connection"


async def test_a_name_that_cannot_be_one_is_not_reached(relay: Relay) -> None:
    assert await reason(address(relay, host="a..example")) == "it cannot be reached"
    assert await reason(Address(scheme="lmtp", socket="/nowhere/lmtp", starttls="off")) == "it cannot be reached"


async def test_a_wrong_password_is_told_without_it(relay: Relay) -> None:
    relay.extensions = (*relay.extensions, "AUTH PLAIN LOGIN")
    relay.at(Stage.AUTH, "535 5.7.8 no")
    assert (
        await reason(address(relay, username="ann", password="hush"))
        == "it refused our user name, password or token (535)"
    )


async def test_a_right_password_opens_the_door(relay: Relay) -> None:
    relay.extensions = (*relay.extensions, "AUTH PLAIN")
    await delivered(address(relay, username="ann", password="hush"))
    assert any(command.startswith("AUTH PLAIN ") for command in relay.commands)


async def test_a_cancelled_opening_leaves_no_connection(relay: Relay) -> None:
    relay.at(Stage.GREETING, hang=True)
    opening = asyncio.create_task(connect(address(relay), "us.example", ssl.create_default_context()))
    while not relay.open:
        await asyncio.sleep(0.005)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening


# --- encryption


async def test_a_relay_without_starttls_is_not_used_in_the_clear(relay: Relay) -> None:
    sentence = await reason(address(relay, starttls="required"))
    assert sentence == "it does not offer STARTTLS; add ?starttls=off if you trust the way to it"


async def test_opportunistic_takes_what_there_is(relay: Relay, certificate: Certificate) -> None:
    await delivered(address(relay, starttls="opportunistic"))
    async with servers.relay(tls=certificate.served()) as secured:
        await delivered(address(secured, starttls="opportunistic", verify=False))
        assert "STARTTLS" in secured.commands


async def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Certificate) -> None:
    async with servers.relay(tls=certificate.served()) as relay:
        sentence = await reason(address(relay, starttls="required"))
        assert sentence == "its certificate cannot be verified; add ?verify=no if that is as it should be"
        assert not any(command.startswith("MAIL") for command in relay.commands)


async def test_a_certificate_that_we_trust_is_accepted(certificate: Certificate) -> None:
    context = ssl.create_default_context(cafile=str(certificate.certificate))
    async with servers.relay(tls=certificate.served()) as relay:
        await delivered(address(relay, starttls="required"), context)
        assert relay.commands.count("EHLO us.example") == 2


async def test_verify_no_means_no(certificate: Certificate) -> None:
    async with servers.relay(tls=certificate.served()) as relay:
        await delivered(address(relay, starttls="required", verify=False))


async def test_smtps_is_encrypted_from_the_first_byte(certificate: Certificate) -> None:
    async with servers.relay(tls=certificate.served(), implicit_tls=True) as relay:
        await delivered(address(relay, scheme="smtps", verify=False))
        assert await reason(address(relay, scheme="smtps")) == (
            "its certificate cannot be verified; add ?verify=no if that is as it should be"
        )


async def test_smtps_and_a_relay_that_begins_in_the_clear_do_not_meet(relay: Relay) -> None:
    sentence = "encryption failed; smtps:// is for relays that begin with it (port 465), smtp:// for all others"
    assert await reason(address(relay, scheme="smtps", verify=False)) == sentence


async def test_a_starttls_that_fails_is_no_way_in(relay: Relay, certificate: Certificate) -> None:
    async with servers.relay(tls=certificate.served()) as secured:
        secured.at(Stage.STARTTLS, "454 4.7.0 not now")
        assert await reason(address(secured, starttls="required", verify=False)) == "it answered 454"


# --- LMTP


async def test_lmtp_greets_in_its_own_way(relay: Relay) -> None:
    relay.lmtp = True
    at = address(relay, scheme="lmtp")
    await delivered(at)
    assert relay.commands[0] == "LHLO us.example"
    assert relay.recipients == ["ann@example.org"]
    wire = await connect(at, "us.example", tls_context(at))
    assert (wire.offers.lmtp, wire.size_limit) == (True, 36700160)
    assert "pipelining" in wire.extensions
    await wire.quit()


async def test_lmtp_over_a_socket_of_this_machine(tmp_path: Path) -> None:
    path = str(tmp_path / "lmtp")
    async with servers.relay(path=path, lmtp=True) as relay:
        await delivered(Address(scheme="lmtp", socket=path, starttls="off"))
        assert relay.recipients == ["ann@example.org"]


async def test_lmtp_can_be_encrypted_and_signed_in_to(certificate: Certificate) -> None:
    async with servers.relay(("PIPELINING", "AUTH PLAIN"), tls=certificate.served(), lmtp=True) as relay:
        relay.passwords["ann"] = "hush"
        options = {"scheme": "lmtp", "starttls": "required", "username": "ann", "password": "hush"}
        await delivered(address(relay, **options, verify=False))
        assert [command.split()[0] for command in relay.commands[:4]] == ["LHLO", "STARTTLS", "LHLO", "AUTH"]
        assert "certificate" in await reason(address(relay, **options))


async def test_a_refusal_after_the_dot_is_the_answer_of_the_only_recipient(relay: Relay) -> None:
    relay.lmtp = True
    at = address(relay, scheme="lmtp")
    wire = await connect(at, "us.example", tls_context(at))
    relay.at(Stage.DOT, "552 5.2.2 mailbox full", times=1)
    assert (await wire.offer(ENVELOPE)).positive
    assert (await wire.data()).code == 354
    assert await wire.hand_over(b"\r\nHello\r\n").dot == Answer(552, "5.2.2 mailbox full")
    assert (await wire.offer(ENVELOPE)).positive
    assert (await wire.data()).code == 354
    assert (await wire.hand_over(b"\r\nHello\r\n").dot).positive
    await wire.quit()


async def test_smtp_is_not_spoken_to_an_lmtp_server_nor_the_other_way_round(relay: Relay) -> None:
    assert await reason(address(relay, scheme="lmtp")) == "it answered 502"
    relay.lmtp = True
    assert await reason(address(relay)) == "it answered 502"
