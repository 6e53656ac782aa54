"""The last metre of one stream: claim -> connect -> intend -> compose -> send -> settle.

A run opens a lease, claims what is due in batches, and lets carriers take it over as many connections as the route
allows, until nothing is due. Kept connections wait for the next bell.
"""

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from mailer.database import Database
from mailer.delivery import claims
from mailer.delivery.carrier import Carrier, Ready
from mailer.delivery.claims import Ask, Job, Outcome, Step, Worker
from mailer.delivery.claims.together import Together
from mailer.delivery.committing import GroupCommit, ended
from mailer.delivery.outcomes import Retry
from mailer.delivery.relay import RelayAway
from mailer.delivery.wire import Wire
from mailer.status import Status
from suppression.rules import Stream

logger = logging.getLogger(__name__)

#: How many emails one claim takes, and below how many waiting ones the next claim is made.
_BATCH = 200
_LOW = 100
_URGENT = 50
#: A kept connection says goodbye after this much idleness; relays close it sooner or later anyway.
_IDLE = timedelta(seconds=20)
#: Behind a mail that takes longer than this (in seconds) no other one waits.
_PATIENCE = 1.0
_REST = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
#: How many connections to PostgreSQL commit side by side.
_COMMITTERS = 2


class Letters(Protocol):
    """Turns claimed rows into mail."""

    async def prepare(self, jobs: Sequence[Job]) -> None:
        """Fetch what composing these needs (content, tenants, choices), in a few queries for all."""

    def compose(self, job: Job) -> Ready:
        """Return the mail of one row; raises `MailerError` where it cannot be made."""


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
    carriers: dict[asyncio.Task[None], Carrier | None] = field(default_factory=dict)
    #: Nothing more was due at the last claim.
    exhausted: bool = False


class Pipeline:
    """Delivers one stream over one route until nothing is due; kept connections wait for the next bell."""

    def __init__(self, database: Database, letters: Letters, route: Route, retry: Retry, who: Identity) -> None:
        """Open nothing yet."""
        self.route, self.retry = route, retry
        #: Why nothing is sent at present, for `/readyz`; None while all is well.
        self.trouble: str | None = None
        #: Whether the relay has taken a mail yet.
        self.proven = False
        self._database, self._letters, self._who = database, letters, who
        self._committers = [Together(database) for _ in range(_COMMITTERS)] if database.on_postgresql else []
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
        if self._state is not None:
            self._take_ahead(0.0)
        async with self._filled:
            self._filled.notify_all()
        async with self._running:
            await asyncio.gather(*(wire.quit() for wire, _since in self._idle))
            self._idle.clear()
            await asyncio.gather(*(each.close() for each in self._committers))

    async def _run(self) -> None:
        """Open a lease, work until nothing is due, and give back what could not be tried."""
        lease = await self._database.run(
            lambda session: claims.open_lease(session, self.route.stream, self._who.holder, _now()), urgency=0
        )
        worker = Worker(lease, self._who.key_id)
        state = self._state = _State(lease, GroupCommit(self._database, worker, self._urgency, self._committers))
        state.commits.start()
        helpers = [asyncio.create_task(self._beat(lease))]
        try:
            await self._fill(state)
            helpers.append(asyncio.create_task(self._filling(state)))
            while state.carriers:
                done, _pending = await asyncio.wait(state.carriers, return_when=asyncio.FIRST_COMPLETED)
                for carrier in done:
                    del state.carriers[carrier]
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
            state.carriers[asyncio.create_task(self._carry(state))] = None
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

    # --- what a carrier asks for ----------------------------------------------------------------------------------

    async def next(self, _wire: Wire) -> Job | None:
        """Return the next mail, None where nothing is due any more."""
        while (state := self._state) is not None and not self._stopping:
            if (job := self.at_hand(_wire)) is not None:
                return job
            if state.exhausted:
                return None
            async with self._filled:
                await self._filled.wait_for(lambda: bool(state.queue or state.exhausted or self._stopping))
        return None

    def at_hand(self, _wire: Wire) -> Job | None:
        """Return the next mail if there is one now."""
        state = self._state
        if state is None or self._stopping:
            return None
        if len(state.queue) < _LOW:
            self._hungry.set()
        return heapq.heappop(state.queue)[3] if state.queue else None

    def put_back(self, _wire: Wire, job: Job) -> None:
        """Take a mail back that was not tried."""
        if self._state is not None:
            heapq.heappush(self._state.queue, (job.urgency, job.due_at, job.id, job))

    def compose(self, job: Job) -> Ready:
        """Return the mail of a row; raises `MailerError` where it cannot be made."""
        return self._letters.compose(job)

    async def commit(self, step: Step) -> None:
        """Have one step committed together with those of the other connections."""
        state = self._state
        if state is None:
            return
        await state.commits.commit(step)
        if step.outcome is not None and step.outcome.status is Status.QUEUED:
            # Only now a claim can find it.
            self._rung = True
            self._hungry.set()

    def done(self, _wire: Wire, _job: Job, outcome: Outcome | None) -> None:
        """Hear what became of a try."""
        if outcome is not None and outcome.status is Status.SENT:
            self.trouble, self.proven, self._failures = None, True, 0

    # --- connections ----------------------------------------------------------------------------------------------

    async def _carry(self, state: _State) -> None:
        """Carry mail over one connection after the other."""
        while state.queue or not state.exhausted:
            wire = await self._connected(state)
            if wire is None:
                return
            carrier = Carrier(self, wire)
            task = asyncio.current_task()
            if task in state.carriers:
                state.carriers[task] = carrier
            await carrier.carry()
            if wire.lost:
                continue
            if wire.worn:
                await wire.quit()
                continue
            self._idle.append((wire, asyncio.get_running_loop().time()))
            return

    async def _connected(self, state: _State) -> Wire | None:
        """Return a connection ready for MAIL; where the relay is away, rest."""
        while self._idle:
            kept, _since = self._idle.pop()
            if not kept.lost:
                return kept
        try:
            return await self.route.connect()
        except RelayAway as away:
            self._rest(state, str(away))
            return None

    def _rest(self, state: _State, reason: str) -> None:
        """The mail is not to blame: it goes back untried, and this stream pauses before the relay is asked again."""
        if self.trouble is None:
            logger.warning("the %s stream rests: %s", self.route.stream, reason)
        self.trouble = reason
        state.exhausted = True
        now = asyncio.get_running_loop().time()
        if now >= self._resume_at:
            self._resume_at = now + _REST[min(self._failures, len(_REST) - 1)]
            self._failures += 1

    def _take_ahead(self, older_than: float) -> None:
        if self._state is not None:
            for carrier in self._state.carriers.values():
                if carrier is not None:
                    carrier.take_ahead(older_than)

    async def tidy(self) -> None:
        """Take back what waits behind a slow mail; close connections that nobody used for a while."""
        self._take_ahead(_PATIENCE)
        old = asyncio.get_running_loop().time() - _IDLE.total_seconds()
        idle, self._idle = self._idle, []
        for wire, since in idle:
            if since > old and not wire.lost:
                self._idle.append((wire, since))
            else:
                await wire.quit()

    async def _beat(self, lease: str) -> None:
        while True:
            await asyncio.sleep(5)
            try:
                await self._database.run(lambda session: claims.beat(session, lease, _now()), urgency=0)
            except Exception as error:  # noqa: BLE001 - the next beat may succeed; a lapsed lease is fenced
                logger.warning("a heartbeat could not be written: %s", type(error).__name__)


def _now() -> datetime:
    return datetime.now(UTC)
