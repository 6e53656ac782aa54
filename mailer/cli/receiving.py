"""Mail that comes in other ways than by a listener: from a box, once, or through a mail server's pipe."""

import asyncio
import sys

import typer

from mailer.cli import failures, running
from mailer.cli.printing import note
from mailer.feedback import inbound
from mailer.feedback.inbound import KEPT, Box, Collected, Mail
from mailer.settings import Settings

#: What mail servers do with a mail by the exit code of a pipe (sysexits.h): done, refuse, or try again later.
_DONE, _NO_USER, _TRY_AGAIN, _NOT_ALLOWED = 0, 67, 75, 77


def emptied(settings: Settings, box: Box) -> None:
    """Empty a box once; ends with 1 where something has to come again."""

    async def work() -> Collected:
        async with running.opened(settings) as service:
            return await inbound.collect(box, service.mailroom)

    found = asyncio.run(work())
    note(f"taken: {found.taken}, for no address of ours: {found.strange}, left for later: {found.left}")
    if found.left:
        raise typer.Exit(failures.FAILED)


def piped(to: str | None) -> int:
    """Take the mail on standard input, and return what the mail server should do with it.

    Whatever goes wrong, the mail must come again: any other code makes the server bounce it.
    """
    try:
        raw = sys.stdin.buffer.read(KEPT)
        while sys.stdin.buffer.read(KEPT):
            # The server would take a pipe that closes early for a failure.
            continue
        reply = asyncio.run(_arrived(to, raw))
    except Exception as error:  # noqa: BLE001 - the mail server knows what to do with a mail that has to come again
        failure = failures.explain(error)
        note(failure.sentence if failure else f"this should not have happened ({type(error).__name__})")
        return _TRY_AGAIN
    note(reply)
    if reply.startswith("2"):
        return _DONE
    if reply.startswith("4"):
        return _TRY_AGAIN
    return _NO_USER if reply.startswith("550 5.1.1") else _NOT_ALLOWED


async def _arrived(to: str | None, raw: bytes) -> str:
    async with running.opened(running.settings()) as service:
        room = service.mailroom
        address = to or inbound.address_of(raw, room.knows)
        return await room.arrived(address or "", Mail("", raw))
