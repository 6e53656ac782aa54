"""Workers that share the connections of one relay: each has its part, and nobody waits for what others have."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from mailer.database import Database
from mailer.delivery import committing
from mailer.delivery.limits import LocalStore
from mailer.delivery.limits.stores import Ask
from mailer.delivery.pipeline import Pipeline
from tests.delivery import mails, trouble
from tests.delivery.mails import P
from tests.servers import Relay, Stage

#: So many connections all workers may have together.
_ALL = 8


async def add(database: Database, number: int) -> None:
    await database.run(lambda session: mails.add(session, number, P, datetime.now(UTC)))


@asynccontextmanager
async def worker(database: Database, relay: Relay, store: LocalStore) -> AsyncIterator[Pipeline]:
    """One that works for as long as it is there."""
    options = f"starttls=off&connections={_ALL}&per_connection=100000"
    async with trouble.worker(database, P, [trouble.to(relay, options)], store) as made:
        working = asyncio.create_task(trouble.deliver(made, seconds=60, until=lambda _sums: False))
        try:
            yield made
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)


def held(pipeline: Pipeline) -> int:
    return pipeline.connections._lines.in_use.total()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_worker_that_makes_room_keeps_its_share_and_has_all_again_when_the_other_is_gone(
    database: Database, relay: Relay
) -> None:
    store = LocalStore(time.monotonic)
    relay.at(Stage.DOT, wait=0.05)
    await add(database, 3000)
    async with worker(database, relay, store) as first:
        await until(lambda: held(first) == _ALL)
        async with worker(database, relay, store) as second:
            least = _ALL
            async with asyncio.timeout(10):
                while (held(first), held(second)) != (_ALL // 2, _ALL // 2):
                    least = min(least, held(first))
                    await asyncio.sleep(0.001)
            assert least >= _ALL // 2
        await until(lambda: held(first) == _ALL)
    assert relay.peak == _ALL
    assert len(relay.recipients) == len(set(relay.recipients))


async def test_commits_do_not_wait_for_connections_that_others_have(
    database: Database, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committing, "_SOON", 3600.0)
    store = LocalStore(time.monotonic)
    key = f"{P}:smtp://127.0.0.1:{relay.port}:connections"
    [others] = await store.seat("another", [Ask(key, 0, _ALL - 2, _ALL)])
    assert others.allowed == _ALL - 2
    await add(database, 600)
    async with worker(database, relay, store) as pipeline:
        await until(lambda: held(pipeline) == 2)
        await until(lambda: len(relay.mails) == 600)
