"""What one worker has been granted, so that a mail asks nobody: seats and tokens, by relay and by group."""

import asyncio
import math
import sys
from dataclasses import dataclass, field
from datetime import date

from mailer.delivery.limits.quota import Quota
from mailer.delivery.limits.stores import BURST, Ask, Need

UNLIMITED = sys.maxsize
#: Seconds after which an unused grant is void: short, so that no worker saves tokens up for a burst.
_LASTS = 0.25
#: A grant is what was used in so many seconds.
_SPAN = 0.1


@dataclass(slots=True, eq=False)
class Allowance:
    """How many mails may go, and until when (by the worker's clock)."""

    left: int = 0
    until: float = 0.0

    def lasts(self, now: float) -> bool:
        """Return whether a mail may go."""
        return self.left >= 1 and now < self.until

    def add(self, mails: int, now: float, until: float) -> None:
        """Add to what is still good."""
        self.left = mails + (self.left if now < self.until else 0)
        self.until = until


@dataclass(slots=True, eq=False)
class Bucket(Allowance):
    """Tokens of a rate."""

    key: str = ""
    rate: float = 0.0
    _granted: int = 0
    _asked_at: float = 0.0

    def need(self, now: float) -> Need:
        """Return what to ask for: what was used lately, at least one, at most a burst."""
        used = self._granted - self.left
        likely = math.ceil(used * _SPAN / max(now - self._asked_at, 0.001))
        return Need(self.key, self.rate, max(1, min(likely, int(self.rate * BURST))))

    def fill(self, tokens: int, now: float) -> None:
        """Take what was granted."""
        self.add(tokens, now, now + _LASTS)
        self._granted, self._asked_at = self.left, now


@dataclass(slots=True, eq=False)
class DayShare(Allowance):
    """What this worker has reserved of a day's allowance."""

    name: str = ""
    limit: int = 0
    day: date = date.min


@dataclass(slots=True, eq=False)
class Line:
    """One relay: its connections, and what all its mail shares."""

    key: str
    quota: Quota
    allowances: tuple[Allowance, ...]
    held: int = 0
    #: How many connections this worker may have, by the store's last word.
    room: int = 0
    waiting: int = 0
    ask_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: One round trip for all that wait.
    asking: asyncio.Task[float] | None = None

    def ask(self, more: int = 0) -> Ask:
        """Return the word on its connections."""
        return Ask(f"{self.key}:connections", self.held, self.held + more, self.quota.connections)

    def offer(self) -> Ask:
        """Return the word on its connections, and use no more than those until it is answered.

        What the word before this one granted and nobody took yet is the store's again.
        """
        self.room = min(self.room, self.held)
        return self.ask()


@dataclass(slots=True, eq=False)
class Lane:
    """One group of receivers over one relay."""

    key: str
    #: Mails in flight, across workers; None: any number.
    limit: int | None
    #: All that a mail uses one of: the relay's and the group's.
    allowances: tuple[Allowance, ...]
    inflight: int = 0
    #: How many this worker may have in flight, by the store's last word.
    room: int = 0
    #: When the receiver complained of our rate, as far as is known.
    complained_at: float | None = None
    ask_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    reserving: asyncio.Task[float] | None = None

    def ready(self, now: float) -> bool:
        """Return whether a mail may go."""
        return self.inflight < self.room and all(each.lasts(now) for each in self.allowances)

    def ask(self, wanted: int, now: float) -> Ask:
        """Return the word on its mails in flight."""
        complained = None if self.complained_at is None else max(0.001, now - self.complained_at)
        return Ask(f"{self.key}:flight", self.inflight, wanted, self.limit, complained)

    def short(self, now: float) -> list[Allowance]:
        """Return the allowances that are used up or void."""
        return [each for each in self.allowances if not each.lasts(now)]


def line(base: str, quota: Quota) -> Line:
    """Return the line of a relay, with nothing granted yet."""
    return Line(base, quota, _allowances(base, quota.per_second, quota.per_day))


def lane(over: Line, provider: str) -> Lane:
    """Return the lane of a group over a relay, closed until the store says that nobody complained."""
    group, key = over.quota.groups.get(provider), f"{over.key}:{provider}"
    if group is None:
        return Lane(key, None, over.allowances)
    own = _allowances(key, group.per_second, group.per_day)
    return Lane(key, group.connections, (*over.allowances, *own))


def _allowances(key: str, per_second: float | None, per_day: int | None) -> tuple[Allowance, ...]:
    buckets = () if per_second is None else (Bucket(key=f"{key}:rate", rate=per_second),)
    return (*buckets, *(() if per_day is None else (DayShare(name=key, limit=per_day),)))
