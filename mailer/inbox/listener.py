"""The inbox's own SMTP server: it takes every mail, keeps it, and only then says 250."""

import asyncio
import errno
import logging
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from aiosmtpd.smtp import SMTP, Envelope, Session

from mailer.errors import ConfigurationError
from mailer.inbox.captured import capture
from mailer.inbox.store import Store

log = logging.getLogger(__name__)

#: 25 MB of files grow by 4/3 in base64, and there is text beside them.
LARGEST_MAIL = int(25 * 1024 * 1024 * 1.4)
_HOSTNAME = "inbox.localhost"
_COMMAND_LIMIT = 2048
_WHY = {errno.EADDRINUSE: "the port is already in use", errno.EACCES: "the system does not allow that port"}


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


class _Connection(SMTP):
    """One SMTP connection, which its listener can end."""

    # A line of over 998 octets is taken, and shown as a defect; a wide buffer also reads four times as fast.
    line_length_limit = 64 * 1024

    def __init__(self, handler: _Handler, connections: "set[_Connection]") -> None:
        # aiosmtpd keeps this table on the class, where each new connection would reset it for all others.
        self.command_size_limits = defaultdict(lambda: _COMMAND_LIMIT)
        self._connections = connections
        super().__init__(
            handler,
            data_size_limit=LARGEST_MAIL,
            enable_SMTPUTF8=True,
            decode_data=False,
            hostname=_HOSTNAME,
            ident="ESMTP mailer inbox: everything is captured, nothing is sent",
            loop=asyncio.get_running_loop(),
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the connection."""
        super().connection_made(transport)
        self._connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(error)
        self._connections.discard(self)

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """Return an address and what follows it, or None twice: the standard library's parser may raise instead."""
        try:
            return super()._getaddr(arg)
        except (IndexError, ValueError):
            return None, None

    async def end(self) -> None:
        """Close the connection and return when nothing runs for it any more."""
        if self.transport:
            self.transport.close()
        if self._handler_coroutine:
            await asyncio.gather(self._handler_coroutine, return_exceptions=True)


class Listener:
    """An SMTP server on the running loop that stores what it is given; without TLS and passwords, so for loopback."""

    def __init__(self, store: Store, host: str = "127.0.0.1", port: int = 0) -> None:
        """Remember where to listen; port 0 is any free one."""
        self._keeper = _Keeper(store)
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    async def start(self) -> int:
        """Listen, and return the port; raises ``ConfigurationError`` where that port cannot be had."""
        if self._server:
            raise RuntimeError("the inbox listens already")
        # aiosmtpd writes every address and command at INFO; addresses do not belong into logs.
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        handler = _Handler(self._keeper)
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: _Connection(handler, self._connections), self._host, self._port
            )
        except OSError as error:
            why = _WHY.get(error.errno or 0, error.strerror or str(error))
            raise ConfigurationError(f"the inbox cannot listen on {self._host}:{self._port}: {why}") from error
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening, end the connections, and return when all that arrived is stored."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        await self._keeper.finish()
        await asyncio.gather(*(connection.end() for connection in list(self._connections)))
        await self._keeper.finish()
        await server.wait_closed()
