"""Where claimed mail is composed: several in one go, for a mail takes half the time right behind one like it."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from mailer.delivery.carrier import Ready
from mailer.delivery.claims import Job

#: How many mails are composed in one go. Each may take a third of a millisecond where it is signed, and nothing else
#: is done meanwhile.
_TOGETHER = 16
#: Octets of mail that waits composed, about: large mail is composed when its turn comes.
_MOST = 1_000_000

#: A claimed mail in the order of its turn.
Waiting = tuple[int, datetime, str, Job]


class Letters(Protocol):
    """Turns claimed rows into mail."""

    async def prepare(self, jobs: Sequence[Job]) -> None:
        """Fetch what composing these needs (content, tenants, choices), in a few queries for all."""

    def compose(self, job: Job, *, rewritten: frozenset[str] | None) -> Ready:
        """Return the mail of one row, signed but for what the relay rewrites (None: not signed).

        Raises `MailerError` where it cannot be made.
        """


class Desk:
    """Composed mail of one run that waits for a connection."""

    def __init__(self, letters: Letters) -> None:
        """Begin with nothing composed."""
        self._letters = letters
        self._ready: dict[str, tuple[frozenset[str] | None, Ready]] = {}
        self._octets = 0

    def take(self, job: Job, rewritten: frozenset[str] | None, waiting: Sequence[Waiting]) -> Ready:
        """Return the mail of one row, and compose some of those that wait where it was not composed yet.

        Raises `MailerError` where it cannot be made.
        """
        if (made := self._ready.pop(job.id, None)) is not None:
            self._octets -= len(made[1].data)
            if made[0] == rewritten:
                return made[1]
        ready = self._letters.compose(job, rewritten=rewritten)
        self._compose(waiting[: _TOGETHER - 1], rewritten)
        return ready

    def _compose(self, waiting: Sequence[Waiting], rewritten: frozenset[str] | None) -> None:
        for *_, job in waiting:
            # Single mails with files and headers of their own share nothing with the one before.
            if job.id in self._ready or job.details:
                continue
            if self._octets > _MOST:
                return
            try:
                ready = self._letters.compose(job, rewritten=rewritten)
            except Exception:  # noqa: BLE001 - it fails again, and is told, when its turn comes
                return
            self._ready[job.id] = rewritten, ready
            self._octets += len(ready.data)

    def forget(self, jobs: Iterable[Job]) -> None:
        """Drop the mail of rows that go back untried: when they are claimed again they may say something else."""
        for job in jobs:
            if (made := self._ready.pop(job.id, None)) is not None:
                self._octets -= len(made[1].data)
