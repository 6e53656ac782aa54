"""How fast pictures are answered, beside a static route on the same server, and how fast their loads are written.

`python -m tests.benchmarks.pixels` prints loads a second of the pixel and of a route that answers the same 43 octets
and does nothing else; the 99th percentile of a load while the database answers, and while it is locked for five
seconds; and hits a second that `record` writes, tied to mails and naming nobody, on SQLite and PostgreSQL.
`--seconds N` and `--hits N` make it longer.
"""

import argparse
import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

import uvloop
from sqlmodel import Session, SQLModel
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mailer import ids, migrate, signals
from mailer.database import Database
from mailer.feedback.tracking import recording
from mailer.feedback.tracking.sightings import Class, Sighting, Trace, Verdict
from mailer.links import Audience, Hit, one_of
from mailer.models import ConsentRule, Opens, Tenant
from mailer.service import Service
from mailer.settings import Settings
from mailer.status import Status
from mailer.web.app import create_app
from mailer.web.recipient.pixel import GIF, HEADERS
from mailer.web.serve import Server, listen
from suppression.rules import Stream
from tests import servers
from tests.benchmarks.world import ask

NOW = datetime.now(UTC)
AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
)
CONNECTIONS, TOKENS, STALL = 16, 1_000, 5.0
AUDIENCE = Audience(1, Stream.PROMOTIONAL, "spring", "newsletter", "letter", NOW.date())


class _Static:
    """What a pixel costs that knows nothing."""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": GIF})


