"""A mail came for this address: the one place where that means something, whichever way it came."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

log = logging.getLogger(__name__)

#: How much of a mail is kept: a report stands before the mail that it is about. The rest is read and dropped.
KEPT = 1024 * 1024
#: The one address that every domain has, also written without the domain (RFC 5321 section 4.5.1).
POSTMASTER = "postmaster"
UNKNOWN = "550 5.1.1 There is no such address here"
LATER = "451 4.3.0 Please try again later"


class Mail(NamedTuple):
    """What arrived for one of our addresses."""

    sender: str
    #: Its beginning, up to 1 MB; the same for all of its recipients.
    raw: bytes


#: Does what a mail to one address means, committed when it returns the reply.
Receipt = Callable[[Mail], Awaitable[str]]
#: Returns what is done with mail for a local part, None where it is none of its own.
Reader = Callable[[str], Receipt | None]


class Mailroom:
    """Takes mail for addresses that a reader knows, and nothing else: no open relay."""

    def __init__(self, readers: Sequence[Reader], domain: str) -> None:
        """Receive for `@domain`; the first reader that knows an address decides."""
        self._readers, self.domain = readers, domain.lower()

    def knows(self, address: str) -> bool:
        """Return whether mail for this address is taken."""
        return self._receipt(address) is not None

    async def arrived(self, address: str, mail: Mail) -> str:
        """Do what a mail for an address means, and return the SMTP reply.

        2xx: what it means is committed. 4xx: it could not be recorded now, so it must come again. 5xx: it is nothing
        of ours and never will be. Doing it twice is doing it once.
        """
        receipt = self._receipt(address)
        if receipt is None:
            return UNKNOWN
        try:
            return await receipt(mail._replace(raw=mail.raw[:KEPT]))
        except Exception as error:  # noqa: BLE001 - whatever it is, the mail must come again and not be lost
            log.warning("what a mail means could not be recorded: %s", type(error).__name__)
            return LATER

    def _receipt(self, address: str) -> Receipt | None:
        if address.lower() == POSTMASTER:
            address = f"{address}@{self.domain}"
        local, _, domain = address.rpartition("@")
        if domain.lower() != self.domain:
            return None
        return next((found for reader in self._readers if (found := reader(local)) is not None), None)
