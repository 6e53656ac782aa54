"""Opening a connection to a relay: aiosmtplib greets, encrypts and signs in; then `Wire` takes the transport."""

import asyncio
import ssl

import aiosmtplib

from mailer.delivery.wire import Wire
from mailer.settings import Relay

_CONNECT_TIMEOUT = 60.0


class RelayAway(ConnectionError):
    """The relay cannot be used now; the mail is not to blame. The text names the relay and the reason, no address."""


def tls_context(relay: Relay) -> ssl.SSLContext:
    """Return what a connection trusts: the system's authorities, or anybody where `verify=no`."""
    context = ssl.create_default_context()
    if not relay.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def connect(relay: Relay, hostname: str, context: ssl.SSLContext) -> Wire:
    """Return a connection that is ready for MAIL; raises `RelayAway` with one sentence."""
    client = aiosmtplib.SMTP(
        hostname=relay.host,
        port=relay.port,
        local_hostname=hostname,
        use_tls=relay.scheme == "smtps",
        start_tls=False,
        tls_context=context,
        timeout=_CONNECT_TIMEOUT,
    )
    try:
        await client.connect()
        await client.ehlo()
        if relay.scheme == "smtp" and relay.starttls != "off":
            await _encrypt(client, relay)
        if relay.username:
            await client.login(relay.username, relay.password)
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
        client.close()
        raise RelayAway(f"{relay.name}: {_reason(error)}") from error
    except asyncio.CancelledError:
        client.close()
        raise
    return _taken_over(client, relay)


async def _encrypt(client: aiosmtplib.SMTP, relay: Relay) -> None:
    if client.supports_extension("starttls"):
        await client.starttls()
        await client.ehlo()
    elif relay.starttls == "required":
        raise aiosmtplib.SMTPException("it does not offer STARTTLS; add ?starttls=off if you trust the way to it")


def _taken_over(client: aiosmtplib.SMTP, relay: Relay) -> Wire:
    transport = client.transport
    if transport is None or transport.is_closing():
        raise RelayAway(f"{relay.name}: it closed the connection after its greeting")
    wire = Wire(frozenset(name.lower() for name in client.esmtp_extensions))
    wire.connection_made(transport)
    transport.set_protocol(wire)
    return wire


def _reason(error: BaseException) -> str:
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        return f"it refused our user name or password ({error.code})"
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"it answered {error.code}"
    if isinstance(error, ssl.SSLError) or "certificate" in str(error).lower():
        return "its certificate cannot be verified; add ?verify=no if that is as it should be"
    if isinstance(error, aiosmtplib.SMTPTimeoutError | TimeoutError):
        return "it did not answer in time"
    if isinstance(error, aiosmtplib.SMTPConnectError | OSError):
        return "it cannot be reached"
    return str(error)
