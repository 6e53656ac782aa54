"""The inbox's own SMTP server: it takes every mail, keeps it, and only then says 250."""

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from aiosmtpd.smtp import SMTP, Envelope, Session

from mailer.inbox.captured import capture
from mailer.inbox.store import Store
from mailer.smtpd import Server

log = logging.getLogger(__name__)

_GREETING = "inbox.localhost ESMTP mailer inbox: everything is captured, nothing is sent"


@dataclass(frozen=True, slots=True)
class _Arrival:
    """One mail that waits to be stored, and who waits for that."""

    mail_from: str
    rcpt_to: Sequence[str]
    raw: bytes
    received_at: datetime
    stored: asyncio.Future[None]

    def answer(self, failed: Exception | None) -> None:
        """Wake who waits; it may be gone, when its connection was lost."""
        if self.stored.done():
            return
        if failed:
            self.stored.set_exception(failed)
        else:
            self.stored.set_result(None)


class _Keeper:
    """Stores what arrived, in a thread and in batches: while one is written, the next gathers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[_Arrival] = []
        self._writing: asyncio.Task[None] | None = None

    async def keep(self, envelope: Envelope) -> None:
        """Return when the mail is stored; raises ``sqlite3.Error`` where it cannot be."""
        # RFC 5321 section 4.5.5: bounces have the null reverse-path, which aiosmtpd gives as "<>".
        sender = "" if envelope.mail_from in {None, "<>"} else str(envelope.mail_from)
        stored = asyncio.get_running_loop().create_future()
        raw = envelope.original_content or b""
        self._waiting.append(_Arrival(sender, tuple(envelope.rcpt_tos), raw, datetime.now(UTC), stored))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await stored

    async def finish(self) -> None:
        """Return when everything that arrived is stored."""
        if self._writing:
            await self._writing

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            failed: Exception | None = None
            try:
                await asyncio.to_thread(self._store_all, batch)
            except Exception as error:  # noqa: BLE001 -- told to each who waits, below
                failed = error
            for arrival in batch:
                arrival.answer(failed)
        self._writing = None

    def _store_all(self, batch: Sequence[_Arrival]) -> None:
        self._store.add_many([capture(each.mail_from, each.rcpt_to, each.raw, each.received_at) for each in batch])


class _Handler:
    """What aiosmtpd asks us."""

    def __init__(self, keeper: _Keeper) -> None:
        self._keeper = keeper

    async def finish(self) -> None:
        """Return when everything that arrived is stored."""
        await self._keeper.finish()

    async def handle_EHLO(  # noqa: N802 -- aiosmtpd's name
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """Announce PIPELINING too (RFC 2920): commands are read line by line, however they come."""
        session.host_name = hostname
        return [*responses[:-1], "250-PIPELINING", responses[-1]]

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep the mail, then take the responsibility for it."""
        try:
            await self._keeper.keep(envelope)
        except sqlite3.Error as error:
            log.warning("the inbox cannot store a mail: %s", error)
            return f"452 4.3.1 The inbox cannot store this mail: {error}"
        return "250 2.0.0 Captured, not sent"

    async def handle_exception(self, error: Exception) -> str:
        """Answer what neither we nor aiosmtpd foresaw; with 4xx, so that no mail is lost by it."""
        log.warning("the inbox could not follow a command: %s", type(error).__name__)
        return "451 4.3.0 Error: the inbox could not follow"


class Listener(Server):
    """The inbox's server: it stores what it is given; for loopback."""

    def __init__(self, store: Store, host: str = "127.0.0.1", port: int = 0) -> None:
        """Remember where to listen; port 0 is any free one."""
        super().__init__(_Handler(_Keeper(store)), _GREETING, host, port)
