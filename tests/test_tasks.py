"""Bells: rung once for a burst, answered on the event loop, in this process or through Redis in another."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from mailer.settings import Settings
from mailer.tasks import Bells
from suppression.rules import Stream
from tests.servers import Redis

T, P = Stream.TRANSACTIONAL, Stream.PROMOTIONAL
BOTH = frozenset(Stream)


class Ear:
    """Hears the bells of one process."""

    def __init__(self) -> None:
        """Begin with silence."""
        self.heard: list[Stream] = []
        self.loops: set[asyncio.AbstractEventLoop] = set()
        self.blocked: asyncio.Event | None = None
        self.error: Exception | None = None

    async def __call__(self, stream: Stream) -> None:
        """Do what a delivery would."""
        self.heard.append(stream)
        self.loops.add(asyncio.get_running_loop())
        if self.error is not None:
            raise self.error
        if self.blocked is not None and stream is P:
            await self.blocked.wait()

    async def hears(self, number: int) -> None:
        """Wait until so many bells were heard."""
        async with asyncio.timeout(10):
            while len(self.heard) < number:
                await asyncio.sleep(0.005)


@pytest.fixture
async def made() -> AsyncIterator[Callable[[Settings, Ear], Bells]]:
    """Make bells that are stopped after the test."""
    bells: list[Bells] = []

    def making(settings: Settings, ear: Ear) -> Bells:
        bells.append(Bells(settings, ear))
        return bells[-1]

    yield making
    for each in bells:
        await each.stop()


def remote(redis: Redis) -> Settings:
    return Settings(redis_url=redis.url, database_url="postgresql://nowhere/none")


async def test_a_bell_is_answered_on_the_loop_of_the_process(made: Callable[[Settings, Ear], Bells]) -> None:
    ear = Ear()
    bells = made(Settings(), ear)
    bells.start(BOTH)
    bells.ring(T)
    await ear.hears(1)
    assert ear.heard == [T]
    assert ear.loops == {asyncio.get_running_loop()}


async def test_a_burst_is_rung_once(made: Callable[[Settings, Ear], Bells]) -> None:
    ear = Ear()
    bells = made(Settings(), ear)
    bells.start(BOTH)
    for _ in range(100):
        bells.ring(T)
        bells.ring(P)
    await ear.hears(2)
    await asyncio.sleep(0.1)
    assert sorted(ear.heard) == [P, T]


async def test_a_long_campaign_does_not_keep_transactional_mail_waiting(
    made: Callable[[Settings, Ear], Bells],
) -> None:
    ear = Ear()
    ear.blocked = asyncio.Event()
    bells = made(Settings(), ear)
    bells.start(BOTH)
    bells.ring(P)
    await ear.hears(1)
    began = asyncio.get_running_loop().time()
    bells.ring(T)
    await ear.hears(2)
    ear.blocked.set()
    assert ear.heard == [P, T]
    assert asyncio.get_running_loop().time() - began < 1


async def test_a_delivery_that_fails_leaves_the_bell_in_order(
    made: Callable[[Settings, Ear], Bells], caplog: pytest.LogCaptureFixture
) -> None:
    ear = Ear()
    ear.error = RuntimeError("the database is away")
    bells = made(Settings(), ear)
    bells.start(BOTH)
    bells.ring(T)
    await ear.hears(1)
    ear.error = None
    bells.ring(T)
    await ear.hears(2)
    assert "a run of the transactional stream ended" in caplog.text


async def test_a_bell_goes_through_redis_to_a_worker_of_that_stream(
    made: Callable[[Settings, Ear], Bells], redis: Redis
) -> None:
    web, transactional, promotional = Ear(), Ear(), Ear()
    ringing = made(remote(redis), web)
    for ear, stream in ((transactional, T), (promotional, P)):
        made(remote(redis), ear).start(frozenset({stream}))
    ringing.ring(T)
    ringing.ring(P)
    await transactional.hears(1)
    await promotional.hears(1)
    assert (web.heard, transactional.heard, promotional.heard) == ([], [T], [P])


async def test_a_bell_that_cannot_be_rung_is_no_error_for_who_rings(
    made: Callable[[Settings, Ear], Bells], redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    ear = Ear()
    bells = made(remote(redis), ear)
    bells.start(BOTH)
    bells.ring(T)
    await ear.hears(1)
    redis.stop()
    try:
        bells.ring(T)
        async with asyncio.timeout(10):
            while "a bell could not be rung" not in caplog.text:
                await asyncio.sleep(0.01)
    finally:
        redis.start()
    # Redis is back and empty: the worker finds its way to it again.
    async with asyncio.timeout(20):
        while len(ear.heard) < 2:
            bells.ring(T)
            await asyncio.sleep(0.05)
