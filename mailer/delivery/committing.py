"""Group commits: what all connections of a run wait for is written in one transaction (spec section 4)."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from mailer.database import Database, unreachable
from mailer.delivery import claims
from mailer.delivery.claims import Step, Worker

logger = logging.getLogger(__name__)

#: How many transactions run at once. SQLite has one writer: a second would only make the groups smaller.
_AT_ONCE = 2
#: How many connections' steps one transaction takes.
_SHARED = 64

_Waiting = tuple[Step, asyncio.Future[None]]


class GroupCommit:
    """Takes steps from many connections and commits those that wait together."""

    def __init__(self, database: Database, worker: Worker, urgency: int) -> None:
        """Begin with nothing; `urgency` is the place among the writers of SQLite."""
        self._database, self._worker, self._urgency = database, worker, urgency
        self._waiting: list[_Waiting] = []
        self._some = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to commit."""
        number = _AT_ONCE if self._database.on_postgresql else 1
        self._tasks = [asyncio.create_task(self._run()) for _ in range(number)]

    async def end(self) -> None:
        """Stop; whoever had a step to commit has been answered before."""
        await ended(self._tasks)

    async def commit(self, step: Step) -> None:
        """Return when the step is committed; `step.granted` then says whether its intent was."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((step, done))
        self._some.set()
        await done

    async def _run(self) -> None:
        while True:
            await self._some.wait()
            some, self._waiting = self._waiting[:_SHARED], self._waiting[_SHARED:]
            if not self._waiting:
                self._some.clear()
            if some:
                await self._together(some)

    async def _together(self, some: Sequence[_Waiting]) -> None:
        """Commit what waits; an outcome is tried until it is written, so nobody hears "done" too early."""
        steps = [step for step, _done in some]
        waits = iter((0.1, 0.2, 0.5, 1.0))
        while True:
            try:
                await self._database.run(
                    lambda session: claims.commit(session, steps, self._worker, datetime.now(UTC)),
                    urgency=self._urgency,
                )
                break
            except Exception as error:  # noqa: BLE001 - whatever happened, no intent was granted
                for step in steps:
                    step.granted = False
                if not unreachable(error):
                    await self._apart(some, error)
                    return
                await asyncio.sleep(next(waits, 2.0))
        for _step, done in some:
            if not done.done():
                done.set_result(None)

    async def _apart(self, some: Sequence[_Waiting], error: Exception) -> None:
        """One of these steps cannot be written: find it, so that the others are not held up by it."""
        if len(some) > 1:
            for one in some:
                await self._together([one])
            return
        step, done = some[0]
        job = step.intent if step.outcome is None else step.outcome.job
        # The email keeps its intent, and the end of the lease decides as it does after a crash: honestly.
        logger.error("an outcome could not be written for %s", job.id if job else "nothing", exc_info=error)
        if not done.done():
            done.set_result(None)


async def ended(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until they are over."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
