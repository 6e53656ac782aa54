"""May this mail go now? One worker's view of the limits that all workers of a stream share."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from sqlmodel import Session

from mailer.database import Database
from mailer.delivery.limits import days, lanes
from mailer.delivery.limits.days import Wish
from mailer.delivery.limits.lanes import UNLIMITED, Bucket, DayShare, Lane, Line
from mailer.delivery.limits.local import LocalStore
from mailer.delivery.limits.quota import Quota
from mailer.delivery.limits.stores import Ask, Grant, Need, Seats, Store, StoreAway
from suppression.rules import Stream

logger = logging.getLogger(__name__)

#: Seconds to wait where nobody can say; also what asking the database may take at most, and half of it.
_SOON = 1.0
_PATIENCE = 0.5
#: Seconds before a relay that has no connection free is asked about again.
_FULL = 0.25


def _utc() -> datetime:
    return datetime.now(UTC)


class Limits:
    """Grants connections and mails to one worker of one stream, within what all of them may use together.

    `connect` and `disconnect` frame a connection, `admit` and `release` a mail. `beat`, once a second and at the least
    every five, keeps what is held and hears what other workers learnt. No call takes much longer than a second. While
    the store is away, transactional mail keeps to this worker's share of each limit and promotional mail waits.
    """

    def __init__(
        self,
        stream: Stream,
        worker: str,
        store: Store,
        database: Database,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _utc,
    ) -> None:
        """Ask nothing yet; `worker` is unlike every other's, `clock` never goes back, `now` says which day it is."""
        self._stream, self._worker, self._store, self._database = stream, worker, store, database
        self._clock, self._now = clock, now
        self._own = LocalStore(clock)
        self._lines: dict[str, Line] = {}
        self._lanes: dict[tuple[str, str], Lane] = {}
        #: How many workers share the limits, as far as is known.
        self._workers = 1
        self._away: str | None = None
        self._uncounted: str | None = None
        #: Nothing goes until the store answers.
        self._waits = False
        self._beating = asyncio.Lock()

    @property
    def trouble(self) -> str | None:
        """Return why mail waits or keeps to a share, in one sentence; None while all is well."""
        if self._away is None:
            return self._uncounted
        if self._waits:
            return f"{self._away}: {self._stream} mail waits"
        return f"{self._away}: each worker keeps to its share of the limits, 1/{self._workers}"

    # --- connections ----------------------------------------------------------------------------------------------

    async def connect(self, quota: Quota) -> float:
        """Take a connection to the relay: 0.0 where it is ours, else the seconds to wait before asking again."""
        line = self._line(quota)
        while line.held >= line.room:
            wait = line.ask_at - self._clock()
            if wait <= 0:
                wait = await self._more(line)
            if wait > 0 and line.held >= line.room:
                return wait
        line.held += 1
        return 0.0

    async def _more(self, line: Line) -> float:
        """Ask for more connections, in one round trip for all that wait; return when to ask again, in seconds.

        0.0: there were as many as were asked for.
        """
        line.waiting += 1
        try:
            if line.asking is None or line.asking.done():
                line.asking = asyncio.create_task(self._ask_for_more(line))
            # Whoever is broken off takes the answer from nobody.
            return await asyncio.shield(line.asking)
        finally:
            line.waiting -= 1

    async def _ask_for_more(self, line: Line) -> float:
        async with line.lock:
            wanted = line.held + line.waiting
            answers = await self._seats([line.ask(more=line.waiting)])
            if answers is not None:
                self._learn_line(line, answers[0])
            if line.room >= wanted:
                return 0.0
            wait = _SOON if answers is None else _FULL
            line.ask_at = self._clock() + wait
            return wait

    async def disconnect(self, quota: Quota) -> None:
        """Give a connection back, once it is closed."""
        line = self._line(quota)
        line.held -= 1
        line.ask_at = 0.0
        async with line.lock:
            await self._seats([line.offer()])

    def room(self, quota: Quota) -> int:
        """Return how many connections this worker can have at most: no more than it has, while it was told so."""
        line = self._line(quota)
        return line.held if self._clock() < line.ask_at else quota.connections

    def crowded(self, quota: Quota, leaving: int = 0) -> bool:
        """Return whether another worker waits for a connection while this one has more than its share.

        `leaving` is how many of its connections are about to be closed.
        """
        line = self._line(quota)
        return line.held - leaving > line.room

    # --- mails ----------------------------------------------------------------------------------------------------

    def admit(self, quota: Quota, provider: str) -> bool:
        """Take what one mail needs, and return whether there was all of it; where not, await `refill`."""
        lane = self._lanes.get((quota.name, provider)) or self._lane(quota, provider)
        if lane.inflight >= lane.room or self._waits:
            return False
        if lane.allowances:
            now = self._clock()
            for each in lane.allowances:
                if each.left < 1 or now >= each.until:
                    return False
            for each in lane.allowances:
                each.left -= 1
        lane.inflight += 1
        return True

    def release(self, quota: Quota, provider: str, *, used: bool = True) -> None:
        """Say that an admitted mail is through, or (`used=False`) that it never went to the relay."""
        lane = self._lanes[quota.name, provider]
        lane.inflight -= 1
        if not used:
            for each in lane.allowances:
                each.left += 1

    async def refill(self, quota: Quota, provider: str) -> float:
        """Ask for what `admit` lacked: 0.0 where it is there (others may be quicker), else the seconds to wait."""
        if self._waits:
            await self._look()
            if self._waits:
                return _SOON
        lane = self._lane(quota, provider)
        async with lane.lock:
            now = self._clock()
            if lane.ready(now):
                return 0.0
            if now < lane.ask_at:
                return lane.ask_at - now
            wait = await self._ask(lane)
            lane.ask_at = self._clock() + wait
            return wait

    async def throttled(self, quota: Quota, provider: str) -> None:
        """Note that the group's receiver complained (`is_rate_reply`): no mail for it, then slowly more."""
        lane = self._lane(quota, provider)
        lane.room = 0
        async with lane.lock:
            now = self._clock()
            lane.room, lane.complained_at = 0, now
            ask = lane.ask(lane.inflight, now)._replace(complained=0.0)
            if (answers := await self._seats([ask])) is not None:
                self._learn_lane(lane, answers[0])
                lane.ask_at = self._clock() + answers[0].wait

    async def _ask(self, lane: Lane) -> float:
        """Ask for seats, then for the day, then for tokens, which are the first to spoil."""
        if lane.inflight >= lane.room and (wait := await self._take_seats(lane)):
            return wait
        short = lane.short(self._clock())
        shares = [each for each in short if isinstance(each, DayShare)]
        if shares and (wait := await self._reserved(lane, shares)):
            return wait
        buckets = [each for each in short if isinstance(each, Bucket)]
        return await self._fill(buckets) if buckets else 0.0

    async def _take_seats(self, lane: Lane) -> float:
        now = self._clock()
        # Twice as many as are in use: a worker that starts finds its size in a few round trips.
        answers = await self._seats([lane.ask(lane.inflight + max(1, lane.inflight), now)])
        if answers is None:
            return _SOON
        self._learn_lane(lane, answers[0])
        return 0.0 if lane.inflight < lane.room else answers[0].wait or _SOON

    async def _fill(self, buckets: Sequence[Bucket]) -> float:
        now = self._clock()
        grant = await self._granted([bucket.need(now) for bucket in buckets])
        if grant is None:
            return _SOON
        if not grant.wait:
            now = self._clock()
            for bucket, tokens in zip(buckets, grant.tokens, strict=True):
                bucket.fill(tokens, now)
        return grant.wait

    # --- days -----------------------------------------------------------------------------------------------------

    async def _reserved(self, lane: Lane, shares: Sequence[DayShare]) -> float:
        """Wait for a reservation, but not for long; one that comes later counts all the same."""
        if lane.reserving is None or lane.reserving.done():
            lane.reserving = asyncio.create_task(self._reserve(shares))
        done, _pending = await asyncio.wait({lane.reserving}, timeout=_PATIENCE)
        if done:
            return lane.reserving.result()
        self._uncounted = "the database is slow to count the day's mail: mail of a relay with per_day waits"
        return _SOON

    async def _reserve(self, shares: Sequence[DayShare]) -> float:
        wishes = [Wish(share.name, share.limit) for share in shares]
        today = self._now()
        day = days.day_of(today)
        urgency = 0 if self._stream is Stream.TRANSACTIONAL else 1
        try:
            taken = await self._database.run(lambda session: days.reserve(session, wishes, day), urgency=urgency)
        except Exception as error:  # noqa: BLE001 - the database may be away; the next refill asks again
            self._uncounted = f"the day's mail cannot be counted ({type(error).__name__}): mail waits"
            return _SOON
        self._uncounted = None
        now, left = self._clock(), days.seconds_left(today)
        for share, mails in zip(shares, taken, strict=True):
            share.add(mails, now, now + left)
            share.day = day
        return 0.0 if all(taken) else left

    # --- what is shared -------------------------------------------------------------------------------------------

    async def beat(self) -> None:
        """Keep what is held for another lapse, give back what idles, and hear what other workers learnt."""
        async with AsyncExitStack() as locks:
            lines, held = list(self._lines.values()), list(self._lanes.values())
            for lock in [*(line.lock for line in lines), *(lane.lock for lane in held)]:
                await locks.enter_async_context(lock)
            now = self._clock()
            asks = [line.offer() for line in lines]
            for lane in held:
                idle = 0 if lane.room == UNLIMITED else max(0, lane.room - lane.inflight)
                asks.append(lane.ask(lane.inflight + idle // 2, now))
                if lane.room != UNLIMITED:
                    # What is offered back must not be used meanwhile.
                    lane.room = min(lane.room, lane.inflight)
            if not asks or (answers := await self._seats(asks)) is None:
                return
            for line, seats in zip(lines, answers, strict=False):
                self._learn_line(line, seats)
            for lane, seats in zip(held, answers[len(lines) :], strict=True):
                self._learn_lane(lane, seats)

    async def _look(self) -> None:
        """Ask whether the store is back; whoever comes at the same time shares the answer."""
        async with self._beating:
            if self._waits:
                await self.beat()

    async def close(self) -> None:
        """Give back what is held and what is left of the day."""
        # An answer that came after the goodbye would seat this worker again.
        asking = [*(line.asking for line in self._lines.values()), *(lane.reserving for lane in self._lanes.values())]
        if pending := {each for each in asking if each is not None}:
            await asyncio.wait(pending, timeout=_SOON)
        lines, held = self._lines.values(), self._lanes.values()
        keys = [each.ask().key for each in lines] + [each.ask(0, 0.0).key for each in held]
        try:
            await self._store.leave(self._worker, keys)
        except StoreAway as away:
            logger.info("%s: what the %s stream held there lapses by itself", away, self._stream)
        await self._give_back()

    async def _give_back(self) -> None:
        now = self._clock()
        allowances = {each for lane in self._lanes.values() for each in lane.allowances}
        shares = [each for each in allowances if isinstance(each, DayShare) and each.lasts(now)]

        def verb(session: Session) -> None:
            for share in shares:
                days.give_back(session, share.name, share.day, share.left)

        if not shares:
            return
        try:
            async with asyncio.timeout(_SOON):
                await self._database.run(verb)
        except Exception as error:  # noqa: BLE001 - the database may be away; less is sent today than could be
            logger.warning("unused mails of the day were not given back: %s", type(error).__name__)
        for share in shares:
            share.left = 0

    async def _seats(self, asks: Sequence[Ask]) -> list[Seats] | None:
        """Ask the store, or this worker's own count; None: mail waits."""
        try:
            answers = await self._store.seat(self._worker, asks)
        except StoreAway as away:
            if self._lost(away):
                return None
            return await self._own.seat(self._worker, [self._share(ask) for ask in asks])
        self._found()
        return answers

    async def _granted(self, needs: Sequence[Need]) -> Grant | None:
        try:
            grant = await self._store.grant(needs)
        except StoreAway as away:
            if self._lost(away):
                return None
            return await self._own.grant([need._replace(rate=need.rate / self._workers) for need in needs])
        self._found()
        return grant

    def _share(self, ask: Ask) -> Ask:
        return ask if ask.limit is None else ask._replace(limit=max(1, ask.limit // self._workers))

    def _lost(self, away: StoreAway) -> bool:
        """Note that the store is away, and return whether mail waits for it."""
        if self._away is None:
            logger.warning("%s: the %s stream goes on without shared limits, or waits", away, self._stream)
        self._away = str(away)
        self._waits = self._stream is Stream.PROMOTIONAL
        return self._waits

    def _found(self) -> None:
        if self._away is not None:
            logger.info("the %s stream shares its limits again", self._stream)
        self._away, self._waits = None, False

    def _learn_line(self, line: Line, seats: Seats) -> None:
        assert seats.allowed is not None
        line.room = seats.allowed
        if self._away is None:
            self._workers = seats.workers

    def _learn_lane(self, lane: Lane, seats: Seats) -> None:
        lane.room = UNLIMITED if seats.allowed is None else seats.allowed
        lane.complained_at = None if seats.complained is None else self._clock() - seats.complained

    # --- what is known --------------------------------------------------------------------------------------------

    def _line(self, quota: Quota) -> Line:
        line = self._lines.get(quota.name)
        if line is None:
            line = self._lines[quota.name] = lanes.line(f"{self._stream}:{quota.name}", quota)
        return line

    def _lane(self, quota: Quota, provider: str) -> Lane:
        lane = self._lanes.get((quota.name, provider))
        if lane is None:
            lane = self._lanes[quota.name, provider] = lanes.lane(self._line(quota), provider)
        return lane
