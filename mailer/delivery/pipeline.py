"""The last metre of one stream: claim -> connect -> decide -> compose -> send -> settle.

Connections work side by side. Each carries one mail at a time: while MAIL and RCPT travel, one group commit writes the
outcome of its last mail and the intent of this one; DATA follows only once the intent is durable.
"""

import asyncio
import heapq
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from mailer.database import Database
from mailer.delivery import claims, replies
from mailer.delivery.claims import Ask, Job, Outcome, Step, Worker
from mailer.delivery.committing import GroupCommit, ended
from mailer.delivery.relay import RelayAway
from mailer.delivery.replies import Stage
from mailer.delivery.wire import Answer, Envelope, Lost, Wire
from mailer.errors import MailerError
from mailer.status import Status
from suppression.rules import Stream

logger = logging.getLogger(__name__)

#: How many emails one claim takes, and below how many waiting ones the next claim is made.
_BATCH = 200
_LOW = 100
_URGENT = 50
#: A kept connection says goodbye after this much idleness; relays close it sooner or later anyway.
_IDLE = timedelta(seconds=20)
#: RFC 5321 leaves it open; big receivers want new connections now and then (R4.7).
_MAILS_PER_CONNECTION = 1000
_REST = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class Ready(NamedTuple):
    """A composed mail: the envelope's addresses and the bytes, CRLF, not dot-stuffed."""

    sender: str
    recipient: str
    data: bytes
    smtputf8: bool
    tracked: bool


class Letters(Protocol):
    """Turns claimed rows into mail."""

    async def prepare(self, jobs: Sequence[Job]) -> None:
        """Fetch what composing these needs (content, tenants, choices), in a few queries for all."""

    def compose(self, job: Job) -> Ready:
        """Return the mail of one row; raises `MailerError` where it cannot be made."""


