"""How many events a second one endpoint is told, one a request, beside what a client reaches that only posts.

python -m tests.benchmarks.webhooks [--postgresql] [EVENTS]
"""

import asyncio
import itertools
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime

import httpcore2
import orjson
import uvloop
from sqlalchemy import text
from sqlmodel import Session

from mailer import events, ids, tenancy
from mailer.database import Database
from mailer.outside import Guard, Outside
from mailer.sealing import Seals
from mailer.settings import Settings
from mailer.webhooks import Deliverer, Hooks, endpoints
from mailer.webhooks.delivering import WIDTH
from mailer.webhooks.endpoints import Wanted
from tests import hooks
from tests.benchmarks.world import fresh_database

_CHUNK = 500


async def consume() -> None:
    """Be the consumer, in a process of its own: say the port, then take everything."""
    async with hooks.server() as server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        while True:
            await asyncio.sleep(3600)


async def bare(url: str, number: int) -> float:
    """Return what a client reaches that only posts, in requests a second."""
    body, left = orjson.dumps({"type": "email.bounced", "data": {"filler": "x" * 300}}), itertools.count()
    async with httpcore2.AsyncConnectionPool(max_connections=WIDTH) as pool:

        async def post() -> None:
            while next(left) < number:
                await pool.request("POST", url, content=body)

        began = time.perf_counter()
        await asyncio.gather(*(post() for _ in range(WIDTH)))
        return number / (time.perf_counter() - began)


async def ours(database: Database, url: str, number: int) -> float:
    """Return what we reach, from the first message to the last one settled, in messages a second."""
    hooked = Hooks(Seals("k1:" + "secret" * 6, "webhook"), Guard(loopback=True))
    now = datetime.now(UTC)

    def make(session: Session) -> tuple[int, str]:
        tenant = tenancy.prepare(session, Settings(), now)
        assert tenant.id is not None
        return tenant.id, endpoints.create(session, hooked, tenant.id, Wanted(url), now).webhook.id

    tenant_id, webhook_id = await database.run(make)
    for start in range(0, number, _CHUNK):
        data = {"reply": "550 5.1.1 no such user", "category": "no-mailbox", "hard": True}
        rows = [
            events.row(tenant_id, "email.bounced", data, now, email_id=ids.new("em", now))
            for _ in range(min(_CHUNK, number - start))
        ]
        await database.run(lambda session, rows=rows: events.write(session, rows))  # type: ignore[misc]
    deliverer = Deliverer(database, Outside(Guard(loopback=True)), hooked.seals)
    began = time.perf_counter()
    running = asyncio.create_task(deliverer.run())
    while await database.read(lambda session: waiting(session, webhook_id)):
        await asyncio.sleep(0.1)
    rate = number / (time.perf_counter() - began)
    await deliverer.stop()
    await running
    return rate


def waiting(session: Session, webhook_id: str) -> bool:
    """Return whether a message waits."""
    statement = "SELECT 1 FROM webhook_delivery WHERE webhook_id = :id AND state = 'waiting' LIMIT 1"
    return session.connection().execute(text(statement), {"id": webhook_id}).first() is not None


async def measure(url: str, database_url: str, number: int) -> None:
    """Measure both, the bare client before and after, and print JSON."""
    database = Database(database_url)
    before = await bare(url, number)
    reached = await ours(database, url, number)
    after = await bare(url, number)
    client = (before + after) / 2
    figures = {
        "events": number,
        "database": "postgresql" if database.on_postgresql else "sqlite",
        "events_per_second": round(reached),
        "bare_client_per_second": round(client),
        "ratio": round(reached / client, 2),
    }
    await database.close()
    sys.stdout.write(orjson.dumps(figures).decode() + "\n")


def main(words: list[str]) -> None:
    """Run it."""
    if "--consume" in words:
        uvloop.run(consume())
        return
    numbers = [int(word) for word in words if word.isdigit()]
    with ExitStack() as stack:
        url = stack.enter_context(fresh_database(postgresql="--postgresql" in words))
        consumer = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "tests.benchmarks.webhooks", "--consume"], stdout=subprocess.PIPE, text=True
            )
        )
        stack.callback(consumer.kill)
        assert consumer.stdout is not None
        port = int(consumer.stdout.readline())
        uvloop.run(measure(f"http://127.0.0.1:{port}/hook", url, numbers[0] if numbers else 5_000))


if __name__ == "__main__":
    main(sys.argv[1:])
