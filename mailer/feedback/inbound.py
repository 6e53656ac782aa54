"""`mailer inbound`: receives opt-outs by mail. The token stands in the local part (R1.13), so the mail is not read."""

import logging
from collections.abc import Awaitable, Callable

from aiosmtpd.smtp import SMTP, Envelope, Session

from mailer.smtpd import Server
from suppression.token import OptOut, Ring, verify_mailto

log = logging.getLogger(__name__)

#: Records one opt-out, committed when it returns.
Recorded = Callable[[OptOut], Awaitable[None]]


class _Handler:
    """Takes mail for signed addresses of our own domain, and nothing else: no open relay."""

    def __init__(self, ring: Ring, domain: str, record: Recorded) -> None:
        self._ring, self._domain, self._record = ring, domain.lower(), record

    async def finish(self) -> None:
        """Nothing waits: each opt-out is committed before its 250."""

    def _meant(self, address: str) -> OptOut | None:
        local, _, domain = address.rpartition("@")
        return verify_mailto(self._ring, local) if domain.lower() == self._domain else None

    async def handle_RCPT(  # noqa: N802 -- aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Refuse whom we do not know, at RCPT."""
        if self._meant(address) is None:
            return "550 5.1.1 There is no such address here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Opt out whoever the addresses name, then take the responsibility."""
        for address in envelope.rcpt_tos:
            if (opt_out := self._meant(address)) is not None:
                await self._record(opt_out)
        return "250 2.0.0 You are unsubscribed"

    async def handle_exception(self, error: Exception) -> str:
        """Answer with 4xx whatever went wrong here, so that the opt-out comes again and is not lost."""
        log.warning("an opt-out by mail could not be recorded: %s", type(error).__name__)
        return "451 4.3.0 Please try again later"


def listener(ring: Ring, domain: str, record: Recorded, address: tuple[str, int]) -> Server:
    """Return the server for opt-outs by mail at `@domain`, which listens at (host, port)."""
    return Server(_Handler(ring, domain, record), f"{domain} ESMTP mailer inbound", *address)
