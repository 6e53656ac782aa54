"""A web server that keeps what it is asked and answers as it is told: what other people's servers are to us."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import httptools


class Asked(NamedTuple):
    """One request."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    #: Which connection it came by.
    connection: int
    #: The name that TLS asked for.
    name: str | None


class Reply(NamedTuple):
    """What is answered."""

    status: int = 204
    headers: Mapping[str, str] = {}
    body: bytes = b""
    #: Seconds before it is said.
    wait: float = 0.0
    #: Closes the connection instead.
    hang_up: bool = False


@dataclass
class Server:
    """Listens on loopback; `answer` may be changed at any time."""

    tls: ssl.SSLContext | None = None
    answer: Callable[[Asked], Reply] = lambda _asked: Reply()
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    busy: int = 0
    most_busy: int = 0
    _server: asyncio.Server | None = None
    _open: "set[_Talk]" = field(default_factory=set)

    @property
    def url(self) -> str:
        """Return its address."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/hook"

    async def start(self) -> None:
        """Listen, on the port of an earlier start if there was one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Talk(self), "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close every connection and listen no more."""
        if self._server is None:
            return
        self._server.close()
        for talk in tuple(self._open):
            talk.transport.abort()
        await self._server.wait_closed()
        self._server = None


class _Talk(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._answering: set[asyncio.Task[None]] = set()
        self._names: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "abort")
        self.transport = transport  # type: ignore[assignment]
        self._server.connections += 1
        self._number = self._server.connections
        self._server._open.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self._server._open.discard(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._target, self._body = b"", b""
        self._headers: dict[str, str] = {}

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        asked = Asked(method, self._target.decode(), self._headers, self._body, self._number, self._server_name)
        self._server.asked.append(asked)
        reply = self._server.answer(asked)
        if not reply.wait:
            self._say(reply)
            return
        task = asyncio.ensure_future(self._say_later(reply))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    @property
    def _server_name(self) -> str | None:
        made = self.transport.get_extra_info("ssl_object")
        return getattr(made, "asked_for", None)

    async def _say_later(self, reply: Reply) -> None:
        self._server.busy += 1
        self._server.most_busy = max(self._server.most_busy, self._server.busy)
        await asyncio.sleep(reply.wait)
        self._server.busy -= 1
        self._say(reply)

    def _say(self, reply: Reply) -> None:
        if reply.hang_up:
            self.transport.abort()
            return
        headers = {"Content-Length": str(len(reply.body)), **reply.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(f"HTTP/1.1 {reply.status} X\r\n{head}\r\n".encode() + reply.body)


@asynccontextmanager
async def server(tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Run one."""
    made = Server(tls)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
