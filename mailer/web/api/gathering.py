"""Single mails that arrive while a transaction commits share the next one; each is answered for itself after it."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import NamedTuple, Protocol, TypeAlias

import orjson
from sqlmodel import Session

from mailer import answers, submission, tenancy
from mailer.answers import Asked, Place
from mailer.database import Database, undone
from mailer.drafts import Draft
from mailer.errors import Invalid, Unauthorized
from mailer.status import Status
from mailer.submission import Accepted, Asking, Intake, Refused, Submitter
from mailer.tenancy import Held
from mailer.web import problems
from suppression.rules import Stream

#: How many mails share one transaction at most, so that it stays short.
MOST = 128
#: Whoever was just answered asks again in a moment: those who wait then give them this part of the time that the last
#: transaction took, and at most so many seconds, to come along.
_HOLD = 0.25
_LONGEST_HOLD = 0.003
#: How many transactions go on at once: while one waits for the database, the next is thought through. One that is not
#: full goes alone: two halves would pay twice.
_BESIDE = 2
_URGENT, _USUAL = 0, 1


class Service(Protocol):
    """What sharing needs of the process."""

    database: Database
    intake: Intake

    def ring(self, stream: Stream) -> None:
        """Say that a stream has mail."""

    def now(self) -> datetime:
        """Return the present moment."""


class Told(NamedTuple):
    """An answer, ready to go out."""

    status: HTTPStatus
    body: bytes


@dataclass(frozen=True, slots=True)
class Single:
    """One mail that a request asks for."""

    draft: Draft
    #: Of the request's key: it is asked for again in the transaction, so that a revoked key opens nothing.
    key_digest: str
    #: Where the request has an Idempotency-Key.
    asked: Asked | None
    told: Callable[[Accepted], Told]


class Alone(NamedTuple):
    """This mail cannot share a transaction: it wants one of its own."""


ALONE = Alone()
Outcome: TypeAlias = Told | Exception | Alone


class _Waiting(NamedTuple):
    single: Single
    done: asyncio.Future[Outcome]


class _Flight(NamedTuple):
    """Who shares a transaction that is under way."""

    aboard: Sequence[_Waiting]
    transactional: bool
    #: By what the requests among them are known that must be done once.
    places: Collection[Place]
    #: When it left, by the monotonic clock.
    since: float

    @classmethod
    def of(cls, aboard: Sequence[_Waiting]) -> "_Flight":
        """Return a flight that leaves now."""
        singles = [waiting.single for waiting in aboard]
        return cls(
            aboard,
            any(single.draft.stream is Stream.TRANSACTIONAL for single in singles),
            frozenset([single.asked.place for single in singles if single.asked is not None]),
            time.monotonic(),
        )


class Gathering:
    """Takes what arrives while others are committed, and submits it together; transactional mail goes first."""

    def __init__(self, service: Service, good: Callable[[Collection[str], float], None]) -> None:
        """Begin with nobody waiting; `good` is told digests of keys that were good, and when (monotonic clock)."""
        self._service, self._good = service, good
        self._waiting: Mapping[Stream, deque[_Waiting]] = {
            stream: deque() for stream in (Stream.TRANSACTIONAL, Stream.PROMOTIONAL)
        }
        self._flights: dict[asyncio.Task[None], _Flight] = {}
        self._hold: asyncio.TimerHandle | None = None
        #: How many are worth waiting for.
        self._expected = 0
        self._called = False

    async def submit(self, single: Single) -> Told | Alone:
        """Return the answer once it is committed, or `Alone`; raises what the mail is refused for."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(single, loop.create_future())
        self._waiting[single.draft.stream].append(waiting)
        if not self._called and self._may_leave():
            self._called = True
            # Not at once: whoever is read from the wire in the same round comes along.
            loop.call_soon(self._take_off)
        outcome = await waiting.done
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _number(self) -> int:
        return sum(map(len, self._waiting.values()))

    def _may_leave(self) -> bool:
        """Return whether those who wait need not wait for more: a password reset never does for promotional mail."""
        off = self._flights.values()
        if not off:
            return self._hold is None or self._number() >= self._expected
        overtaking = bool(self._waiting[Stream.TRANSACTIONAL]) and not any(flight.transactional for flight in off)
        return len(off) < _BESIDE and (overtaking or self._number() >= MOST)

    def _take_off(self) -> None:
        self._called = False
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None
        while self._may_leave() and (aboard := self._board()):
            flight = _Flight.of(aboard)
            task = asyncio.create_task(self._fly(flight))
            self._flights[task] = flight
            task.add_done_callback(self._landed)

    def _board(self) -> list[_Waiting]:
        """Take who waits, transactional mail first; whoever gave up meanwhile is left out."""
        aboard: list[_Waiting] = []
        for queue in self._waiting.values():
            later: list[_Waiting] = []
            while queue and len(aboard) < MOST:
                waiting = queue.popleft()
                if not waiting.done.done():
                    (later if self._is_off(waiting.single.asked) else aboard).append(waiting)
            queue.extendleft(reversed(later))
        return aboard

    def _is_off(self, asked: Asked | None) -> bool:
        """Return whether the same request is under way: beside it this one would fail, and everybody aboard."""
        return asked is not None and any(asked.place in flight.places for flight in self._flights.values())

    def _landed(self, task: asyncio.Task[None]) -> None:
        """Let the next ones go: at once where nobody or everybody waits, or another flight is off, else in a moment."""
        flight = self._flights.pop(task)
        for each in flight.aboard:
            # Broken off: nobody is left waiting.
            each.done.cancel()
        waiting = self._number()
        self._expected = min(MOST, waiting + len(flight.aboard))
        if self._flights or waiting >= self._expected:
            self._take_off()
        elif waiting:
            wait = min((time.monotonic() - flight.since) * _HOLD, _LONGEST_HOLD)
            self._hold = asyncio.get_running_loop().call_later(wait, self._take_off)

    async def _fly(self, flight: _Flight) -> None:
        singles = [waiting.single for waiting in flight.aboard]
        outcomes: Sequence[Outcome]
        try:
            outcomes, streams, keys = await self._service.database.run(
                lambda session: together(session, singles, self._service.intake, self._service.now()),
                urgency=_URGENT if flight.transactional else _USUAL,
            )
        except Exception as error:  # noqa: BLE001 - everybody aboard must hear of it
            # One mail must not harm another: each tries by itself, unless it may be that all are committed.
            outcomes, streams, keys = [ALONE if undone(error) else error for _ in singles], set(), ()
        for waiting, outcome in zip(flight.aboard, outcomes, strict=True):
            if not waiting.done.done():
                waiting.done.set_result(outcome)
        self._good(keys, flight.since)
        for stream in sorted(streams):
            self._service.ring(stream)


