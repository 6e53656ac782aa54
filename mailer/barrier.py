"""One wait for many: whoever asks while it is under way shares the next one."""

import asyncio
from collections.abc import Awaitable, Callable


class Barrier:
    """Runs a wait for whoever asks, one at a time; nobody passes by a wait that began before they asked.

    A thousand opt-outs at one moment take a few of PostgreSQL's locks and not a thousand, and stop workers as rarely.
    """

    def __init__(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Remember what is waited for."""
        self._wait = wait
        self._under_way: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def passed(self) -> None:
        """Return when a wait has ended that began after this call; raises what it raised."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._under_way))
            self._next.add_done_callback(_heard)
        # Whoever gives up waiting must not end it for the others.
        await asyncio.shield(self._next)

    async def _after(self, earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            await asyncio.wait({earlier})
        # Whoever comes from here on may have committed after this wait began, and shares the one behind it.
        self._under_way, self._next = self._next, None
        await self._wait()


def _heard(task: asyncio.Task[None]) -> None:
    """Take note of a failure that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
