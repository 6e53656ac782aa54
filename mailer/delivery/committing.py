"""Group commits: what all connections of a run wait for is written in one transaction (spec section 4)."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from datetime import datetime

from sqlmodel import Session

from mailer.database import Database, unreachable
from mailer.delivery import claims
from mailer.delivery.claims import Job, Step, Worker
from mailer.delivery.claims.together import NotOurs, Together, usual

logger = logging.getLogger(__name__)

#: How many connections' steps one transaction takes.
_SHARED = 64
#: How long (in seconds) steps wait for others to be committed with.
_SOON = 0.01
#: How many refused intents one transaction explains, and how long (in seconds) the first one waits for others: the
#: transaction takes several statements, and nobody waits for it.
_REFUSED = 200
_LATER = 0.05
#: How long (in seconds) the end of a run tries to write what it knows.
_LAST = 5.0

_Waiting = tuple[Step, asyncio.Future[None]]


class GroupCommit:
    """Takes steps from many connections and commits those that wait together."""

    def __init__(self, database: Database, worker: Worker, urgency: int, connections: Sequence[Together]) -> None:
        """Begin with nothing; `urgency` is the place among the writers of SQLite, which has no `connections`."""
        self._database, self._worker, self._urgency = database, worker, urgency
        #: Nobody carries before the start.
        self._carrying: Callable[[], int] = int
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Waiting] = []
        #: Whose intents were refused, for a reason that is still to be written.
        self._refused: list[Job] = []
        self._some, self._enough, self._why = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, carrying: Callable[[], int]) -> None:
        """Begin to commit; `carrying` says how many connections to relays have mail at present."""
        self._carrying = carrying
        self._tasks = [asyncio.create_task(self._run(each)) for each in self._connections or (None,)]
        self._tasks.append(asyncio.create_task(self._refusing()))

    async def end(self) -> None:
        """Stop; whoever had a step to commit has been answered before, or was broken off."""
        await ended(self._tasks)
        left, self._waiting = self._waiting, []
        # What became of a mail is a fact, though nobody waits for it any more; an intent without a carrier is none.
        facts = [(Step(outcome=step.outcome), done) for step, done in left if step.outcome is not None]
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST):
                await self._together(facts, None)
                await self._refuse()

    def commit(self, step: Step) -> asyncio.Future[None]:
        """Return what is done when the step is committed; `step.granted` then says whether its intent was."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((step, done))
        self._some.set()
        if self._are_enough():
            self._enough.set()
        return done

    async def _run(self, connection: Together | None) -> None:
        try:
            while True:
                await self._something(connection)
                await self._company()
                some, self._waiting = self._waiting[:_SHARED], self._waiting[_SHARED:]
                if not self._waiting:
                    self._some.clear()
                if some:
                    await self._together(some, connection)
        finally:
            if connection is not None:
                await self._at_rest(connection)

    async def _something(self, connection: Together | None) -> None:
        """Wait for steps; where none come for a while, give the right to write intents back."""
        if self._some.is_set():
            return
        if connection is not None and connection.shares_until is not None:
            try:
                async with asyncio.timeout_at(connection.shares_until):
                    await self._some.wait()
                    return
            except TimeoutError:
                await self._at_rest(connection)
        await self._some.wait()

    async def _company(self) -> None:
        """Let half of the connections come together, if they come soon: a statement costs nearly the same for all."""
        if self._are_enough():
            return
        self._enough.clear()
        late = self._loop.call_later(_SOON, self._enough.set)
        await self._enough.wait()
        late.cancel()

    def _are_enough(self) -> bool:
        return len(self._waiting) >= min(self._carrying() / 2, _SHARED)

    @staticmethod
    async def _at_rest(connection: Together) -> None:
        try:
            await connection.rest()
        except Exception:  # noqa: BLE001 - the connection is gone, and its rights with it
            await connection.drop()

    async def _together(self, some: Sequence[_Waiting], connection: Together | None) -> None:
        """Commit what waits; an outcome is tried until it is written, so nobody hears "done" too early."""
        if connection is not None:
            some = await self._usual(some, connection)
        if not some:
            return
        steps = [step for step, _done in some]
        error = await self._lasting(lambda session, now: claims.commit(session, steps, self._worker, now))
        if error is None:
            self._committed(some)
            return
        # Whatever happened, no intent was granted.
        for step in steps:
            step.granted = False
        await self._apart(some, error)

    async def _lasting(self, verb: Callable[[Session, datetime], None]) -> Exception | None:
        """Run a verb until the database answers; return what it has against it."""
        waits = iter((0.1, 0.2, 0.5, 1.0))
        while True:
            try:
                await self._database.run(lambda session: verb(session, self._database.now()), urgency=self._urgency)
            except Exception as error:  # noqa: BLE001 - whoever asked decides about it
                if not unreachable(error):
                    return error
            else:
                return None
            await asyncio.sleep(next(waits, 2.0))

    async def _usual(self, some: Sequence[_Waiting], connection: Together) -> Sequence[_Waiting]:
        """Commit in one round trip what is usual; return what needs the longer way."""
        quick = [each for each in some if usual(each[0])]
        rest = [each for each in some if not usual(each[0])]
        if not quick:
            return rest
        try:
            await connection.commit([step for step, _future in quick], self._worker, self._database.now())
        except NotOurs:
            return some
        except Exception as error:  # noqa: BLE001 - the longer way tries until the database is back
            logger.warning("the quick way to commit failed: %s", type(error).__name__)
            for step, _future in quick:
                step.granted = False
            await connection.drop()
            return some
        self._committed(quick)
        return rest

    def _committed(self, some: Sequence[_Waiting]) -> None:
        # What was refused carries no intent: why it was may be written afterwards.
        self._refused += [step.intent for step, _future in some if step.intent is not None and not step.granted]
        if self._refused:
            self._why.set()
        _done(some)

    async def _refusing(self) -> None:
        """Write why intents were refused, for those of several commits together."""
        while True:
            await self._why.wait()
            await asyncio.sleep(_LATER)
            self._why.clear()
            await self._refuse()

    async def _refuse(self) -> None:
        while self._refused:
            some = self._refused[:_REFUSED]
            await self._explain(some)
            # Only now: whoever is broken off leaves them to the end.
            del self._refused[: len(some)]

    async def _explain(self, jobs: Sequence[Job]) -> None:
        """Write the reasons of some; one that cannot be written does not hold up the others."""
        error = await self._lasting(lambda session, now: claims.refuse(session, jobs, self._worker, now))
        if error is not None and len(jobs) > 1:
            for job in jobs:
                await self._explain([job])
        elif error is not None:
            # It stays claimed, and goes back with the lease.
            logger.error("why it was refused could not be written for %s", jobs[0].id, exc_info=error)

    async def _apart(self, some: Sequence[_Waiting], error: Exception) -> None:
        """One of these steps cannot be written: find it, so that the others are not held up by it."""
        if len(some) > 1:
            for one in some:
                await self._together([one], None)
            return
        step = some[0][0]
        job = step.intent if step.outcome is None else step.outcome.job
        # The email keeps its intent, and the end of the lease decides as it does after a crash: honestly.
        logger.error("an outcome could not be written for %s", job.id if job else "nothing", exc_info=error)
        _done(some)


def _done(some: Iterable[_Waiting]) -> None:
    for _step, future in some:
        if not future.done():
            future.set_result(None)


async def ended(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until they are over."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
