"""An SMTP or LMTP server of ours on the running loop: what the inbox and `mailer inbound` listen with."""

import asyncio
import errno
import logging
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Protocol

from aiosmtpd.smtp import SMTP, syntax

from mailer.errors import ConfigurationError

#: 25 MB of files grow by 4/3 in base64, and there is text beside them.
LARGEST_MAIL = int(25 * 1024 * 1024 * 1.4)
_COMMAND_LIMIT = 2048
_WHY = {errno.EADDRINUSE: "the port is already in use", errno.EACCES: "the system does not allow that port"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What one server takes, how, and from how many at once."""

    #: Speaks LMTP (RFC 2033): the handler answers once for each recipient.
    lmtp: bool = False
    #: How much of a mail is kept for its handler; None: all of it. The rest is taken from the wire and dropped.
    kept: int | None = None
    connections: int | None = None
    #: How many of these one network may hold: an IPv4 address, or an IPv6 /64, which one subscriber has (RFC 6177).
    of_one_network: int | None = None
    #: Seconds without a word, or for the whole text of a mail, after which a connection is closed.
    patience: float = 300.0


class Handler(Protocol):
    """What is done with a mail; aiosmtpd finds its `handle_…` methods by name."""

    async def finish(self) -> None:
        """Return when everything that was taken is kept."""


class _Connection(SMTP):
    """One SMTP connection, which its listener can end."""

    # A line of over 998 octets is taken; a wide buffer also reads four times as fast.
    line_length_limit = 64 * 1024

    def __init__(self, handler: Handler, greeting: str, connections: "set[_Connection]", terms: Terms) -> None:
        self._terms = terms
        # aiosmtpd keeps this table on the class, where each new connection would reset it for all others.
        self.command_size_limits = defaultdict(lambda: _COMMAND_LIMIT)
        self._connections = connections
        self.network = ""
        super().__init__(
            handler,
            data_size_limit=LARGEST_MAIL,
            enable_SMTPUTF8=True,
            decode_data=False,
            hostname=greeting.partition(" ")[0],
            ident=greeting.partition(" ")[2],
            loop=asyncio.get_running_loop(),
            timeout=terms.patience,
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the connection, or send it away where its network has too many already."""
        self.network = network_of(transport.get_extra_info("peername"))
        most = self._terms.of_one_network
        if most is not None and sum(each.network == self.network for each in self._connections) >= most:
            busy = _Busy()
            assert isinstance(transport, asyncio.Transport)
            transport.set_protocol(busy)
            busy.connection_made(transport)
            return
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

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 -- aiosmtpd's name
        """Take a mail: all of it, or its beginning, however long it and its lines are."""
        if self._terms.kept is None:
            await super().smtp_DATA(arg)
        elif not await self.check_helo_needed():
            await self._take(arg, self._terms.kept)

    async def _take(self, arg: str, most: int) -> None:
        assert self.envelope is not None
        if not self.envelope.rcpt_tos:
            await self.push("503 5.5.1 Say RCPT first")
            return
        if arg:
            await self.push("501 5.5.4 DATA has no argument")
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        kept, taken = bytearray(), 0
        async for line in self._lines():
            taken += len(line)
            kept += line[: most - len(kept)]
            if taken > LARGEST_MAIL:
                # It has been told in EHLO (RFC 1870): whoever goes on all the same is not listened to.
                await self.push("552 5.3.4 The mail is too large")
                self._writer.close()
                return
        self.envelope.content = self.envelope.original_content = bytes(kept)
        status = await self._call_handler_hook("DATA")
        self._set_post_data_state()  # type: ignore[no-untyped-call]
        await self.push(status)

    async def _lines(self) -> AsyncIterator[bytes]:
        """Yield a mail up to its final dot; a line that is too long for the buffer comes in pieces."""
        begun = False
        while True:
            try:
                line = await self._reader.readuntil(b"\r\n")
            except asyncio.LimitOverrunError as error:
                line = await self._reader.read(error.consumed)
            except asyncio.CancelledError:
                self._writer.close()
                raise
            if not begun and line == b".\r\n":
                return
            # RFC 5321 section 4.5.2: a dot that begins a line was put there by the sender's side.
            yield line[1:] if not begun and line.startswith(b".") else line
            begun = not line.endswith(b"\r\n")

    async def end(self) -> None:
        """Close the connection and return when nothing runs for it any more."""
        if self.transport:
            self.transport.close()
        if self._handler_coroutine:
            await asyncio.gather(self._handler_coroutine, return_exceptions=True)


def network_of(peer: object) -> str:
    """Return what of an address is one sender's; "" where a socket has no address."""
    if not isinstance(peer, tuple):
        return ""
    found = ip_address(str(peer[0]).partition("%")[0])
    found = (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
    return str(ip_network((found, 64), strict=False)) if isinstance(found, IPv6Address) else str(found)


class _Local(_Connection):
    """One LMTP connection (RFC 2033)."""

    show_smtp_greeting = False

    @syntax("LHLO hostname")
    async def smtp_LHLO(self, arg: str) -> None:  # noqa: N802 -- aiosmtpd's name
        """Greet."""
        await super().smtp_EHLO(arg)

    async def smtp_HELO(self, arg: str) -> None:  # noqa: N802 -- aiosmtpd's name
        """Refuse: RFC 2033 section 4.1."""
        await self.push("500 5.5.1 This is LMTP: say LHLO")

    async def smtp_EHLO(self, arg: str) -> None:  # noqa: N802 -- aiosmtpd's name
        """Refuse likewise."""
        await self.push("500 5.5.1 This is LMTP: say LHLO")


class _Busy(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send it away for now (RFC 5321 section 3.8)."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"421 4.3.2 Too many connections, come again later\r\n")
        transport.close()


class Server:
    """A listening server, without TLS and passwords."""

    def __init__(self, handler: Handler, greeting: str, host: str, port: int, *, terms: Terms = Terms()) -> None:
        """Remember where to listen; port 0 is any free one; the greeting begins with our host name."""
        self._terms = terms
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
            self._server = await loop.create_server(self._connection, self._host, self._port)
        except OSError as error:
            why = _WHY.get(error.errno or 0, error.strerror or str(error))
            raise ConfigurationError(f"no mail can be received on {self._host}:{self._port}: {why}") from error
        return int(self._server.sockets[0].getsockname()[1])

    def _connection(self) -> asyncio.BaseProtocol:
        if self._terms.connections is not None and len(self._connections) >= self._terms.connections:
            return _Busy()
        kind = _Local if self._terms.lmtp else _Connection
        return kind(self._handler, self._greeting, self._connections, self._terms)

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
