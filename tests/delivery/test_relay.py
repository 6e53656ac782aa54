"""Opening a connection: what is wrong with a relay is one sentence that names it and shows no password."""

import asyncio
import ssl
from typing import Any

import pytest

from mailer.delivery.relay import RelayAway, connect, tls_context
from mailer.delivery.wire import Envelope
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
    assert (await wire.hand_over(b"Subject: hi\r\n\r\nHello\r\n")).positive
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


async def test_a_starttls_that_fails_is_no_way_in(relay: Relay, certificate: Certificate) -> None:
    async with servers.relay(tls=certificate.served()) as secured:
        secured.at(Stage.STARTTLS, "454 4.7.0 not now")
        assert await reason(address(secured, starttls="required", verify=False)) == "it answered 454"
