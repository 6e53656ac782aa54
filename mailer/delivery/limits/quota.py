"""What limits one relay, and how a receiver says that it has had too much."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mailer.relays import GroupLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What one relay takes from all workers of a stream together; None is without limit."""

    #: Which relay: stands in the names of keys and counts, so it holds no password and at most 150 characters.
    name: str
    connections: int
    per_second: float | None = None
    #: In UTC.
    per_day: int | None = None
    #: By group of receivers (`mailer.providers`).
    groups: Mapping[str, GroupLimits] = field(default_factory=dict)


class Schedule(NamedTuple):
    """How long things last, in seconds."""

    #: A worker that is not heard of for so long has no seat any more. It is heard of twice a second: the mail of one
    #: that was killed must not wait for its connections longer than for its lease.
    lapse: float = 6.0
    #: Gmail on 421 4.7.28: stop for at least ten minutes, start with one connection, add one at a time.
    pause: float = 600.0
    step: float = 60.0
    #: So many at once count as no limit.
    most: int = 32

    def room(self, past: float, limit: int | None) -> int | None:
        """Return how many mails may be in flight so long after a receiver's complaint; None: it is over."""
        if past < self.pause:
            return 0
        opened = 1 + int((past - self.pause) // self.step)
        return None if opened >= min(self.most, limit or self.most) else opened


USUAL = Schedule()

#: RFC 3463 codes are numbers between dots; Gmail's says "unusual rate of mail".
_RATE_REPLY = re.compile(r"(?<![\d.])4\.7\.28(?![\d.]*\d)")


def is_rate_reply(text: str) -> bool:
    """Return whether a reply is Gmail's `421 4.7.28`: too much mail from us (Google's sender guidelines, R2.1)."""
    return _RATE_REPLY.search(text) is not None
