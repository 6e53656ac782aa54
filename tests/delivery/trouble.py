"""Pipelines as workers have them, over PostgreSQL and Redis with several relays, and what became of their mail."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count

from sqlmodel import Session, col, select

from mailer.database import Database
from mailer.delivery.breaker import Breaker
from mailer.delivery.connections import Connections
from mailer.delivery.limits import Limits, Schedule, Store
from mailer.delivery.outcomes import Retry
from mailer.delivery.pipeline import Pipeline, Route
from mailer.delivery.relay import connect, tls_context
from mailer.delivery.wire import Wire
from mailer.models import Email
from mailer.relays import Relay, parse_relay
from mailer.service import end_loops
from mailer.status import Status
from suppression.rules import Stream
from tests import servers
from tests.delivery import mails
from tests.delivery.mails import Letters

_numbers = count()
#: Gmail's minutes as seconds.
FAST = Schedule(lapse=30.0, pause=1.0, step=0.3, most=3)


def to(relay: servers.Relay, options: str = "starttls=off&connections=4", *, who: str = "") -> Relay:
    """Return a relay as the settings would name it."""
    return parse_relay(f"smtp://{who}127.0.0.1:{relay.port}?{options}", "MAILER_PROMOTIONAL_RELAY")


@asynccontextmanager
async def worker(
    database: Database,
    stream: Stream,
    relays: Sequence[Relay],
    store: Store,
    *,
    step: float = 60.0,
    letters: Letters | None = None,
) -> AsyncIterator[Pipeline]:
    """One worker's pipeline; `step` bounds each step on the way to a connection, in seconds."""

    async def opened(relay: Relay) -> Wire:
        return await connect(relay, "us.example", tls_context(relay), timeout=step)

    name = f"worker-{next(_numbers)}"
    limits = Limits(stream, name, store, database)
    taken = Connections(relays, opened, limits, Breaker(database, stream))
    retry = Retry([timedelta(minutes=1), timedelta(minutes=5)], timedelta(days=3))
    made = Pipeline(database, letters or Letters(), Route(stream), taken, retry, name)
    try:
        yield made
    finally:
        async with asyncio.timeout(10):
            await made.stop()


async def tend(pipeline: Pipeline) -> None:
    """Do once what a process does twice a second beside the mail."""
    await pipeline.connections.breaker.look()
    await pipeline.connections.limits.beat()
    await pipeline.tidy()


async def every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do something again and again until cancelled."""
    while True:
        await work()
        await asyncio.sleep(seconds)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another task is about to do."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def deliver(*workers: Pipeline, seconds: float = 15, until: Callable[[dict[Status, int]], bool]) -> None:
    """Let workers look for mail and tend to what they have, as processes do, until the sums are as they should be."""
    database = workers[0]._database
    loops = [each for pipeline in workers for each in (every(0.02, pipeline.ring), every(0.1, partial(tend, pipeline)))]
    running = [asyncio.create_task(each) for each in loops]
    try:
        async with asyncio.timeout(seconds):
            while not until(await database.read(mails.statuses)):
                for task in running:
                    assert not task.done(), task.result()
                await asyncio.sleep(0.02)
    finally:
        await end_loops(running)


async def add(database: Database, number: int, stream: Stream, **fields: object) -> list[str]:
    """Add emails that are due now by the clock on the wall."""
    now = datetime.now(UTC)
    return await database.run(lambda session: mails.add(session, number, stream, now, **fields))  # type: ignore[arg-type]


async def rows(database: Database, prefix: str = "") -> list[Email]:
    """Return the emails to addresses that begin so."""

    def find(session: Session) -> list[Email]:
        return list(session.exec(select(Email).where(col(Email.address).startswith(prefix)).order_by(Email.id)).all())

    return await database.read(find)
