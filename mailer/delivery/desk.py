"""Where claimed mail is composed: several in one go, for a mail takes half the time right behind one like it."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from mailer.delivery.carrier import Ready
from mailer.delivery.claims import Job

#: How many mails are composed in one go: nothing else is done meanwhile, which may be five milliseconds.
_TOGETHER = 32
#: Below so many composed mails the next ones are begun, so that no connection waits for them.
_LOW = 16
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
    batch: "asyncio.Task[Mapping[str, Ready | Exception]]"


class Desk:
    """Composed mail of one run that waits for a connection."""

    def __init__(self, letters: Letters) -> None:
        """Begin with nothing composed."""
        self._letters = letters
        self._made: dict[str, _Made] = {}
        #: Octets of the largest mail of the latest batch.
        self._size = 0

    async def take(self, job: Job, rewritten: frozenset[str] | None, waiting: Sequence[Waiting]) -> Ready:
        """Return the mail of one row, composed together with some of those that wait.

        Raises what stands in the way, a `MailerError` where the mail is at fault.
        """
        made = self._made.pop(job.id, None)
        if made is None or made.rewritten != rewritten:
            made = self._begin([job, *self._next(waiting)], rewritten)
            del self._made[job.id]
        elif len(self._made) < _LOW and (following := self._next(waiting)):
            self._begin(following, rewritten)
        if not made.batch.done():
            # Others wait for the same batch: whoever is cancelled must not take it from them.
            await asyncio.shield(made.batch)
        ready = made.batch.result()[job.id]
        if isinstance(ready, Exception):
            raise ready
        return ready

    def _next(self, waiting: Sequence[Waiting]) -> list[Job]:
        """Return what is composed along: mail with files and headers of its own shares nothing with the one before."""
        if self._size * _TOGETHER > _MOST:
            return []
        jobs = [job for *_, job in waiting[: 2 * _TOGETHER] if job.id not in self._made and not job.details]
        return jobs[: _TOGETHER - 1]

    def _begin(self, jobs: Sequence[Job], rewritten: frozenset[str] | None) -> _Made:
        made = _Made(rewritten, asyncio.create_task(self._compose(jobs, rewritten)))
        self._made.update(dict.fromkeys([job.id for job in jobs], made))
        return made

    async def _compose(self, jobs: Sequence[Job], rewritten: frozenset[str] | None) -> Mapping[str, Ready | Exception]:
        composed = await self._letters.compose(jobs, rewritten=rewritten)
        self._size = max((len(each.data) for each in composed if isinstance(each, Ready)), default=0)
        return dict(zip([job.id for job in jobs], composed, strict=True))

    def forget(self, jobs: Iterable[Job]) -> None:
        """Drop the mail of rows that go back untried: when they are claimed again they may say something else."""
        for job in jobs:
            self._made.pop(job.id, None)

    async def end(self) -> None:
        """Wait for what is being composed, and drop it all."""
        made, self._made = self._made, {}
        await asyncio.gather(*{each.batch for each in made.values()}, return_exceptions=True)