class Together(NamedTuple):
    """What came of singles that shared a transaction."""

    outcomes: list[Outcome]
    #: To be rung after the commit.
    streams: set[Stream]
    #: The digests of the keys that were good.
    keys: Collection[str]


def together(session: Session, singles: Sequence[Single], context: Intake, now: datetime) -> Together:
    """Submit many singles in one transaction, each for itself."""
    held = tenancy.held(session, {single.key_digest for single in singles})
    begun = answers.begun(session, [single.asked for single in singles if single.asked is not None])
    outcomes: list[Outcome | None] = _turned_away(singles, held, begun)
    going = [place for place, outcome in enumerate(outcomes) if outcome is None]
    asked = [Asking(Submitter(*held[singles[place].key_digest]), singles[place].draft) for place in going]
    streams: set[Stream] = set()
    kept: list[tuple[Asked, int, bytes]] = []
    for place, result in zip(going, submission.submit_together(session, asked, context, now), strict=True):
        single = singles[place]
        told = _told(single, result)
        outcomes[place] = result if isinstance(result, Exception) else told
        if single.asked is not None and told is not None:
            kept.append((single.asked, told.status.value, told.body))
        if isinstance(result, Accepted) and any(placed.status is Status.QUEUED for placed in result.emails):
            streams.add(result.stream)
    # The emails and their answers are one commit: no crash leaves one without the other.
    answers.keep(session, kept, now)
    return Together([outcome if outcome is not None else ALONE for outcome in outcomes], streams, held.keys())


def _told(single: Single, result: Accepted | Refused) -> Told | None:
    """Return the answer that a repeated request gets; a refusal that another key may avoid is not kept."""
    if isinstance(result, Accepted):
        return single.told(result)
    if isinstance(result, Invalid):
        return Told(problems.status_of(result), orjson.dumps(problems.describe(result)))
    return None


def _turned_away(singles: Sequence[Single], held: Mapping[str, Held], begun: Collection[Place]) -> list[Outcome | None]:
    """Return why a single is not submitted here; None where it is."""
    first: dict[Place, Asked] = {}
    outcomes: list[Outcome | None] = []
    for single in singles:
        outcome: Outcome | None = None
        asked = single.asked
        if single.key_digest not in held:
            outcome = Unauthorized(tenancy.UNKNOWN_KEY)
        elif asked is not None and asked.place in begun:
            outcome = ALONE
        elif asked is not None and (earlier := first.setdefault(asked.place, asked)) is not asked:
            outcome = answers.clash(earlier, asked)
        outcomes.append(outcome)
    return outcomes
