"""Limits within one process: the embedded mode, and what a worker falls back to."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mailer.delivery.limits.quota import USUAL, Schedule
from mailer.delivery.limits.stores import ASK_AGAIN, BURST, SIP, TOLERANCE, WANTING, Ask, Grant, Need, Seats


@dataclass(slots=True)
class _Holding:
    count: int
    until: float
    wanting_until: float


@dataclass(slots=True)
class _Room:
    """Seats, who holds them, and when the receiver complained."""

    holdings: dict[str, _Holding] = field(default_factory=dict)
    complained_at: float | None = None


class LocalStore:
    """Counts in memory, by a clock of its own; the rules are those of `scripts.py`."""

    def __init__(self, clock: Callable[[], float], schedule: Schedule = USUAL) -> None:
        """`clock` returns seconds that never go back."""
        self._clock = clock
        self._schedule = schedule
        self._rooms: dict[str, _Room] = {}
        #: When each bucket will be full again.
        self._full_at: dict[str, float] = {}

    async def seat(self, worker: str, asks: Sequence[Ask]) -> list[Seats]:
        """Note what a worker holds, and say what it may."""
        now = self._clock()
        return [self._seat(worker, ask, now) for ask in asks]

    def _seat(self, worker: str, ask: Ask, now: float) -> Seats:
        room = self._rooms.setdefault(ask.key, _Room())
        limit, wait = self._restrained(room, ask, now)
        others = {name: each for name, each in room.holdings.items() if name != worker and each.until > now}
        hungry = any(each.wanting_until > now for each in others.values())
        allowed, denied = None, False
        if limit is not None:
            rivals = 1 + sum(each.count > 0 or each.wanting_until > now for each in others.values())
            free = limit - sum(each.count for each in others.values())
            fair = min(free, math.ceil(limit / rivals)) if hungry else free
            allowed = max(0, min(ask.wanted, fair))
            denied = ask.wanted > allowed
        count = max(ask.held, ask.wanted if allowed is None else allowed)
        old = room.holdings.get(worker)
        # Who only says what it holds still waits for what it was denied, and for nothing else.
        wanting = old.wanting_until if old is not None else 0.0
        if ask.wanted > ask.held:
            wanting = now + WANTING if denied else 0.0
        mine = _Holding(count, now + self._schedule.lapse, wanting)
        room.holdings = {**others, worker: mine}
        complained = None if room.complained_at is None else now - room.complained_at
        return Seats(allowed, wait or (ASK_AGAIN if denied else 0.0), complained, len(room.holdings))

    def _restrained(self, room: _Room, ask: Ask, now: float) -> tuple[int | None, float]:
        """Return the limit that holds now, and how long the receiver is left alone."""
        if ask.complained is not None:
            told = now - ask.complained
            known = room.complained_at
            if known is None or ask.complained == 0 or told > known + TOLERANCE:
                room.complained_at = told
        if room.complained_at is None:
            return ask.limit, 0.0
        past = now - room.complained_at
        opened = self._schedule.room(past, ask.limit)
        if opened is None:
            room.complained_at = None
            return ask.limit, 0.0
        return opened, max(0.0, self._schedule.pause - past)

    async def grant(self, needs: Sequence[Need]) -> Grant:
        """Take tokens of every bucket, or of none."""
        now = self._clock()
        tokens: list[int] = []
        wait = 0.0
        for need in needs:
            full_at = max(now, self._full_at.get(need.key, now))
            size = max(1.0, need.rate * BURST)
            there = size - (full_at - now) * need.rate
            least = max(1, min(need.tokens, int(need.rate * SIP)))
            # A sum of fractions may miss a whole number by a hair.
            if there + 1e-6 < least:
                wait = max(wait, (least - there) / need.rate)
            tokens.append(max(1, min(need.tokens, int(there + 1e-6))))
        if wait:
            return Grant([0] * len(needs), wait)
        for need, taken in zip(needs, tokens, strict=True):
            self._full_at[need.key] = max(now, self._full_at.get(need.key, now)) + taken / need.rate
        return Grant(tokens, 0.0)

    async def leave(self, worker: str, keys: Sequence[str]) -> None:
        """Forget a worker."""
        for key in keys:
            if key in self._rooms:
                self._rooms[key].holdings.pop(worker, None)

    async def close(self) -> None:
        """Nothing is open."""
