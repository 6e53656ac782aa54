"""Workers that ask for limits, and clocks that stand still until they are told."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from mailer.database import Database
from mailer.delivery.limits import Limits, LocalStore, Quota, RedisStore, Schedule
from mailer.delivery.limits.stores import Ask, Grant, Need, Seats, Store
from mailer.relays import GroupLimits
from suppression.rules import Stream

T, P = Stream.TRANSACTIONAL, Stream.PROMOTIONAL
#: A database that nothing here asks.
UNUSED = Database(f"sqlite:///{Path('/nonexistent/mailer.db')}")
#: Minutes as seconds, for a Redis whose clock cannot be set.
FAST = Schedule(lapse=1.0, pause=1.0, step=1.5, most=3)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        """Start anywhere."""
        self.now = 5000.0

    def __call__(self) -> float:
        """Return the present."""
        return self.now


class Counted(LocalStore):
    """A store that knows how often it was asked."""

    asked = 0

    async def seat(self, worker: str, asks: Sequence[Ask]) -> list[Seats]:
        """Count, then answer."""
        self.asked += 1
        return await super().seat(worker, asks)

    async def grant(self, needs: Sequence[Need]) -> Grant:
        """Count, then answer."""
        self.asked += 1
        return await super().grant(needs)


def gmail(**limits: float | int | None) -> Quota:
    """Return a relay of which only Gmail is limited."""
    return Quota(name="one", connections=50, groups={"gmail": GroupLimits(**limits)})  # type: ignore[arg-type]


async def taken(limits: Limits, quota: Quota, provider: str = "gmail", most: int = 10_000) -> int:
    """Take mails until one must wait, and return how many there were."""
    count = 0
    while count < most:
        if limits.admit(quota, provider):
            count += 1
        elif await limits.refill(quota, provider) > 0:
            break
    return count


async def send(limits: Limits, quota: Quota, seconds: float, provider: str = "gmail", hold: float = 0.0) -> list[float]:
    """Send as many mails as may go in some seconds, and return when each went."""
    sent: list[float] = []
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        if limits.admit(quota, provider):
            sent.append(now)
            await asyncio.sleep(hold)
            limits.release(quota, provider)
        else:
            await asyncio.sleep(min(await limits.refill(quota, provider), end - now))
    return sent


async def give_way(a: Limits, b: Limits, quota: Quota, rest: Callable[[], Awaitable[None]]) -> tuple[int, int]:
    """Let one worker take every connection and another ask for some; return how many each has in the end."""
    held = {a: 0, b: 0}
    while await a.connect(quota) == 0.0:
        held[a] += 1
    for _ in range(10):
        await rest()
        held[b] += await b.connect(quota) == 0.0
        # What it still waits for is not forgotten when it says what it holds.
        await b.beat()
        await a.beat()
        assert sum(held.values()) <= quota.connections
        if a.crowded(quota):
            await a.disconnect(quota)
            held[a] -= 1
        # Who gave way does not take it back while the other still waits.
        held[a] += await a.connect(quota) == 0.0
    return held[a], held[b]


async def gives_all_back(store: Store, key: str) -> None:
    """Let one worker hold everything, hear that it has too much, and end: the other one may have it all at once."""

    async def asked(worker: str, held: int, wanted: int) -> int | None:
        return (await store.seat(worker, [Ask(key, held, wanted, 4)]))[0].allowed

    assert await asked("a", 0, 4) == 4
    assert await asked("b", 0, 4) == 0
    assert await asked("a", 4, 4) == 2
    assert await asked("a", 0, 0) == 0
    assert await asked("b", 0, 4) == 4


def densest(times: Sequence[float], window: float = 1.0) -> int:
    """Return the largest number of mails within any window."""
    times, first, most = sorted(times), 0, 0
    for last, at in enumerate(times):
        while at - times[first] > window:
            first += 1
        most = max(most, last - first + 1)
    return most


@asynccontextmanager
async def workers(url: str, count: int, stream: Stream = T, schedule: Schedule = FAST) -> AsyncIterator[list[Limits]]:
    """Several workers, each with a connection to Redis of its own."""
    stores = [RedisStore(url, schedule) for _ in range(count)]
    try:
        yield [Limits(stream, f"worker-{number}", store, UNUSED) for number, store in enumerate(stores)]
    finally:
        for store in stores:
            await store.close()