class Retry(NamedTuple):
    """When a refused mail is tried again, and when no more."""

    waits: Sequence[timedelta]
    give_up: timedelta

    def after(self, attempts: int) -> timedelta:
        """Return the wait after so many tries, a tenth longer or shorter so that retries spread."""
        wait = self.waits[min(max(attempts, 1), len(self.waits)) - 1]
        return wait * random.uniform(0.9, 1.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Which mail a pipeline carries, and where to."""

    stream: Stream
    #: None: all of the stream; else only what is captured, or only what is not.
    captured: bool | None
    connections: int
    connect: Callable[[], Awaitable[Wire]] = field(repr=False)


class Identity(NamedTuple):
    """Who delivers: the process, and the suppression key that it fingerprints with."""

    holder: str
    key_id: str


@dataclass(slots=True)
class _State:
    """What a running pipeline holds."""

    lease: str
    commits: GroupCommit
    queue: list[tuple[int, datetime, str, Job]] = field(default_factory=list)
    carriers: set[asyncio.Task[None]] = field(default_factory=set)
    #: Nothing more was due at the last claim.
    exhausted: bool = False


class Pipeline:
    """Delivers one stream over one route until nothing is due; kept connections wait for the next bell."""

    def __init__(self, database: Database, letters: Letters, route: Route, retry: Retry, who: Identity) -> None:
        """Open nothing yet."""
        self.route = route
        #: Why nothing is sent at present, for `/readyz`; None while all is well.
        self.trouble: str | None = None
        #: Whether the relay has taken a mail yet.
        self.proven = False
        self._database, self._letters, self._retry, self._who = database, letters, retry, who
        self._state: _State | None = None
        self._idle: list[tuple[Wire, float]] = []
        self._rung = False
        self._stopping = False
        self._running = asyncio.Lock()
        self._hungry = asyncio.Event()
        self._filled = asyncio.Condition()
        self._failures = 0
        self._resume_at = 0.0

    async def ring(self) -> None:
        """Deliver whatever is due; where a run goes on already, it looks again before it ends."""
        self._rung = True
        if self._running.locked():
            self._hungry.set()
            await self._claim_urgent()
            return
        async with self._running:
            while self._rung and not self._stopping and asyncio.get_running_loop().time() >= self._resume_at:
                self._rung = False
                await self._run()

    async def stop(self) -> None:
        """Finish the mail in flight, give the rest back, close the connections."""
        self._stopping = True
        self._hungry.set()
        async with self._filled:
            self._filled.notify_all()
        async with self._running:
            await asyncio.gather(*(wire.quit() for wire, _since in self._idle))
            self._idle.clear()

    async def _run(self) -> None:
        """Open a lease, work until nothing is due, and give back what could not be tried."""
        lease = await self._database.run(
            lambda session: claims.open_lease(session, self.route.stream, self._who.holder, _now()), urgency=0
        )
        worker = Worker(lease, self._who.key_id)
        state = self._state = _State(lease, GroupCommit(self._database, worker, self._urgency))
        state.commits.start()
        helpers = [asyncio.create_task(self._beat(lease))]
        try:
            await self._fill(state)
            helpers.append(asyncio.create_task(self._filling(state)))
            while state.carriers:
                done, _pending = await asyncio.wait(state.carriers, return_when=asyncio.FIRST_COMPLETED)
                state.carriers -= done
                for carrier in done:
                    carrier.result()
        finally:
            self._state = None
            # The commits go last: whoever ends has a last outcome to commit.
            await ended({*helpers, *state.carriers})
            await state.commits.end()
            await self._database.run(lambda session: claims.give_back(session, lease, _now()), urgency=0)

    # --- claiming -------------------------------------------------------------------------------------------------

    async def _fill(self, state: _State, *, limit: int = _BATCH, urgencies: tuple[int, ...] = (0, 1, 2)) -> None:
        ask = Ask(self.route.stream, self.route.captured, state.lease, limit, urgencies)
        jobs = await self._database.run(lambda session: claims.claim(session, ask, _now()), urgency=self._urgency)
        if len(urgencies) > 1:
            state.exhausted = len(jobs) < limit
        await self._letters.prepare(jobs)
        if self._state is not state:
            # The run ended meanwhile, and with its lease this claim.
            return
        for job in jobs:
            heapq.heappush(state.queue, (job.urgency, job.due_at, job.id, job))
        for _ in range(min(self.route.connections, len(state.queue)) - len(state.carriers)):
            state.carriers.add(asyncio.create_task(self._carry(state)))
        async with self._filled:
            self._filled.notify_all()

    async def _claim_urgent(self) -> None:
        """Let fresh urgent mail (a password reset) pass what is claimed already."""
        if (state := self._state) is not None and len(state.queue) >= _LOW:
            await self._fill(state, limit=_URGENT, urgencies=(0,))

    async def _filling(self, state: _State) -> None:
        """Claim the next batch before the queue runs dry."""
        while not self._stopping:
            await self._hungry.wait()
            self._hungry.clear()
            if len(state.queue) < _LOW and (self._rung or not state.exhausted):
                await self._refill(state)

    async def _refill(self, state: _State) -> None:
        rung, self._rung = self._rung, False
        try:
            await self._fill(state)
        except asyncio.CancelledError:
            # The run ended before it could look: the next one does.
            self._rung = self._rung or rung
            raise
        except Exception as error:  # noqa: BLE001 - the database may be away; whoever waits for mail must not wait for ever
            logger.warning("the %s stream could not claim mail: %s", self.route.stream, type(error).__name__)
            state.exhausted = True
            async with self._filled:
                self._filled.notify_all()

    @property
    def _urgency(self) -> int:
        return 0 if self.route.stream is Stream.TRANSACTIONAL else 1

    async def _next(self, state: _State) -> Job | None:
        """Return the next mail, None where nothing is due any more."""
        while not self._stopping:
            if len(state.queue) < _LOW:
                self._hungry.set()
            if state.queue:
                job: Job = heapq.heappop(state.queue)[3]
                return job
            if state.exhausted:
                return None
            async with self._filled:
                await self._filled.wait_for(lambda: bool(state.queue or state.exhausted or self._stopping))
        return None

    # --- one connection -------------------------------------------------------------------------------------------

    async def _carry(self, state: _State) -> None:
        """Carry mail after mail over one connection; the outcome of each is committed with the intent of the next."""
        last: Outcome | None = None
        wire: Wire | None = None
        try:
            while True:
                if last is not None and not state.queue:
                    # Nothing follows at once: an outcome must not wait for a mail that may take long to come.
                    await self._commit(state, Step(outcome=last))
                    last = None
                job = await self._next(state)
                if job is None:
                    return
                wire = await self._usable(wire, state, job)
                if wire is None:
                    return
                outcome, last = last, None
                last = await self._attempt(state, wire, job, outcome)
        finally:
            if last is not None:
                await self._commit(state, Step(outcome=last))
            if wire is not None and not wire.lost:
                self._idle.append((wire, asyncio.get_running_loop().time()))

    async def _usable(self, wire: Wire | None, state: _State, job: Job) -> Wire | None:
        """Return a connection ready for MAIL; where the relay is away, put the mail back and rest."""
        if wire is not None and not wire.lost and wire.mails < _MAILS_PER_CONNECTION:
            return wire
        if wire is not None and not wire.lost:
            await wire.quit()
        while self._idle:
            kept, _since = self._idle.pop()
            if not kept.lost:
                return kept
        try:
            return await self.route.connect()
        except RelayAway as away:
            await self._rest(state, job, str(away))
            return None

    async def _rest(self, state: _State, job: Job, reason: str) -> None:
        """The mail is not to blame: it goes back untried, and this stream pauses before the relay is asked again."""
        heapq.heappush(state.queue, (job.urgency, job.due_at, job.id, job))
        if self.trouble is None:
            logger.warning("the %s stream rests: %s", self.route.stream, reason)
        self.trouble = reason
        state.exhausted = True
        now = asyncio.get_running_loop().time()
        if now >= self._resume_at:
            self._resume_at = now + _REST[min(self._failures, len(_REST) - 1)]
            self._failures += 1

    async def _attempt(self, state: _State, wire: Wire, job: Job, last: Outcome | None) -> Outcome | None:
        """Try one mail; return its outcome, None where nothing is to be written (no intent, or it went back)."""
        try:
            ready = self._letters.compose(job)
        except MailerError as error:
            await self._commit(state, Step(outcome=last))
            return Outcome(job, Status.FAILED, reply=str(error)[:500], category="content")
        except Exception as error:
            # One mail that trips over our own bug must not stop the others.
            logger.exception("%s could not be composed", job.id)
            await self._commit(state, Step(outcome=last))
            return Outcome(job, Status.FAILED, reply=f"our fault: {type(error).__name__}", category="content")
        envelope = Envelope(ready.sender, ready.recipient, len(ready.data), ready.smtputf8)
        if ready.smtputf8 and "smtputf8" not in wire.extensions:
            # RFC 6531 section 3.2: must not be sent; the relay is the cause, not the address.
            await self._commit(state, Step(outcome=last))
            return Outcome(job, Status.FAILED, reply="the relay does not offer SMTPUTF8", category="protocol")
        step = Step(outcome=last, intent=job)
        committed = asyncio.ensure_future(self._commit(state, step))
        try:
            answer = await wire.offer(envelope)
        except Lost:
            await committed
            return self._unsent(wire, job) if step.granted else None
        await committed
        if not step.granted:
            await self._forget(wire)
            return None
        if not answer.positive:
            await self._forget(wire)
            return self._refused(job, answer, Stage.SENDER if answer.to_sender else Stage.ENVELOPE)
        try:
            answer = await wire.hand_over(ready.data)
        except Lost as lost:
            return self._in_doubt(job) if lost.in_doubt else self._unsent(wire, job)
        if answer.positive:
            self.trouble, self.proven, self._failures = None, True, 0
            return Outcome(job, Status.SENT, reply=replies.told(answer), tracked=ready.tracked)
        return self._refused(job, answer, Stage.DATA)

    async def _forget(self, wire: Wire) -> None:
        try:
            await wire.reset()
        except Lost:
            return

    def _refused(self, job: Job, answer: Answer, stage: Stage) -> Outcome:
        """Return what a 4xx or 5xx means for this mail, at this try."""
        verdict = replies.decide(answer, stage)
        told = replies.told(answer)
        if verdict.status is not Status.DEFERRED:
            return Outcome(job, verdict.status, reply=told, category=verdict.category, hard=verdict.hard)
        due_at = _now() + self._retry.after(job.attempts + 1)
        if due_at - job.dated_at > self._retry.give_up:
            return Outcome(job, Status.BOUNCED, reply=told, category="expired")
        return Outcome(job, Status.DEFERRED, reply=told, category=verdict.category, due_at=due_at)

    def _unsent(self, wire: Wire, job: Job) -> Outcome:
        """The connection went before the mail was handed over: certainly not sent, so it is tried again soon."""
        reply = "the relay closed the connection"
        if wire.mails:
            # Yahoo and others close a connection silently after some mails: a fresh one will do at once.
            return Outcome(job, Status.QUEUED, reply=reply)
        return Outcome(job, Status.DEFERRED, reply=reply, category="transient", due_at=self._soon(job, 1, 5))

    def _in_doubt(self, job: Job) -> Outcome:
        """The connection went after the mail was handed over: nobody knows (RFC 1047)."""
        reply = "the relay closed the connection before it answered"
        if job.stream == Stream.PROMOTIONAL:
            return Outcome(job, Status.UNCERTAIN, reply=reply)
        due_at = self._soon(job, 5, 15)
        return Outcome(job, Status.DEFERRED, reply=reply, category="in_doubt", due_at=due_at, maybe_duplicate=True)

    def _soon(self, job: Job, shortest: float, longest: float) -> datetime:
        """Return when to try again: soon the first time; a relay that goes on so would get it every few seconds."""
        if job.attempts:
            return _now() + self._retry.after(job.attempts)
        return _now() + timedelta(seconds=random.uniform(shortest, longest))

    async def tidy(self) -> None:
        """Close connections that nobody used for a while."""
        old = asyncio.get_running_loop().time() - _IDLE.total_seconds()
        idle, self._idle = self._idle, []
        for wire, since in idle:
            if since > old and not wire.lost:
                self._idle.append((wire, since))
            else:
                await wire.quit()

    async def _commit(self, state: _State, step: Step) -> None:
        """Have one step committed together with those of the other connections."""
        if step.outcome is None and step.intent is None:
            return
        await state.commits.commit(step)
        if step.outcome is not None and step.outcome.status is Status.QUEUED:
            # Only now a claim can find it.
            self._rung = True
            self._hungry.set()

    async def _beat(self, lease: str) -> None:
        while True:
            await asyncio.sleep(5)
            try:
                await self._database.run(lambda session: claims.beat(session, lease, _now()), urgency=0)
            except Exception as error:  # noqa: BLE001 - the next beat may succeed; a lapsed lease is fenced
                logger.warning("a heartbeat could not be written: %s", type(error).__name__)


def _now() -> datetime:
    return datetime.now(UTC)
