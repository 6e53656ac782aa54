"""How fast mail is accepted over HTTP, against a route that only answers 202 on the same server.

`python -m tests.benchmarks.accepting` prints emails a second in batches of 1,000 and in single requests (256 at a time,
keep-alive), the processor time of the web process, and the ratio to the bare route in the same run. Everything is
written with fsync on. `--profile FILE` has py-spy record the web process while it takes single requests.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import asyncpg
import orjson
import uvloop
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mailer import interpreter, migrate, signals, tenancy
from mailer.service import Service
from mailer.settings import Settings
from mailer.web.app import create_app
from mailer.web.serve import Server, listen
from tests.servers import apart, free_port
from tests.test_api_world import ALL_SCOPES, variables

CONCURRENCY = 256
BATCH = 1000
_ROOT = Path(__file__).parent.parent.parent


async def _bare(_request: Request) -> Response:
    return Response(status_code=202)


async def _serve(folder: str, url: str) -> None:
    """Serve the application and the bare route; print the port and a key once both answer."""
    settings = Settings(
        data_dir=folder, database_url=url, from_="Ringwise <hello@ringwise.example>", postal_address="1 Main Street"
    )
    service = Service.build(settings)
    await service.prepare()
    await service.start()
    now = service.now()

    def issued(session: Session) -> str:
        tenant_id = tenancy.only_tenant(session, None).id
        assert tenant_id is not None
        return tenancy.create_key(session, tenant_id, "benchmark", scopes=ALL_SCOPES, now=now).plain

    app = create_app(service)
    app.router.routes.insert(0, Route("/bare", _bare, methods=["POST"]))
    server = Server(app)
    with listen("127.0.0.1", 0) as bound, signals.heard(server.stop):
        interpreter.settle(sending=False)
        print(bound.getsockname()[1], await service.database.run(issued), flush=True)
        await server.serve(sockets=[bound])
        await service.stop()


class _Client(asyncio.Protocol):
    """One connection that sends its next request as soon as the last one is answered with 202."""

    def __init__(self, following: Callable[[], bytes | None]) -> None:
        self._following = following
        self._transport: asyncio.Transport | None = None
        self._answer = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def _next(self) -> None:
        assert self._transport is not None
        request = self._following()
        if request is None:
            self._transport.close()
            self.done.set_result(None)
            return
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end or len(body) < _length(head):
            return
        if not head.startswith(b"HTTP/1.1 202"):
            self.done.set_exception(AssertionError(f"answered {self._answer[:600]!r}"))
            return
        self._answer = b""
        self._next()

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(AssertionError("the server closed the connection"))


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0


class Load(NamedTuple):
    """Requests of one kind, the mails in each, and how many connections ask at once."""

    name: str
    request: Callable[[int], bytes]
    mails: int
    connections: int
    #: Made before the clock starts.
    number: int


class Figures(NamedTuple):
    """What one run of a load came to."""

    rate: float
    #: Seconds of processor time of the web process for one request.
    cpu: float


def _cpu(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _measure(port: int, process: int, load: Load, first: Iterator[int]) -> Figures:
    waiting = iter([load.request(number) for number in itertools.islice(first, load.number)])
    loop = asyncio.get_running_loop()
    used, began = _cpu(process), time.perf_counter()
    pairs = [
        await loop.create_connection(lambda: _Client(lambda: next(waiting, None)), "127.0.0.1", port)
        for _ in range(load.connections)
    ]
    await asyncio.gather(*(client.done for _, client in pairs))
    took = time.perf_counter() - began
    return Figures(load.number * load.mails / took, (_cpu(process) - used) / load.number)


def _loads(port: int, key: str, singles: int, batches: int) -> list[Load]:
    welcome, newsletter = variables("welcome"), variables("newsletter")

    def post(path: str, body: bytes, more: str = "") -> bytes:
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body

    def mail(number: int) -> bytes:
        to = {"email": f"person{number}@example{number % 97}.org", "name": f"Person {number}"}
        asked = {"stream": "transactional", "to": to, "template": "welcome", "variables": welcome}
        return orjson.dumps({**asked, "tags": {"flow": "signup"}})

    def batch(number: int) -> bytes:
        many = [
            {
                "stream": "promotional",
                "to": {"email": f"person{number}x{each}@example{each % 97}.org", "name": f"Person {each}"},
                "template": "newsletter",
                "variables": newsletter,
            }
            for each in range(BATCH)
        ]
        return orjson.dumps({"emails": many})

    return [
        Load("bare route", lambda number: post("/bare", mail(number)), 1, CONCURRENCY, singles * 5),
        Load("singles", lambda number: post("/v1/emails", mail(number)), 1, CONCURRENCY, singles),
        Load(
            "singles with Idempotency-Key",
            lambda number: post("/v1/emails", mail(number), f"Idempotency-Key: order-{number}\r\n"),
            1,
            CONCURRENCY,
            singles,
        ),
        Load("batches of 1,000", lambda number: post("/v1/emails/batch", batch(number)), BATCH, 2, batches),
    ]


@contextlib.contextmanager
def _postgresql() -> Iterator[str]:
    """Start a PostgreSQL of our own, as a careful operator would leave it: fsync on."""
    binaries = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name)
    folder = Path(tempfile.mkdtemp(prefix="mailer-benchmark-"))
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    if os.getuid() == 0:
        shutil.chown(folder, "nobody")
        quiet["user"] = "nobody"
    port = free_port()
    subprocess.run([binaries / "initdb", "-D", folder / "data", "-U", "postgres", "-E", "UTF8"], check=True, **quiet)
    process = subprocess.Popen(
        [
            binaries / "postgres",
            "-D",
            folder / "data",
            "-p",
            str(port),
            "-clisten_addresses=127.0.0.1",
            "-cunix_socket_directories=",
        ],
        **quiet,
    )
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    try:
        apart(lambda: _answering(url))
        apart(lambda: migrate.upgrade_postgresql(url))
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


async def _answering(url: str) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError, asyncpg.PostgresError):
            await (await asyncpg.connect(url)).close()
            return
        await asyncio.sleep(0.05)
    raise AssertionError("PostgreSQL does not answer")


def _run(engine: str, url: str, options: argparse.Namespace) -> None:
    """Play every load some times, each kind beside the bare route, and print the best of each."""
    folder = tempfile.mkdtemp(prefix="mailer-benchmark-")
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.accepting", "--serve", folder, "--database", url],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
    )
    try:
        assert server.stdout is not None
        port, key = server.stdout.readline().decode().split()
        numbers = itertools.count()
        best: dict[str, Figures] = {}
        for load in options.rounds * _loads(int(port), key, options.singles, options.batches):
            if options.only and options.only not in load.name:
                continue
            recorder = _recorder(server.pid, options.profile, load)
            figures = uvloop.run(_measure(int(port), server.pid, load, numbers))
            if recorder is not None:
                recorder.send_signal(signal.SIGINT)
                recorder.wait(60)
            if load.name not in best or figures.rate > best[load.name].rate:
                best[load.name] = figures
        bare = best.get("bare route")
        for name, figures in best.items():
            ratio = f"{figures.rate / bare.rate:6.3f} of the bare route" if bare else ""
            print(
                f"{engine:10}  {name:29} {figures.rate:9,.0f} emails/s  {figures.cpu * 1e3:8.3f} ms a request  {ratio}"
            )
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _recorder(process: int, file: str, load: Load) -> subprocess.Popen[bytes] | None:
    if not file or load.name == "bare route":
        return None
    command = [str(Path(sys.executable).parent / "py-spy"), "record", "-p", str(process), "-d", "600", "-r", "400"]
    recorder = subprocess.Popen(
        [*command, "-t", "-f", "raw", "-o", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(1)
    return recorder


def main() -> None:
    """Read what to measure, and measure it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--singles", type=int, default=8000)
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--only", default="", help="a part of the name of the only load to play")
    parser.add_argument("--profile", default="", help="where py-spy writes what it saw")
    parser.add_argument("--serve", default="", help=argparse.SUPPRESS)
    parser.add_argument("--database", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(_serve(options.serve, options.database))
        return
    if options.engine != "postgresql":
        _run("SQLite", "", options)
    if options.engine != "sqlite":
        with _postgresql() as url:
            _run("PostgreSQL", url, options)


if __name__ == "__main__":
    main()
