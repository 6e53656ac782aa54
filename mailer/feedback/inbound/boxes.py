"""Mail that somebody else received for us and keeps in a box: a folder, or a mailbox behind IMAP."""

import asyncio
import email.policy
import logging
from collections.abc import Callable, Sequence
from email.parser import BytesHeaderParser
from email.utils import getaddresses
from typing import NamedTuple, Protocol

from mailer.feedback.inbound.mailroom import KEPT, UNKNOWN, Mail, Mailroom

log = logging.getLogger(__name__)

#: What mail servers write into a mail to say for whom they took it, the surest first.
_HEADERS = ("Delivered-To", "X-Original-To", "X-Delivered-To", "Envelope-To", "X-Envelope-To", "To")
_HEAD = 64 * 1024
#: More addresses than that are no mail to one of ours.
_MOST = 200
#: A box that failed, or a mail that has to come again, waits at least so many seconds.
_LATER = 30.0


class Box(Protocol):
    """Where mail waits; its methods block, and one is called at a time."""

    def waiting(self) -> Sequence[str]:
        """Return the names of the mails that nobody looked at yet."""

    def read(self, name: str) -> bytes | None:
        """Return the beginning of a mail, up to 1 MB; None where it is gone."""

    def settle(self, name: str, *, known: bool) -> None:
        """Put a mail aside for good; one that is not `known` to be ours is marked for a person to see."""

    def close(self) -> None:
        """Let go until it is looked at again."""


class Collected(NamedTuple):
    """How many mails of a box were taken, were none of ours, and stay for later."""

    taken: int = 0
    strange: int = 0
    left: int = 0


def address_of(raw: bytes, knows: Callable[[str], bool]) -> str | None:
    """Return the address of ours that a stored mail came for, as the servers on its way wrote it down; None: none."""
    try:
        headers = BytesHeaderParser(policy=email.policy.compat32).parsebytes(raw[:_HEAD])
        found = [
            address
            for name in _HEADERS
            for _, address in getaddresses([str(each) for each in headers.get_all(name, [])])
        ]
    except Exception:  # noqa: BLE001 - the standard library's parser raises what it likes; such a mail is none of ours
        return None
    return next((address for address in found[:_MOST] if knows(address)), None)


async def collect(box: Box, room: Mailroom) -> Collected:
    """Take every mail that waits, each put aside only once what it means is committed."""
    taken = strange = left = 0
    try:
        for name in await asyncio.to_thread(box.waiting):
            raw = await asyncio.to_thread(box.read, name)
            if raw is None:
                continue
            address = address_of(raw, room.knows)
            reply = await room.arrived(address, Mail("", raw[:KEPT])) if address else UNKNOWN
            if reply.startswith("4"):
                left += 1
                continue
            known = reply.startswith("2")
            await asyncio.to_thread(box.settle, name, known=known)
            taken, strange = taken + known, strange + (not known)
    finally:
        await asyncio.to_thread(box.close)
    return Collected(taken, strange, left)


async def watch(box: Box, room: Mailroom, *, every: float) -> None:
    """Collect again and again, `every` so many seconds, until cancelled; a box that is away is tried again later."""
    while True:
        try:
            found = await collect(box, room)
        except OSError as error:
            log.warning("the box of inbound mail cannot be read: %s", error.strerror or type(error).__name__)
            found = Collected(left=1)
        if found.strange:
            log.warning("%d mails were for no address of ours; they are marked in their box", found.strange)
        await asyncio.sleep(max(every, _LATER) if found.left else every)
