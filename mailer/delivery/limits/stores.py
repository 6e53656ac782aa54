"""What a place that workers share their limits in has to know."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from mailer.errors import MailerError

#: Seconds of a rate that may be sent at once, and that one worker is granted at once.
BURST = 0.1
#: Workers that empty a bucket come back for so many seconds of its rate, not for each token.
SIP = 0.02
#: Seconds for which a worker that was denied a seat counts as waiting for one.
WANTING = 3.0
#: Seconds after which a worker that found no seat asks again.
ASK_AGAIN = 0.1
#: Seconds by which two workers' memories of one complaint may differ.
TOLERANCE = 5.0


class StoreAway(MailerError):
    """The limits that workers share cannot be asked."""


class Ask(NamedTuple):
    """A worker's word on the seats that it holds and wants; counts are whole, so that a lost word does no harm."""

    #: Which seats: of a relay, or of a relay's group.
    key: str
    #: How many are in use, and cannot be given back now.
    held: int
    #: How many in all it would like to have.
    wanted: int
    #: How many there are; None: any number.
    limit: int | None
    #: Seconds since the receiver complained, as far as the worker knows.
    complained: float | None = None


class Seats(NamedTuple):
    """The answer: how many the worker may use from now on."""

    #: None: any number.
    allowed: int | None
    #: Seconds before there may be more.
    wait: float
    #: Seconds since the receiver complained, where that still limits.
    complained: float | None
    #: How many workers were heard of lately.
    workers: int


class Need(NamedTuple):
    """How many tokens of a bucket a worker would use soon; at least one."""

    key: str
    #: Tokens a second.
    rate: float
    tokens: int


class Grant(NamedTuple):
    """Tokens of each bucket that was asked, or none at all and the seconds to wait."""

    tokens: Sequence[int]
    wait: float


class Store(Protocol):
    """Where seats and tokens are counted. Raises `StoreAway`, within a second, where it cannot be asked."""

    async def seat(self, worker: str, asks: Sequence[Ask]) -> list[Seats]:
        """Note what a worker holds, and say what it may; whoever is not heard of for the lapse holds nothing."""
        ...

    async def grant(self, needs: Sequence[Need]) -> Grant:
        """Take tokens of every bucket, or of none."""
        ...

    async def leave(self, worker: str, keys: Sequence[str]) -> None:
        """Forget a worker."""
        ...

    async def close(self) -> None:
        """Close what is open."""
        ...
