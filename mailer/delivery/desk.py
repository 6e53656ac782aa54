"""Where claimed mail is composed: several in one go, which takes two fifths of the time."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from mailer.delivery.carrier import Ready
from mailer.delivery.claims import Job

#: How many mails are composed in one go: nothing else is done meanwhile, which may be five milliseconds. (The first
#: fetch code and data back into the processor's caches.)
_TOGETHER = 64
#: As long as nobody knows how large they are, so many.
_FIRST = 8
#: Below so many composed mails the next ones are begun, so that no connection waits for them.
_LOW = 32
#: Octets of mail that are composed ahead, about: large mail is composed when its turn comes.
_MOST = 1_000_000

#: A claimed mail in the order of its turn.
Waiting = tuple[int, datetime, str, Job]


class Letters(Protocol):
    """Turns claimed rows into mail."""

    async def prepare(self, jobs: Sequence[Job]) -> None:
        """Fetch what composing these needs (content, tenants, choices), in a few queries for all."""

    async def compose(self, jobs: Sequence[Job], *, rewritten: frozenset[str] | None) -> Sequence[Ready | Exception]:
        """Return each row's mail, signed but for what the relay rewrites (None: not signed), or why there is none."""


class _Made(NamedTuple):
    rewritten: frozenset[str] | None
    ready: "asyncio.Future[Ready]"


class Desk:
    """Composed mail of one run that waits for a connection."""

    def __init__(self, letters: Letters) -> None:
        """Begin with nothing composed."""
        self._letters = letters
        self._loop = asyncio.get_running_loop()
        self._made: dict[str, _Made] = {}
        self._batches: set[asyncio.Task[None]] = set()
        #: Octets of the largest mail of the latest batch; nobody knows what the first ones are like.
        self._size = _MOST // _FIRST

    def take(self, job: Job, rewritten: frozenset[str] | None, waiting: Sequence[Waiting]) -> "asyncio.Future[Ready]":
        """Return the mail of one row, composed together with some of those that wait; nearly always it is there.

        Awaiting it raises what stands in the way, a `MailerError` where the mail is at fault.
        """
        made = self._made.pop(job.id, None)
        if made is None or made.rewritten != rewritten:
            self._begin([job, *self._next(waiting)], rewritten)
            return self._made.pop(job.id).ready
        if len(self._made) < _LOW and (following := self._next(waiting)):
            self._begin(following, rewritten)
        return made.ready

    def _next(self, waiting: Sequence[Waiting]) -> list[Job]:
        """Return what is composed along: mail with files and headers of its own shares nothing with the one before."""
        some = min(_TOGETHER, _MOST // self._size) - 1
        if some < 1:
            return []
        jobs = [job for *_, job in waiting[: 2 * _TOGETHER] if job.id not in self._made and not job.details]
        return jobs[:some]

    def _begin(self, jobs: Sequence[Job], rewritten: frozenset[str] | None) -> None:
        for job in jobs:
            self._made[job.id] = _Made(rewritten, self._loop.create_future())
        batch = self._loop.create_task(self._compose(jobs, rewritten, [self._made[job.id].ready for job in jobs]))
        self._batches.add(batch)
        batch.add_done_callback(self._batches.discard)

    async def _compose(
        self, jobs: Sequence[Job], rewritten: frozenset[str] | None, ready: "Sequence[asyncio.Future[Ready]]"
    ) -> None:
        composed: Sequence[Ready | Exception] = [RuntimeError("composing was broken off")] * len(jobs)
        try:
            composed = await self._letters.compose(jobs, rewritten=rewritten)
        except Exception as error:  # noqa: BLE001 - whoever takes the mail hears of it
            composed = [error] * len(jobs)
        finally:
            # Where none came out nobody knows why: the next ones are tried one by one.
            self._size = max((len(each.data) for each in composed if isinstance(each, Ready)), default=_MOST)
            for each, future in zip(composed, ready, strict=True):
                _tell(future, each)

    def forget(self, jobs: Iterable[Job]) -> None:
        """Drop the mail of rows that go back untried: when they are claimed again they may say something else."""
        for job in jobs:
            self._made.pop(job.id, None)

    async def end(self) -> None:
        """Wait for what is being composed, and drop it all."""
        self._made = {}
        await asyncio.gather(*self._batches, return_exceptions=True)


def _tell(future: "asyncio.Future[Ready]", made: Ready | Exception) -> None:
    if future.done():
        # Whoever waited for it was cancelled.
        return
    if isinstance(made, Ready):
        future.set_result(made)
        return
    # A future takes no StopIteration.
    future.set_exception(RuntimeError(str(made)) if isinstance(made, StopIteration) else made)
    # Nobody has to take it: its row may have gone back.
    future.exception()
