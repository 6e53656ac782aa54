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


class Gathering:
    """Takes what arrives while others are committed, and submits it together; transactional mail goes first."""

    def __init__(self, service: Service, good: Callable[[Collection[str], float], None]) -> None:
        """Begin with nobody waiting; `good` is told digests of keys that were good, and when (monotonic clock)."""
        self._service, self._good = service, good
        self._waiting: Mapping[Stream, deque[_Waiting]] = {
            stream: deque() for stream in (Stream.TRANSACTIONAL, Stream.PROMOTIONAL)
        }
        self._flying = 0
        self._flights: set[asyncio.Task[None]] = set()
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
        if self._flying:
            return self._flying < _BESIDE and self._number() >= MOST
        return self._hold is None or self._number() >= self._expected

    def _take_off(self) -> None:
        self._called = False
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None
        if (not self._flying or self._may_leave()) and (aboard := self._board()):
            self._flying += 1
            flight = asyncio.create_task(self._fly(aboard))
            self._flights.add(flight)
            flight.add_done_callback(self._flights.discard)

    def _board(self) -> list[_Waiting]:
        """Take who waits, transactional mail first; whoever gave up meanwhile is left out."""
        aboard: list[_Waiting] = []
        for queue in self._waiting.values():
            while queue and len(aboard) < MOST:
                waiting = queue.popleft()
                if not waiting.done.done():
                    aboard.append(waiting)
        return aboard

    def _landed(self, answered: int, took: float) -> None:
        """Let the next ones go: at once where nobody or everybody waits, else a moment later."""
        self._flying -= 1
        waiting = self._number()
        self._expected = min(MOST, waiting + answered)
        if waiting >= self._expected:
            self._take_off()
        elif waiting and not self._flying:
            self._hold = asyncio.get_running_loop().call_later(min(took * _HOLD, _LONGEST_HOLD), self._take_off)

    async def _fly(self, aboard: Sequence[_Waiting]) -> None:
        singles, began = [waiting.single for waiting in aboard], time.monotonic()
        transactional = any(single.draft.stream is Stream.TRANSACTIONAL for single in singles)
        outcomes: Sequence[Outcome]
        try:
            outcomes, streams, keys = await self._service.database.run(
                lambda session: together(session, singles, self._service.intake, self._service.now()),
                urgency=_URGENT if transactional else _USUAL,
            )
        except Exception as error:  # noqa: BLE001 - everybody aboard must hear of it
            # One mail must not harm another: each tries by itself, unless it may be that all are committed.
            outcomes, streams, keys = [ALONE if undone(error) else error for _ in aboard], set(), ()
        for waiting, outcome in zip(aboard, outcomes, strict=True):
            if not waiting.done.done():
                waiting.done.set_result(outcome)
        self._good(keys, began)
        self._landed(len(aboard), time.monotonic() - began)
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
