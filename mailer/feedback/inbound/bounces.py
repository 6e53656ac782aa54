"""What comes to a return path: its token says which email a report is about, whatever the report says (R5.1, R5.2)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from mailer.feedback.inbound.mailroom import Mail, Reader, Receipt
from mailer.feedback.inbound.report import Proof, Reading, Report
from mailer.links import RETURN_PATH_PREFIX

#: Bytes -> what a mail says; pure, and never raises.
Parse = Callable[[bytes], Reading]
#: Takes reports in, committed when it returns.
Hear = Callable[[Sequence[tuple[Report, Proof]]], Awaitable[object]]
#: Counts a mail to this email's return path that reports nothing, and why: "auto_reply", "ordinary", …
Count = Callable[[str, str], Awaitable[None]]


def bounces(read_return_path: Callable[[str], str | None], parse: Parse, hear: Hear, count: Count) -> Reader:
    """Return what reads return paths; auto-replies and the like are taken and dropped (R5.4)."""

    def read(local: str) -> Receipt | None:
        if local[: len(RETURN_PATH_PREFIX)].lower() != RETURN_PATH_PREFIX:
            return None
        email_id = read_return_path(local)
        if email_id is None:
            return None

        async def receive(mail: Mail) -> str:
            # In a thread: a malicious mail may take a second, and other connections wait.
            reading = await asyncio.to_thread(parse, mail.raw)
            if not reading.reports:
                await count(email_id, reading.dropped or "unreadable")
                return "250 2.0.0 It reports nothing"
            await hear([(report, Proof("return_path", email_id)) for report in reading.reports])
            return "250 2.0.0 Noted"

        return receive

    return read
