"""Long streams on an event loop that others share: taken as they come, and let go of now and then."""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

#: For how many seconds lines are read before others have the event loop.
_LONGEST_TURN = 0.005


async def turn(since: float) -> float:
    """Let others have the event loop where this turn began too long ago; return when the present turn began."""
    if time.monotonic() - since > _LONGEST_TURN:
        await asyncio.sleep(0)
        return time.monotonic()
    return since


async def each(things: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    """Return things one after the other, from any iterable, asynchronous or not."""
    if isinstance(things, AsyncIterable):
        async for thing in things:
            yield thing
        return
    for thing in things:
        yield thing
