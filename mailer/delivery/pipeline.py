"""The last metre of one stream: claim -> connect -> intend -> compose -> send -> settle.

A run opens a lease, claims what is due in batches, and lets carriers take it over as many connections as there is room
for, until nothing is due. What a limit holds back is parked for a moment, or goes back until the limit lets it go.
"""

import asyncio
import heapq
import logging
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from mailer.database import Database
from mailer.delivery import claims
from mailer.delivery.carrier import NOTHING, Carrier, Ready
from mailer.delivery.claims import Ask, Job, Outcome, Step, Worker
from mailer.delivery.claims.together import Together
from mailer.delivery.committing import GroupCommit, ended
from mailer.delivery.connections import Connections
from mailer.delivery.desk import Desk, Letters, Waiting
from mailer.delivery.echo import ECHOING, echoed
from mailer.delivery.leases import Leases
from mailer.delivery.limits import is_rate_reply
from mailer.delivery.lines import Line
from mailer.delivery.outcomes import Retry
from mailer.status import Status
from suppression.rules import Stream

logger = logging.getLogger(__name__)

#: How many emails one claim takes, and below how many waiting ones the next claim is made.
_BATCH = 200
_LOW = 200
_URGENT = 50
#: Behind a mail that takes longer than this (in seconds) no other one waits.
_PATIENCE = 1.0
#: What a limit holds back for longer than this (in seconds) goes back into the queue meanwhile.
_PARKED = 2.0
#: How many connections to PostgreSQL commit side by side.
_COMMITTERS = 1


class Route(NamedTuple):
    """Which mail a pipeline carries."""

    stream: Stream
    #: None: all of the stream; else only what is captured, or only what is not.
    captured: bool | None = None


@dataclass(slots=True)
class _State:
    """What a running pipeline holds."""

    lease: str
    commits: GroupCommit
    desk: Desk
    queue: list[Waiting] = field(default_factory=list)
    #: What a limit of a relay and a group of receivers holds back.
    parked: dict[tuple[str, str], list[Job]] = field(default_factory=dict)
    refills: set[asyncio.Task[None]] = field(default_factory=set)
    carriers: dict[asyncio.Task[None], Carrier | None] = field(default_factory=dict)
    #: Those that have come to their end.
    home: asyncio.Queue[asyncio.Task[None]] = field(default_factory=asyncio.Queue)
    #: How many of them have a connection, and how many wait for mail over it.
    connected: int = 0
    idle: int = 0
    #: Nothing more was due at the last claim.
    exhausted: bool = False
    #: Nothing is begun any more.
    over: bool = False

    @property
    def at_hand(self) -> int:
        """How many claimed mails wait for a connection or a limit."""
        return len(self.queue) + sum(map(len, self.parked.values()))


