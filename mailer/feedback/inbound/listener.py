"""`mailer inbound`: receives mail for signed addresses of our domain. For an opt-out the address says all (R1.13)."""

import email.policy
import logging
from collections.abc import Awaitable, Callable, Sequence
from email.parser import BytesHeaderParser
from email.utils import parseaddr
from typing import NamedTuple
from weakref import WeakKeyDictionary

from aiosmtpd.smtp import SMTP, Envelope, Session

from mailer.feedback.optouts import How, Kind
from mailer.smtpd import Server, Terms
from suppression.token import OptOut, Ring, verify_mailto

log = logging.getLogger(__name__)

#: How much of a mail is kept: a report stands before the mail that it is about. The rest is read and dropped.
_KEPT = 1024 * 1024
#: How much of that an opt-out looks at.
_HEAD = 8 * 1024
_CONNECTIONS = 100
#: How many of them one network may hold (one address of IPv4, a /64 of IPv6), so that one sender cannot take all.
_OF_ONE_NETWORK = 20
#: The one address that every domain has, also written without the domain (RFC 5321 section 4.5.1).
POSTMASTER = "postmaster"
#: A mail for more of ours at once is no answer to one of ours; who guesses addresses is sent away.
_RECIPIENTS, _GUESSES = 100, 20
_LONGEST = 200
_UNKNOWN = "550 5.1.1 There is no such address here"
_LATER = "451 4.3.0 Please try again later"


class Mail(NamedTuple):
    """What arrived for one of our addresses."""

    sender: str
    #: Its beginning, up to 1 MB; the same for all of its recipients.
    raw: bytes


#: Does what a mail to one address means, committed when it returns the reply.
Receipt = Callable[[Mail], Awaitable[str]]
#: Returns what is done with mail for a local part, None where it is none of its own.
Reader = Callable[[str], Receipt | None]
#: Records one opt-out, committed when it returns.
Leave = Callable[[OptOut, How], Awaitable[None]]


def opt_outs(ring: Ring, leave: Leave) -> Reader:
    """Return what reads the addresses of mailto opt-outs."""

    def read(local: str) -> Receipt | None:
        opt_out = verify_mailto(ring, local)
        if opt_out is None:
            return None

        async def receive(mail: Mail) -> str:
            await leave(opt_out, How(Kind.MAILTO, evidence=_evidence(mail)))
            return "250 2.0.0 You are unsubscribed"

        return receive

    return read


class _Handler:
    """Takes mail for addresses that a reader knows, and nothing else: no open relay."""

    def __init__(self, readers: Sequence[Reader], domain: str, *, lmtp: bool) -> None:
        self._readers, self._domain, self._lmtp = readers, domain.lower(), lmtp
        self._guesses: WeakKeyDictionary[Session, int] = WeakKeyDictionary()

    async def finish(self) -> None:
        """Nothing waits: whatever a mail means is committed before its 250."""

    def _receipt(self, address: str) -> Receipt | None:
        if address.lower() == POSTMASTER:
            address = f"{address}@{self._domain}"
        local, _, domain = address.rpartition("@")
        if domain.lower() != self._domain:
            return None
        return next((found for reader in self._readers if (found := reader(local)) is not None), None)

    async def handle_RCPT(  # noqa: N802 -- aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Refuse whom we do not know, at RCPT."""
        if len(envelope.rcpt_tos) >= _RECIPIENTS:
            return "452 4.5.3 Too many recipients"
        if self._receipt(address) is None:
            self._guesses[session] = self._guesses.get(session, 0) + 1
            if self._guesses[session] >= _GUESSES and not self._lmtp and server.transport is not None:
                await server.push("421 4.7.0 Too many unknown addresses")
                server.transport.close()
            return _UNKNOWN
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Do what the addresses mean, then take the responsibility; LMTP has an answer for each recipient."""
        mail = Mail(str(envelope.mail_from or ""), envelope.original_content or b"")
        replies = [await self._received(address, mail) for address in envelope.rcpt_tos]
        if self._lmtp:
            return "\r\n".join(replies)
        # One answer for all: where a part did not succeed, all of it comes again; doing it twice is doing it once.
        return next((reply for reply in replies if not reply.startswith("2")), replies[0])

    async def _received(self, address: str, mail: Mail) -> str:
        receipt = self._receipt(address)
        if receipt is None:
            return _UNKNOWN
        try:
            return await receipt(mail)
        except Exception as error:  # noqa: BLE001 - whatever it is, the mail must come again and not be lost
            log.warning("what a mail means could not be recorded: %s", type(error).__name__)
            return _LATER

    async def handle_exception(self, error: Exception) -> str:
        """Answer with 4xx whatever went wrong here, so that the opt-out comes again and is not lost."""
        log.warning("a mail could not be received: %s", type(error).__name__)
        return _LATER


def listener(readers: Sequence[Reader], domain: str, address: tuple[str, int], *, lmtp: bool = False) -> Server:
    """Return the server for mail to `@domain`, which listens at (host, port); the first reader that knows decides."""
    kind = "LMTP" if lmtp else "ESMTP"
    # By LMTP every mail comes from our own mail server, which counts its clients itself.
    of_one = None if lmtp else _OF_ONE_NETWORK
    terms = Terms(lmtp=lmtp, kept=_KEPT, connections=_CONNECTIONS, of_one_network=of_one)
    return Server(_Handler(readers, domain, lmtp=lmtp), f"{domain} {kind} mailer inbound", *address, terms=terms)


def _evidence(mail: Mail) -> dict[str, object]:
    """Return what of the mail shows that it came: its Message-ID, and the domain that it says it is from."""
    try:
        headers = BytesHeaderParser(policy=email.policy.compat32).parsebytes(mail.raw[:_HEAD])
        found = {
            "message_id": str(headers.get("Message-ID", "")).strip(),
            "from_domain": parseaddr(str(headers.get("From", "")))[1].rpartition("@")[2].lower(),
        }
    except Exception:  # noqa: BLE001 - the standard library's parser raises what it likes; an opt-out needs no headers
        return {}
    return {name: _plain(value) for name, value in found.items() if value}


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:_LONGEST]
