"""The processes that the benchmarks over HTTP talk to, and a client that costs less than what it measures."""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from mailer import migrate
from mailer.bench import Plan, sink, throwaway
from mailer.bench.running import environment
from mailer.bench.throwaway import Servers
from mailer.bench.watching import Child, child
from mailer.settings import Settings
from tests import servers
from tests.conftest import tables

MAILER = (sys.executable, "-m", "mailer")


@contextmanager
def fresh_database(*, postgresql: bool) -> Iterator[str]:
    """Make a migrated database of either engine, and give its address."""
    if postgresql:
        with servers.postgres(migrate.upgrade_postgresql, tables()) as server:
            yield server.take()
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mailer.db"
            migrate.upgrade_sqlite(path)
            yield f"sqlite:///{path}"


@dataclass
class World:
    """A folder, a sink, the servers, and the environment of our processes."""

    folder: Path
    env: Mapping[str, str]
    stack: ExitStack

    def start(self, name: str, *words: str, says: str) -> Child:
        """Start one of our processes, and wait until it says that it runs."""
        process = self.stack.enter_context(child(name, [*MAILER, *words], self.folder, env=self.env))
        process.until_says(says)
        return process

    def web(self, command: str = "web") -> int:
        """Start what answers HTTP and return its port."""
        port = sink.free_port()
        self.start(command, command, "--port", str(port), says="^ready: ")
        return port

    def key(self, *scopes: str) -> str:
        """Make an API key."""
        words = ["key", "create", "bench", *(word for scope in scopes for word in ("--scope", scope))]
        done = subprocess.run([*MAILER, *words], env=self.env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    @property
    def settings(self) -> Settings:
        """Return the settings that our processes have."""
        return Settings.read(self.env)


@contextmanager
def world(*, embedded: bool = False, transactional_port: int | None = None) -> Iterator[World]:
    """Start a sink, and PostgreSQL and Redis unless embedded; the transactional relay may be another one."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailer-bench-")))
        relay = stack.enter_context(sink.running(folder))
        servers = Servers("", "") if embedded else stack.enter_context(throwaway.servers(folder))
        env = dict(environment(Plan(emails=1, throwaway=not embedded), folder, servers, relay.port))
        if transactional_port is not None:
            env["MAILER_TRANSACTIONAL_RELAY"] = f"smtp://127.0.0.1:{transactional_port}?starttls=off&connections=16"
        if not embedded:
            subprocess.run([*MAILER, "migrate"], env=env, check=True, capture_output=True)
        yield World(folder, env, stack)


def request(body: bytes, key: str, path: str) -> bytes:
    """Return the bytes of a POST."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Talk(asyncio.Protocol):
    """One connection: sends a request after the other, each once the last one is answered."""

    def __init__(self, requests: Iterator[bytes], answers: list[bytes], done: asyncio.Future[None]) -> None:
        self._requests, self._answers, self._done = requests, answers, done
        self._got = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._got += data
        head = self._got.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._got.lower().find(b"content-length: ", 0, head)
        length = int(self._got[at + 16 : self._got.find(b"\r\n", at)])
        if len(self._got) < head + 4 + length:
            return
        self._answers.append(bytes(self._got))
        self._got.clear()
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the server closed the connection"))

    def _next(self) -> None:
        assert self._transport is not None
        following = next(self._requests, None)
        if following is not None:
            self._transport.write(following)
        elif not self._done.done():
            self._done.set_result(None)
            self._transport.close()


async def ask(port: int, requests: Sequence[bytes], connections: int) -> float:
    """Send the requests over so many connections at once; return the seconds until all were accepted."""
    loop, shared, answers = asyncio.get_running_loop(), iter(requests), list[bytes]()
    ends: list[asyncio.Future[None]] = [loop.create_future() for _ in range(connections)]
    began = time.perf_counter()
    for end in ends:
        await loop.create_connection(lambda end=end: _Talk(shared, answers, end), "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.gather(*ends)
    took = time.perf_counter() - began
    # A batch is answered 202 whatever becomes of each email.
    wrong = [each for each in answers if not each.startswith(b"HTTP/1.1 20") or b'"errors":[' in each]
    assert not wrong, wrong[0][:500]
    assert len(answers) == len(requests)
    return took