class Pipeline:
    """Delivers one stream over its relays until nothing is due; kept connections wait for the next bell."""

    def __init__(
        self,
        database: Database,
        letters: Letters,
        route: Route,
        connections: Connections,
        retry: Retry,
        holder: str,
    ) -> None:
        """Open nothing yet; `holder` names the process that delivers."""
        self.route, self.retry, self.connections = route, retry, connections
        #: Whether a relay has taken a mail yet.
        self.proven = False
        self._database, self._letters = database, letters
        self._committers = [Together(database) for _ in range(_COMMITTERS)] if database.on_postgresql else []
        self._state: _State | None = None
        #: What a limit made wait for long, told once.
        self._held_back: set[tuple[str, str]] = set()
        self._leases = Leases(database, route.stream, holder)
        self._rung = False
        self._stopping = False
        self._running = asyncio.Lock()
        self._hungry = asyncio.Event()
        self._filled = asyncio.Condition()
        self._resume_at = 0.0

    @property
    def trouble(self) -> str | None:
        """Return why nothing is sent at present; None while all is well."""
        return self.connections.trouble

    @property
    def _still(self) -> bool:
        """Whether no further mail is to be begun."""
        return self._stopping or self.connections.breaker.paused is not None

    def now(self) -> datetime:
        """Return the present moment, as all workers see it."""
        return self._database.now()

    async def ring(self) -> None:
        """Deliver whatever is due; where a run goes on already, it looks again before it ends."""
        self._rung = True
        if self._running.locked():
            self._hungry.set()
            await self._claim_urgent()
            return
        async with self._running:
            while self._rung and not self._still and asyncio.get_running_loop().time() >= self._resume_at:
                self._rung = False
                await self._run()

    async def stop(self) -> None:
        """Finish the mail in flight, give the rest back, close the connections."""
        self._stopping = True
        await self._hush()
        for task in self._connecting():
            # Nothing is sent over it any more: a relay that hangs must not keep the rest from going back.
            task.cancel()
        async with self._running:
            await self.connections.end()
            await asyncio.gather(*(each.close() for each in self._committers))
            await self._leases.close()

    async def _hush(self) -> None:
        """Let carriers finish what travels, and begin nothing."""
        self._hungry.set()
        self._take_ahead(0.0)
        await self._wake()

    async def _wake(self) -> None:
        async with self._filled:
            self._filled.notify_all()

    async def _run(self) -> None:
        """Work under a lease until nothing is due, and give back what could not be tried."""
        lease = await self._leases.fresh()
        worker = Worker(lease)
        commits = GroupCommit(self._database, worker, self._urgency, self._committers)
        state = self._state = _State(lease, commits, Desk(self._letters))
        state.commits.start(lambda: state.connected - state.idle)
        helpers = [asyncio.create_task(self._leases.keep(lease))]
        try:
            await self._fill(state)
            helpers.append(asyncio.create_task(self._filling(state)))
            while state.carriers:
                carrier = await state.home.get()
                del state.carriers[carrier]
                if not carrier.cancelled():
                    carrier.result()
        finally:
            state.over = True
            # The commits go last: whoever ends has a last outcome to commit.
            await ended({*helpers, *state.refills, *state.carriers})
            await state.commits.end()
            await state.desk.end()
            self._state = None
            await self._leases.end(lease, last=self._stopping)

    # --- claiming -------------------------------------------------------------------------------------------------

    async def _fill(self, state: _State, *, limit: int = _BATCH, urgencies: tuple[int, ...] = (0, 1, 2)) -> None:
        ask = Ask(self.route.stream, self.route.captured, state.lease, limit, urgencies)
        jobs = await self._database.run(lambda session: claims.claim(session, ask, self.now()), urgency=self._urgency)
        if len(urgencies) > 1:
            state.exhausted = len(jobs) < limit
        await self._letters.prepare(jobs)
        if state.over:
            # The run ended meanwhile, and with its lease this claim.
            return
        for job in jobs:
            _push(state, job)
        self._send_out(state)
        await self._wake()

    async def _claim_urgent(self) -> None:
        """Let fresh urgent mail (a password reset) pass what is claimed already."""
        if (state := self._state) is not None and not state.over and state.at_hand >= _LOW:
            await self._fill(state, limit=_URGENT, urgencies=(0,))

    async def _filling(self, state: _State) -> None:
        """Claim the next batch before the queue runs dry."""
        while not self._still:
            await self._hungry.wait()
            self._hungry.clear()
            if state.at_hand < _LOW and (self._rung or not state.exhausted):
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
            await self._wake()

    @property
    def _urgency(self) -> int:
        return 0 if self.route.stream is Stream.TRANSACTIONAL else 1

    # --- what a carrier asks for ----------------------------------------------------------------------------------

    async def next(self, line: Line) -> Job | None:
        """Return the next mail for a connection, None where it is not needed any more."""
        while (state := self._state) is not None and not state.over and not self._still:
            if not self.connections.usable(line):
                return None
            if (job := self.at_hand(line)) is not None:
                return job
            if state.exhausted and not state.parked:
                return None
            async with self._filled:
                state.idle += 1
                try:
                    await self._filled.wait_for(
                        lambda: bool(state.queue or (state.exhausted and not state.parked) or self._still)
                    )
                finally:
                    state.idle -= 1
        return None

    def at_hand(self, line: Line) -> Job | None:
        """Return the next mail that the limits let go over this connection now, if there is one."""
        state = self._state
        if state is None or state.over or self._still or not self.connections.usable(line):
            return None
        if state.at_hand < _LOW:
            self._hungry.set()
        while state.queue:
            job = heapq.heappop(state.queue)[3]
            if self.connections.admit(line, job):
                return job
            self._park(state, line, job)
        return None

    def _park(self, state: _State, line: Line, job: Job) -> None:
        lane = (line.name, job.provider)
        if lane in state.parked:
            state.parked[lane].append(job)
            return
        state.parked[lane] = [job]
        refill = asyncio.create_task(self._unpark(state, lane))
        state.refills.add(refill)
        refill.add_done_callback(state.refills.discard)

    async def _unpark(self, state: _State, lane: tuple[str, str]) -> None:
        """Wait until a limit lets its mail go; what would wait for long goes back into the queue."""
        while wait := await self.connections.refill(*lane):
            if wait > _PARKED or self._still:
                break
            await asyncio.sleep(wait)
        jobs = state.parked.pop(lane)
        if wait:
            due_at = self.now() + timedelta(seconds=wait)
            reason = self.connections.limits.trouble or f"a limit of {lane[0]} holds back mail to {lane[1]} mailboxes"
            if lane not in self._held_back:
                logger.warning("the %s stream waits until %s: %s", self.route.stream, f"{due_at:%H:%M:%S} UTC", reason)
            self._held_back.add(lane)
            state.desk.forget(jobs)
            later = [Outcome(job, Status.QUEUED, reply=reason, due_at=due_at) for job in jobs]
            await asyncio.gather(*(state.commits.commit(Step(outcome=each)) for each in later))
        else:
            self._held_back.discard(lane)
            for job in jobs:
                _push(state, job)
        await self._wake()

    def put_back(self, line: Line, job: Job) -> None:
        """Take a mail back that was not tried."""
        self.connections.release(line, job, used=False)
        if self._state is not None:
            _push(self._state, job)

    def compose(self, line: Line, job: Job) -> Awaitable[Ready]:
        """Return the mail of a row; awaiting it raises `MailerError` where it cannot be made."""
        state = self._state
        assert state is not None, "a run ends after its carriers"
        ready = state.desk.take(job, line.rewritten, state.queue)
        return ready if line.relay.provider not in ECHOING else _echoing(ready, job, line.relay.provider)

    def commit(self, step: Step) -> Awaitable[None]:
        """Have one step committed together with those of the other connections."""
        state = self._state
        if state is None:
            return NOTHING
        done = state.commits.commit(step)
        if step.outcome is not None and step.outcome.status is Status.QUEUED:
            done.add_done_callback(self._look_again)
        return done

    def _look_again(self, _done: object) -> None:
        """Look for mail that went back: only now a claim can find it."""
        self._rung = True
        self._hungry.set()

    def done(self, line: Line, job: Job, outcome: Outcome | None) -> Awaitable[None]:
        """Hear what became of an admitted mail, and judge its relay by it; None: it was not tried."""
        self.connections.release(line, job, used=outcome is not None)
        if outcome is None:
            return NOTHING
        if outcome.status is Status.SENT:
            self.proven = True
            if not self.connections.breaker.works(line.name):
                return NOTHING
        return self._judged(line, job, outcome)

    async def _judged(self, line: Line, job: Job, outcome: Outcome) -> None:
        try:
            await self._judge(line, job, outcome)
        except Exception as error:  # noqa: BLE001 - the database may be away; the mail's own outcome counts more
            logger.warning("what %s does could not be told: %s", line.name, type(error).__name__)

    async def _judge(self, line: Line, job: Job, outcome: Outcome) -> None:
        connections, relay = self.connections, line.name
        if outcome.status is Status.SENT:
            await connections.breaker.recovered(relay)
        elif outcome.status in (Status.DEFERRED, Status.QUEUED, Status.UNCERTAIN):
            if is_rate_reply(outcome.reply or ""):
                # Whom a company hosts at Google is not known by its domain (R2.1).
                await connections.throttled(relay, "gmail" if job.provider == "other" else job.provider)
            elif line.wire.lost and connections.breaker.spoils(relay):
                await connections.breaker.failed(relay, f"{relay}: {line.wire.lost}", self.now())

    # --- connections ----------------------------------------------------------------------------------------------

    def _send_out(self, state: _State, some: int = 0) -> None:
        """Send out a carrier for each mail that waits, and no fewer than `some`, as far as there can be connections."""
        carrying = len(state.carriers)
        for _ in range(min(max(len(state.queue) - carrying, some), self.connections.room - carrying)):
            carrier = asyncio.create_task(self._carry(state))
            state.carriers[carrier] = None
            carrier.add_done_callback(state.home.put_nowait)

    async def _carry(self, state: _State) -> None:
        """Carry mail over one connection after the other."""
        task = asyncio.current_task()
        assert task is not None
        while (state.queue or state.parked or not state.exhausted) and not self._still:
            state.carriers[task] = None
            line = await self.connections.take()
            if line is None:
                self._rest(state)
                return
            carrier = state.carriers[task] = Carrier(self, line)
            state.connected += 1
            try:
                await carrier.carry()
            finally:
                state.connected -= 1
                await self.connections.give_back(line)
            if not (line.wire.lost or line.wire.worn):
                return

    def _rest(self, state: _State) -> None:
        """No relay can be used: where nobody carries any more, the mail goes back untried, and the run ends."""
        if any(carrier is not None and not carrier.line.wire.lost for carrier in state.carriers.values()):
            return
        state.exhausted = True
        self._resume_at = asyncio.get_running_loop().time() + self.connections.wait

    def _take_ahead(self, older_than: float) -> None:
        for carrier in self._state.carriers.values() if self._state is not None else ():
            if carrier is not None:
                carrier.take_ahead(older_than)

    def _connecting(self) -> list[asyncio.Task[None]]:
        return [] if self._state is None else [task for task, has in self._state.carriers.items() if has is None]

    async def tidy(self) -> None:
        """Act on what operators paused and on slow mails; close connections that nobody used for a while."""
        if self._still:
            await self._hush()
        self._take_ahead(_PATIENCE)
        if (state := self._state) is not None and not state.over and not self._still:
            # What has become free is used; and while a relay is slow to greet, the next connection may be another's.
            self._send_out(state, min(len(state.queue), len(self._connecting())))
        await self._leases.settle(last=self._stopping)
        await self.connections.tidy()


async def _echoing(ready: Awaitable[Ready], job: Job, provider: str) -> Ready:
    made = await ready
    data = echoed(made.data, job.id, provider)
    return made._replace(data=data, envelope=made.envelope._replace(size=len(data)))


def _push(state: _State, job: Job) -> None:
    heapq.heappush(state.queue, (job.urgency, job.due_at, job.id, job))
