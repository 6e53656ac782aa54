"""Workers that share the connections of one relay: each has its part, and nobody waits for what others have."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from mailer.database import Database
from mailer.delivery import committing
from mailer.delivery.limits import Limits, LocalStore, Quota
from mailer.delivery.limits.quota import USUAL
from mailer.delivery.limits.stores import Ask
from mailer.delivery.pipeline import Pipeline
from mailer.service import end_loops
from tests.delivery import limiting, trouble
from tests.delivery.mails import P
from tests.delivery.trouble import every, until
from tests.servers import Redis, Relay, Stage

#: So many connections all workers may have together.
_ALL = 8


@asynccontextmanager
async def worker(database: Database, relay: Relay, store: LocalStore) -> AsyncIterator[Pipeline]:
    """One that works for as long as it is there."""
    options = f"starttls=off&connections={_ALL}&per_connection=100000"
    async with trouble.worker(database, P, [trouble.to(relay, options)], store) as made:
        # As processes do: no bell rings while a run goes on.
        work = ((0.2, made.ring), (0.1, partial(trouble.tend, made)))
        loops = [asyncio.create_task(every(seconds, each)) for seconds, each in work]
        try:
            yield made
        finally:
            await end_loops(loops)


def held(pipeline: Pipeline) -> int:
    return sum(line.held for line in pipeline.connections.limits._lines.values())


async def test_a_worker_that_makes_room_keeps_its_share_and_has_all_again_when_the_other_is_gone(
    database: Database, relay: Relay
) -> None:
    store = LocalStore(time.monotonic)
    # So slow that all ends before the next claim: nobody may wait for it.
    relay.at(Stage.DOT, wait=0.4)
    await trouble.add(database, 1000, P)
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
    others = Ask(key, _ALL - 2, _ALL - 2, _ALL)

    async def beat() -> None:
        await store.seat("another", [others])

    await beat()
    beating = asyncio.create_task(every(0.5, beat))
    await trouble.add(database, 600, P)
    async with worker(database, relay, store) as pipeline:
        await until(lambda: held(pipeline) == 2)
        await until(lambda: len(relay.mails) == 600)
    await end_loops([beating])


async def test_no_more_connections_than_all_may_have_however_answers_and_goodbyes_cross(redis: Redis) -> None:
    quota, seconds = Quota(name="relay", connections=16), 2.0
    taken: list[int] = [0]
    async with limiting.workers(redis.url, 2, schedule=USUAL) as both:

        async def carry(limits: Limits) -> None:
            while time.monotonic() < end:
                if await limits.connect(quota):
                    await asyncio.sleep(0.01)
                    continue
                taken.append(taken[-1] + 1)
                await asyncio.sleep(random.uniform(0, 0.004))
                taken.append(taken[-1] - 1)
                await limits.disconnect(quota)

        async def beat(limits: Limits) -> None:
            while time.monotonic() < end:
                await limits.beat()
                await asyncio.sleep(0.005)

        end = time.monotonic() + seconds
        await asyncio.gather(*map(beat, both), *(carry(each) for each in both for _ in range(16)))
    assert max(taken) == quota.connections
    assert taken[-1] == 0
