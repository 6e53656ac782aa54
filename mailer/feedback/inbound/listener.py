"""`mailer inbound`: receives mail for signed addresses of our domain by SMTP or LMTP."""

import logging
from weakref import WeakKeyDictionary

from aiosmtpd.smtp import SMTP, Envelope, Session

from mailer.feedback.inbound.mailroom import KEPT, LATER, UNKNOWN, Mail, Mailroom
from mailer.smtpd import Server, Terms

log = logging.getLogger(__name__)

_CONNECTIONS = 100
#: How many of them one network may hold (one address of IPv4, a /64 of IPv6), so that one sender cannot take all.
_OF_ONE_NETWORK = 20
#: A mail for more of ours at once is no answer to one of ours; who guesses addresses is sent away.
_RECIPIENTS, _GUESSES = 100, 20


class _Handler:
    """Takes mail for addresses that the mailroom knows, and nothing else."""

    def __init__(self, room: Mailroom, *, lmtp: bool) -> None:
        self._room, self._lmtp = room, lmtp
        self._guesses: WeakKeyDictionary[Session, int] = WeakKeyDictionary()

    async def finish(self) -> None:
        """Nothing waits: whatever a mail means is committed before its 250."""

    async def handle_RCPT(  # noqa: N802 -- aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Refuse whom we do not know, at RCPT."""
        if len(envelope.rcpt_tos) >= _RECIPIENTS:
            return "452 4.5.3 Too many recipients"
        if not self._room.knows(address):
            self._guesses[session] = self._guesses.get(session, 0) + 1
            if self._guesses[session] >= _GUESSES and not self._lmtp and server.transport is not None:
                await server.push("421 4.7.0 Too many unknown addresses")
                server.transport.close()
            return UNKNOWN
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Do what the addresses mean, then take the responsibility; LMTP has an answer for each recipient."""
        mail = Mail(str(envelope.mail_from or ""), envelope.original_content or b"")
        replies = [await self._room.arrived(address, mail) for address in envelope.rcpt_tos]
        if self._lmtp:
            return "\r\n".join(replies)
        # One answer for all: where a part did not succeed, all of it comes again; doing it twice is doing it once.
        return next((reply for reply in replies if not reply.startswith("2")), replies[0])

    async def handle_exception(self, error: Exception) -> str:
        """Answer with 4xx whatever went wrong here, so that the mail comes again and is not lost."""
        log.warning("a mail could not be received: %s", type(error).__name__)
        return LATER


def listener(room: Mailroom, address: tuple[str, int], *, lmtp: bool = False) -> Server:
    """Return the server for the mailroom's mail, which listens at (host, port)."""
    kind = "LMTP" if lmtp else "ESMTP"
    # By LMTP every mail comes from our own mail server, which counts its clients itself.
    of_one = None if lmtp else _OF_ONE_NETWORK
    terms = Terms(lmtp=lmtp, kept=KEPT, connections=_CONNECTIONS, of_one_network=of_one)
    return Server(_Handler(room, lmtp=lmtp), f"{room.domain} {kind} mailer inbound", *address, terms=terms)
