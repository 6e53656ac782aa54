"""Opening a connection to a relay: aiosmtplib greets, encrypts and signs in; then `Wire` takes the transport."""

import asyncio
import ssl
from collections.abc import Iterator, Sequence

import aiosmtplib

from mailer.delivery.offers import Offers
from mailer.delivery.tokens import NoToken, Tokens
from mailer.delivery.wire import Wire
from mailer.relays import Relay

#: Seconds for each step on the way to a ready connection: connecting, banner, EHLO, TLS, and each answer to AUTH.
STEP_TIMEOUT = 60.0
#: A password that is sent inside of TLS need not be kept readable at the relay, as CRAM-MD5 demands.
_INSIDE_TLS = ("plain", "login", "cram-md5")
_IN_THE_CLEAR = ("cram-md5", "plain", "login")
#: RFC 4954 section 6: this way of signing in is unknown after all, or too weak.
_ANOTHER_WAY = (504, 534)
#: One for the process: relays that share a command share its tokens.
_tokens = Tokens()


class RelayAway(ConnectionError):
    """The relay cannot be used now; the mail is not to blame. The text names the relay and the reason, no address."""

    def __init__(self, relay: Relay, reason: str) -> None:
        """Keep which relay it is, and why."""
        super().__init__(f"{relay.name}: {reason}")
        self.relay = relay


class _Unusable(Exception):
    """The relay lacks what we insist on; the text says what."""


def tls_context(relay: Relay) -> ssl.SSLContext:
    """Return what a connection trusts: the system's authorities, or anybody where `verify=no`."""
    context = ssl.create_default_context()
    if not relay.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def connect(relay: Relay, hostname: str, context: ssl.SSLContext, *, timeout: float = STEP_TIMEOUT) -> Wire:
    """Return a connection that is ready for MAIL; raises `RelayAway` with one sentence.

    `timeout` bounds each step, in seconds.
    """
    client = aiosmtplib.SMTP(
        hostname=relay.host or None,
        port=None if relay.socket else relay.port,
        socket_path=relay.socket or None,
        local_hostname=hostname,
        use_tls=relay.scheme == "smtps",
        start_tls=False,
        tls_context=context,
        timeout=timeout,
    )
    try:
        await client.connect()
        await _greet(client, relay, hostname)
        if relay.scheme != "smtps" and relay.starttls != "off":
            await _encrypt(client, relay, hostname)
        if relay.username:
            await _sign_in(client, relay)
    except (aiosmtplib.SMTPException, OSError, UnicodeError, _Unusable, NoToken) as error:
        client.close()
        raise RelayAway(relay, _reason(error)) from error
    except asyncio.CancelledError:
        client.close()
        raise
    return _taken_over(client, relay)


async def _greet(client: aiosmtplib.SMTP, relay: Relay, hostname: str) -> None:
    if relay.scheme != "lmtp":
        await client.ehlo()
        return
    # RFC 2033 section 4.1: LHLO is EHLO by another name, and aiosmtplib reads the answer just as well.
    answer = await client.execute_command(b"LHLO", hostname.encode("ascii"))
    if answer.code != 250:
        raise aiosmtplib.SMTPHeloError(answer.code, answer.message)
    client.last_ehlo_response = answer


async def _encrypt(client: aiosmtplib.SMTP, relay: Relay, hostname: str) -> None:
    if client.supports_extension("starttls"):
        await client.starttls()
        await _greet(client, relay, hostname)
    elif relay.starttls == "required":
        raise _Unusable("it does not offer STARTTLS; add ?starttls=off if you trust the way to it")


async def _sign_in(client: aiosmtplib.SMTP, relay: Relay) -> None:
    ways = _ways(client, relay)
    if ways == ["xoauth2"]:
        await _show_token(client, relay)
        return
    methods = {"plain": client.auth_plain, "login": client.auth_login, "cram-md5": client.auth_crammd5}
    for way in ways:
        try:
            await methods[way](relay.username, relay.password)
        except aiosmtplib.SMTPAuthenticationError as error:
            # A password that was refused is not tried in other ways: that is how accounts get locked.
            if error.code not in _ANOTHER_WAY or way == ways[-1]:
                raise
        else:
            return


def _ways(client: aiosmtplib.SMTP, relay: Relay) -> Sequence[str]:
    """Return the ways of signing in that both sides know, best first."""
    in_the_clear = client.get_transport_info("sslcontext") is None
    wanted = (relay.auth,) if relay.auth else _IN_THE_CLEAR if in_the_clear else _INSIDE_TLS
    ways = [way for way in wanted if way in client.server_auth_methods]
    if not ways:
        known = ", ".join(wanted).upper()
        raise _Unusable(f"it does not let us sign in by {known}; see ?auth= in docs/relays.md, or remove the user name")
    if in_the_clear and relay.starttls == "opportunistic":
        # Whoever sits between us may have struck STARTTLS out of the relay's answer, to be shown the password.
        ways = [way for way in ways if way == "cram-md5"]
        if not ways:
            raise _Unusable(
                "it offers no STARTTLS, and a password is not shown in the clear; see ?starttls= in docs/relays.md"
            )
    return ways


async def _show_token(client: aiosmtplib.SMTP, relay: Relay) -> None:
    """Sign in with an access token; a kept one that is refused is fetched anew, once."""
    kept = await _tokens.get(relay.token_command)
    try:
        await client.auth_xoauth2(relay.username, kept.text)
    except aiosmtplib.SMTPAuthenticationError as error:
        if error.code < 500:
            raise
        _tokens.refused(relay.token_command, kept)
        fresh = await _tokens.get(relay.token_command)
        if fresh.text == kept.text or not client.is_connected:
            raise
        await client.auth_xoauth2(relay.username, fresh.text)


def _taken_over(client: aiosmtplib.SMTP, relay: Relay) -> Wire:
    transport = client.transport
    if transport is None or transport.is_closing():
        raise RelayAway(relay, "it closed the connection after its greeting")
    offers = Offers.read(client.esmtp_extensions, lmtp=relay.scheme == "lmtp")
    wire = Wire(offers, dot_timeout=relay.timeout, most=relay.per_connection, successes=relay.notify == "success")
    wire.connection_made(transport)
    transport.set_protocol(wire)
    return wire


def _reason(error: BaseException) -> str:
    causes = list(_causes(error))

    def is_one(*kinds: type[BaseException]) -> bool:
        return any(isinstance(each, kinds) for each in causes)

    if isinstance(error, aiosmtplib.SMTPAuthenticationError) and error.code >= 500:
        return f"it refused our user name, password or token ({error.code})"
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"it answered {error.code}"
    if is_one(ssl.SSLCertVerificationError):
        return "its certificate cannot be verified; add ?verify=no if that is as it should be"
    if is_one(ssl.SSLError):
        return "encryption failed; smtps:// is for relays that begin with it (port 465), smtp:// for all others"
    # A handshake that takes too long ends in ConnectionAbortedError.
    if is_one(aiosmtplib.SMTPTimeoutError, TimeoutError, ConnectionAbortedError):
        return "it did not answer in time"
    if is_one(_Unusable, NoToken):
        return str(error)
    if is_one(aiosmtplib.SMTPConnectError, UnicodeError):
        return "it cannot be reached"
    return "it closed the connection"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
