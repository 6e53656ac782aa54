"""What was seen and is not written yet, bounded."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from mailer import database
from mailer.feedback.tracking.sightings import Sighting

#: How many are written in one transaction.
_BULK = 500
#: How often a database that is away at the end is asked again.
_LAST_TRIES = 10
_log = logging.getLogger(__name__)


class Hits:
    """What was seen and is not written yet: bounded, so that a flood costs memory no more than `limit`.

    `write` stores a few hundred at once in a transaction of its own. While the database is away what is here waits;
    what finds no room is dropped and counted. One event loop may use it.
    """

    def __init__(
        self, write: Callable[[Sequence[Sighting]], Awaitable[None]], *, limit: int = 40_000, pause: float = 0.5
    ) -> None:
        """Begin empty; `pause` is the time between two writes in seconds."""
        self._write = write
        self._limit = limit
        self._pause = pause
        self._waiting: deque[Sighting] = deque()
        #: The second in which hits come, and what has come in it.
        self._second: datetime | None = None
        self._repeats: set[object] = set()
        self._stopping = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        #: How many were lost, for the metrics page.
        self.dropped = 0

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def add(self, sighting: Sighting) -> bool:
        """Keep a sighting to be written and return whether there was room; never waits.

        The same hit again within the same second is one hit (R6.4): a program that hammers costs next to nothing.
        """
        if (second := sighting.at.replace(microsecond=0)) != self._second:
            self._second = second
            self._repeats.clear()
        hit = sighting.hit
        what = (hit.email_id, hit.mark, hit.link.place if hit.link else None, sighting.verdict)
        if what in self._repeats:
            return True
        if len(self._waiting) >= self._limit:
            self.dropped += 1
            return False
        self._repeats.add(what)
        self._waiting.append(sighting)
        return True

    def start(self) -> None:
        """Begin to write in the background of the running event loop."""
        self._stopping.clear()
        self._writer = asyncio.create_task(self._run(), name="hits")

    async def stop(self) -> None:
        """Write what waits and end; what a database that is away does not take within seconds is lost, and counted."""
        self._stopping.set()
        if self._writer is not None:
            await self._writer
            self._writer = None
        await self.flush()
        for _ in range(_LAST_TRIES):
            if not self._waiting:
                break
            await asyncio.sleep(self._pause)
            await self.flush()
        self.dropped += len(self._waiting)
        self._waiting.clear()

    async def flush(self) -> None:
        """Write what waits now."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(_BULK, len(self._waiting)))]
            try:
                await self._write(batch)
            except Exception as error:  # noqa: BLE001 - a picture of a mail must not end the writer of all others
                if database.unreachable(error):
                    self._waiting.extendleft(reversed(batch))
                else:
                    self.dropped += len(batch)
                # No text of the error: it may hold what the statement held.
                _log.warning("%d loaded pictures were not written: %s", len(batch), type(error).__name__)
                return

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await asyncio.wait_for(self._stopping.wait(), self._pause)
            except TimeoutError:
                await self.flush()
