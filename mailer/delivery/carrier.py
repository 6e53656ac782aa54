"""One connection's work: intend -> DATA -> the mail, with the next one offered behind its last dot.

While a mail travels the next is composed, and its MAIL and RCPT ride ahead. Its intent is committed together with the
outcome of the one before; DATA follows only once the intent is durable. So at most one mail a connection is in doubt.
"""

import asyncio
import logging
from collections.abc import Awaitable, Generator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from mailer.delivery import outcomes, replies
from mailer.delivery.claims import Job, Outcome, Step
from mailer.delivery.envelope import Envelope
from mailer.delivery.lines import Line
from mailer.delivery.outcomes import Retry
from mailer.delivery.replies import Stage
from mailer.delivery.wire import Answer, Lost
from mailer.errors import MailerError

logger = logging.getLogger(__name__)


class Ready(NamedTuple):
    """A composed mail: the envelope and the bytes as they go out (`compose.letter.Letter`)."""

    envelope: Envelope
    data: bytes
    tracked: bool
    tracked_links: bool = False


class Depot(Protocol):
    """Where carriers fetch mail, and report."""

    retry: Retry

    def now(self) -> datetime:
        """Return the present moment, as all workers see it."""

    async def next(self, line: Line) -> Job | None:
        """Return a mail for this connection, waiting for one if need be; None: go home."""

    def at_hand(self, line: Line) -> Job | None:
        """Return a mail for this connection if there is one now."""

    def put_back(self, line: Line, job: Job) -> None:
        """Take a mail back that was not tried."""

    def compose(self, line: Line, job: Job) -> Awaitable[Ready]:
        """Return the mail of a row; awaiting it raises `MailerError` where it cannot be made."""

    def commit(self, step: Step) -> Awaitable[None]:
        """Return when the step is committed; `step.granted` then says whether its intent was."""

    def done(self, line: Line, job: Job, outcome: Outcome | None) -> Awaitable[None]:
        """Hear what became of a try, to judge the relay by; None where there was none."""


class _Nothing:
    """What is awaited where nothing is to be waited for: a coroutine would cost more than all it did."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


NOTHING = _Nothing()


@dataclass(slots=True)
class _Load:
    """A mail that is composed and offered, and carries no intent yet."""

    job: Job
    ready: Ready
    offered: "asyncio.Future[Answer]"


class Carrier:
    """Carries mail after mail over one connection until it is lost, worn, or nothing is due."""

    def __init__(self, depot: Depot, line: Line) -> None:
        """Take over a connection that is ready for MAIL."""
        self.line, self.wire = line, line.wire
        self._depot = depot
        self._loop = asyncio.get_running_loop()
        #: Offered behind the mail that travels; may be taken back while that one takes long.
        self._ahead: _Load | None = None
        self._ahead_since = 0.0
        #: An envelope stands with the relay that nobody means any more.
        self._stale = False

    async def carry(self) -> None:
        """Work; afterwards every mail is settled or back."""
        last: Outcome | None = None
        load: _Load | None = None
        try:
            while True:
                if load is None:
                    if last is not None:
                        # Nothing follows at once: an outcome must not wait for a mail that may take long to come.
                        step, last = Step(outcome=last), None
                        await self._depot.commit(step)
                    if self.wire.lost or self.wire.worn or (load := await self._fetch()) is None:
                        return
                step, last = Step(outcome=last, intent=load.job), None
                await self._depot.commit(step)
                if step.granted:
                    last = await self._send(load)
                else:
                    await self._withdraw(load)
                await self._depot.done(self.line, load.job, last)
                if self.wire.lost:
                    self.take_ahead()
                load, self._ahead = self._ahead, None
        finally:
            self.take_ahead()
            if last is not None:
                await self._depot.commit(Step(outcome=last))

    async def _fetch(self) -> _Load | None:
        """Wait for a mail, compose and offer it; None where this connection is not needed any more."""
        while (job := await self._depot.next(self.line)) is not None:
            if self.wire.lost:
                self._depot.put_back(self.line, job)
                return None
            ready = await self._composed(job)
            if isinstance(ready, Outcome):
                await self._depot.done(self.line, job, None)
                await self._depot.commit(Step(outcome=ready))
                continue
            try:
                await self._clear()
            except Lost:
                self._depot.put_back(self.line, job)
                return None
            return _Load(job, ready, self.wire.offer(ready.envelope))
        return None

    async def _composed(self, job: Job) -> Ready | Outcome:
        if job.address is None:
            return outcomes.erased(job)
        try:
            ready = await self._depot.compose(self.line, job)
        except MailerError as error:
            return outcomes.failed(job, str(error), "content")
        except Exception as error:
            # One mail that trips over our own bug must not stop the others.
            logger.exception("%s could not be composed", job.id)
            return outcomes.ours(job, error, self._depot.retry, self._depot.now())
        if why := replies.unfit(ready.envelope, self.wire.offers):
            return outcomes.failed(job, why.told, why.verdict.category)
        return ready

    async def _send(self, load: _Load) -> Outcome:
        """Hand over a mail whose intent is durable; return what became of it."""
        job, retry = load.job, self._depot.retry
        worked_before = self.wire.mails > 0
        following: tuple[Job, Ready] | None = None
        try:
            answer = await load.offered
            if not answer.positive:
                self._stale = True
                stage = Stage.SENDER if answer.to_sender else Stage.ENVELOPE
                return outcomes.refused(job, answer, stage, retry, self._depot.now())
            asked = self.wire.data()
            following = await self._following()
            answer = await asked
            if answer.code != 354:
                self._stale = True
                refusal = answer if answer.code >= 400 else Answer(451, f"unexpected answer {answer.code} to DATA")
                return outcomes.refused(job, refusal, Stage.DATA, retry, self._depot.now())
            handed = self.wire.hand_over(load.ready.data, following[1].envelope if following else None)
            if following is not None and handed.offered is not None:
                self._ahead, following = _Load(*following, handed.offered), None
                self._ahead_since = self._loop.time()
            answer = await handed.dot
        except Lost as lost:
            if lost.in_doubt:
                return outcomes.in_doubt(job, retry, self._depot.now())
            return outcomes.unsent(job, retry, self._depot.now(), worked_before=worked_before)
        finally:
            if following is not None:
                self._depot.put_back(self.line, following[0])
        if answer.positive:
            return outcomes.sent(job, answer, tracked=load.ready.tracked, tracked_links=load.ready.tracked_links)
        return outcomes.refused(job, answer, Stage.DATA, retry, self._depot.now())

    async def _following(self) -> tuple[Job, Ready] | None:
        """Return the mail to offer behind this one, if one is at hand."""
        while not self.wire.nearly_worn and (job := self._depot.at_hand(self.line)) is not None:
            ready = await self._composed(job)
            if not isinstance(ready, Outcome):
                return job, ready
            await self._depot.done(self.line, job, None)
            await self._depot.commit(Step(outcome=ready))
        return None

    def take_ahead(self, older_than: float = 0.0) -> None:
        """Put a mail back that waits behind another one, so that a free connection may have it."""
        ahead = self._ahead
        if ahead is not None and self._loop.time() - self._ahead_since >= older_than:
            self._ahead = None
            self._stale = True
            self._depot.put_back(self.line, ahead.job)

    async def _withdraw(self, load: _Load) -> None:
        """Take back an offer whose intent was refused."""
        self._stale = True
        try:
            await load.offered
            await self._clear()
        except Lost:
            return

    async def _clear(self) -> None:
        if self._stale:
            await self.wire.reset()
            self._stale = False