async def _serve(folder: str) -> None:
    service = Service.build(Settings(data_dir=folder))
    await service.prepare()
    await service.start()
    app = create_app(service)
    # Where the pixel stands, so that both are looked for equally long.
    place = next(number for number, route in enumerate(app.routes) if getattr(route, "path", "").startswith("/o/"))
    app.router.routes.insert(place, Route("/static/{token}.gif", _Static()))
    server = Server(app)
    with listen("127.0.0.1", 0) as bound, signals.heard(server.stop):
        urls = [
            str(service.links.of_mail(Stream.PROMOTIONAL, None, one_of(AUDIENCE.pack())).pixel) for _ in range(TOKENS)
        ]
        Path(folder, "tokens").write_text("\n".join(url.rpartition("/")[2] for url in urls))
        print(bound.getsockname()[1], flush=True)
        await server.serve(sockets=[bound])
        await service.stop()


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: {AGENT}\r\nAccept: image/*\r\n\r\n".encode()


def _cpu(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Figures(NamedTuple):
    """Loads a second, and microseconds of the server's processor for one."""

    rate: float
    cpu: float


async def _rates(port: int, process: int, tokens: Sequence[str], seconds: float) -> dict[str, Figures]:
    """Ask both in turns, so that both meet the same weather; writing down what came before is the pixel's."""
    paths = {"static": "/static/", "pixel": "/o/"}
    requests = {name: [_request(path + token) for token in tokens] for name, path in paths.items()}
    took, asked, used = dict.fromkeys(paths, 0.0), dict.fromkeys(paths, 0), dict.fromkeys(paths, 0.0)
    while min(took.values()) < seconds:
        for name, some in requests.items():
            before = _cpu(process)
            took[name] += await ask(port, some, CONNECTIONS)
            asked[name] += len(some)
            if name == "pixel":
                await asyncio.sleep(1)
            used[name] += _cpu(process) - before
    return {name: Figures(asked[name] / took[name], used[name] / asked[name] * 1e6) for name in paths}


async def _p99(port: int, tokens: Sequence[str], seconds: float) -> float:
    """Load a picture every 5 ms; return the 99th percentile in milliseconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        writer.write(_request("/o/" + tokens[len(times) % len(tokens)]))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readexactly(len(GIF))
        times.append(time.perf_counter() - began)
        await asyncio.sleep(0.005)
    writer.close()
    return sorted(times)[int(len(times) * 0.99)] * 1000


async def _stalled(port: int, tokens: Sequence[str], folder: Path) -> float:
    lock = sqlite3.connect(folder / "mailer.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    try:
        return await _p99(port, tokens, STALL)
    finally:
        lock.execute("ROLLBACK")
        lock.close()


async def _served(seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="mailer-pixels-") as folder:
        words = [sys.executable, "-m", "tests.benchmarks.pixels", "--serve", folder]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                port = int(server.stdout.readline())
                tokens = Path(folder, "tokens").read_text().split()
                await _rates(port, server.pid, tokens, 0.1)
                found = await _rates(port, server.pid, tokens, seconds)
                static, pixel = found["static"], found["pixel"]
                print(f"static route {static.rate:,.0f}/s, {static.cpu:.0f} us of the server each")
                print(f"pixel {pixel.rate:,.0f}/s, {pixel.cpu:.0f} us each with all that is written: ", end="")
                print(f"{pixel.rate / static.rate:.2f} of the rate")
                print(f"p99 of a load: {await _p99(port, tokens, STALL):.1f} ms; ", end="")
                print(f"while the database is locked: {await _stalled(port, tokens, Path(folder)):.1f} ms")
            finally:
                server.terminate()


def _mails(session: Session, number: int) -> list[str]:
    session.add(
        Tenant(
            id=1,
            key="bench",
            name="Bench",
            consent=ConsentRule.NOT_REFUSED,
            promotional_opens=Opens.INDIVIDUAL,
            promotional_clicks=Opens.INDIVIDUAL,
            created_at=NOW,
        )
    )
    session.flush()
    table = SQLModel.metadata.tables["email"]
    shared = {
        "tenant_id": 1,
        "stream": Stream.PROMOTIONAL,
        "status": Status.SENT,
        "urgency": 1,
        "content_id": 1,
        "due_at": NOW,
        "created_at": NOW,
        "sent_at": NOW,
        "locale": "en",
        "template": "letter",
        "topic": "news",
        "from_address": "a@b.example",
        "opens": Opens.INDIVIDUAL,
        "clicks": Opens.INDIVIDUAL,
        "provider": "gmail",
    }
    rows = [
        {**shared, "id": ids.new("em", NOW), "address": f"p{each}@example.org", "fingerprint": each.to_bytes(16)}
        for each in range(number)
    ]
    session.execute(table.insert(), rows)
    return [str(row["id"]) for row in rows]


async def _recorded(name: str, database: Database, number: int) -> None:
    """Write hits as the buffer does, 500 a transaction: each mail four times, each nobody twice."""
    mails = await database.run(lambda session: _mails(session, number // 4))
    human, trace = Verdict(Class.HUMAN, "browser"), Trace("GET", AGENT)
    moments = [NOW + timedelta(minutes=each) for each in (5, 60, 600, 900)]
    tied = [Sighting(Hit(each, None, b""), human, at, trace) for at in moments for each in mails]
    marks = [Hit(None, AUDIENCE, each.to_bytes(8)) for each in range(number // 2)] * 2
    nobody = [Sighting(hit, human, moments[0]) for hit in marks]
    for kind, sightings in (("tied to mails", tied), ("naming nobody", nobody)):
        began = time.perf_counter()
        for start in range(0, len(sightings), 500):
            await database.run(partial(recording.record, sightings=sightings[start : start + 500], now=NOW))
        took = time.perf_counter() - began
        print(f"{name}: {len(sightings):,} hits {kind}: {len(sightings) / took:,.0f}/s")


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        await database.close()


async def _written(number: int) -> None:
    with tempfile.TemporaryDirectory(prefix="mailer-pixels-") as folder:
        path = Path(folder) / "mailer.db"
        await asyncio.to_thread(migrate.upgrade_sqlite, path)
        async with _opened(f"sqlite:///{path}") as database:
            await _recorded("SQLite", database, number)
    if shutil.which("initdb") or list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        with servers.postgres(migrate.upgrade_postgresql, tuple(SQLModel.metadata.tables)) as server:
            url = await asyncio.to_thread(server.take)
            async with _opened(url) as database:
                await _recorded("PostgreSQL", database, number)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each route is asked")
    parser.add_argument("--hits", type=int, default=40_000, help="how many hits of each kind are written")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        uvloop.run(_serve(given.serve))
        return
    uvloop.run(_served(given.seconds))
    uvloop.run(_written(given.hits))


if __name__ == "__main__":
    main()
