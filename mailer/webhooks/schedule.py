"""When a message is tried again, and what an answer means: tables, as Standard Webhooks recommends them (R10.5)."""

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus

#: After the first try, which is at once: ten tries over 75 h 35 min.
WAITS: Sequence[timedelta] = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
#: A wait is longer or shorter by this part of it, so that what failed together does not come back together.
_JITTER = 0.1
#: The longest wait that an endpoint may ask for.
_LONGEST = timedelta(hours=24)
#: After so many failures in a row an endpoint is asked one message at a time, and left alone between two.
PROBED_AFTER = 5
_SHORTEST_REST, _LONGEST_REST = timedelta(seconds=1), timedelta(minutes=1)
#: An endpoint that took nothing for so long, and failed so often, is disabled.
DISABLED_AFTER = timedelta(days=5)
_DISABLED_FAILURES = 10


class Verdict(StrEnum):
    """What an answer means."""

    #: 2xx.
    TAKEN = "taken"
    #: Everything else, redirects too: we follow none.
    FAILED = "failed"
    #: 410: the endpoint wants nothing any more.
    GONE = "gone"


def verdict(status: int | None) -> Verdict:
    """Return what an HTTP status means; None where there was no answer."""
    if status == HTTPStatus.GONE:
        return Verdict.GONE
    return Verdict.TAKEN if status is not None and 200 <= status < 300 else Verdict.FAILED


def next_try(
    tries: int, now: datetime, asked: timedelta | None = None, waits: Sequence[timedelta] = WAITS
) -> datetime | None:
    """Return when a message that failed `tries` times is tried next; None where it is given up.

    `asked` is how long the endpoint wants to be left alone (`Retry-After`); it never shortens a wait.
    """
    if tries > len(waits):
        return None
    wait = waits[tries - 1] * random.uniform(1 - _JITTER, 1 + _JITTER)
    return now + max(wait, min(asked or timedelta(0), _LONGEST))


def retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """Return how long an endpoint wants to be left alone (RFC 9110 section 10.2.3); None where it does not say."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:9]), int(_LONGEST.total_seconds())))
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now


def rest(failures: int, since: datetime, now: datetime) -> timedelta | None:
    """Return how long an endpoint that has failed so often in a row, and since then, is left alone.

    It follows from the time: many messages that fail together are one failure.
    """
    if failures < PROBED_AFTER:
        return None
    return max(_SHORTEST_REST, min((now - since) / 2, _LONGEST_REST))


def hopeless(failures: int, since: datetime | None, now: datetime) -> bool:
    """Return whether an endpoint failed for so long that it is disabled."""
    return since is not None and failures >= _DISABLED_FAILURES and now - since >= DISABLED_AFTER
