"""An SMTP server of ours on the running loop: what the inbox and `mailer inbound` listen with."""

import asyncio
import errno
import logging
from collections import defaultdict
from typing import Protocol

from aiosmtpd.smtp import SMTP

from mailer.errors import ConfigurationError

#: 25 MB of files grow by 4/3 in base64, and there is text beside them.
LARGEST_MAIL = int(25 * 1024 * 1024 * 1.4)
_COMMAND_LIMIT = 2048
_WHY = {errno.EADDRINUSE: "the port is already in use", errno.EACCES: "the system does not allow that port"}


class Handler(Protocol):
    """What is done with a mail; aiosmtpd finds its `handle_…` methods by name."""

    async def finish(self) -> None:
        """Return when everything that was taken is kept."""


class _Connection(SMTP):
    """One SMTP connection, which its listener can end."""

    # A line of over 998 octets is taken; a wide buffer also reads four times as fast.
    line_length_limit = 64 * 1024

    def __init__(self, handler: Handler, greeting: str, connections: "set[_Connection]") -> None:
        # aiosmtpd keeps this table on the class, where each new connection would reset it for all others.
        self.command_size_limits = defaultdict(lambda: _COMMAND_LIMIT)
        self._connections = connections
        super().__init__(
            handler,
            data_size_limit=LARGEST_MAIL,
            enable_SMTPUTF8=True,
            decode_data=False,
            hostname=greeting.partition(" ")[0],
            ident=greeting.partition(" ")[2],
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


class Server:
    """A listening SMTP server, without TLS and passwords."""

    def __init__(self, handler: Handler, greeting: str, host: str, port: int) -> None:
        """Remember where to listen; port 0 is any free one; the greeting begins with our host name."""
        self._handler = handler
        self._greeting = greeting
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    async def start(self) -> int:
        """Listen, and return the port; raises ``ConfigurationError`` where that port cannot be had."""
        if self._server:
            raise RuntimeError("it listens already")
        # aiosmtpd writes every address and command at INFO; addresses do not belong into logs.
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: _Connection(self._handler, self._greeting, self._connections), self._host, self._port
            )
        except OSError as error:
            why = _WHY.get(error.errno or 0, error.strerror or str(error))
            raise ConfigurationError(f"no mail can be received on {self._host}:{self._port}: {why}") from error
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening, end the connections, and return when all that arrived is kept."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        await self._handler.finish()
        await asyncio.gather(*(connection.end() for connection in list(self._connections)))
        await self._handler.finish()
        await server.wait_closed()
