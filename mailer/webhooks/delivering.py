"""Messages go out: each endpoint by a task of its own, so that none waits for another's slowness.

A message is claimed, sent and settled; what a killed process had claimed is sent again by another when its claim
lapses, with the same id. So a message arrives at least once, and in the order of its email.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

from sqlmodel import Session

from mailer.database import Database
from mailer.models import Webhook
from mailer.outside import Answer, Outside, Refused, Unreachable
from mailer.sealing import Seals
from mailer.webhooks import deliveries, endpoints, messages, schedule, signing
from mailer.webhooks.deliveries import Tried
from mailer.webhooks.messages import Parcel
from mailer.webhooks.schedule import WAITS, Verdict

logger = logging.getLogger(__name__)

#: How many messages are on their way to one endpoint at once.
WIDTH = 24
#: How many are claimed of one that answers fast, and the milliseconds within which that is.
AHEAD, _QUICK = 240, 500
#: Seconds after which a claimed message is not begun any more.
_STALE = 10.0
#: What is kept of an answer.
KEPT = 1024
#: Seconds between two looks for endpoints that messages are due for.
_LOOK = 0.5
#: Seconds in which answers are gathered, so that many are settled in one commit.
_GATHERED = 0.01
#: Seconds that messages on their way have at the end; what takes longer is sent again.
_ENDING = 5.0


class _Turn(NamedTuple):
    """What one transaction for an endpoint found."""

    url: str
    secrets: Sequence[bytes]
    parcels: Sequence[Parcel]


class _Round:
    """What one endpoint's messages do between two transactions: a few travel, some more wait for their turn."""

    def __init__(self, send: Callable[[_Turn, Parcel], Awaitable[Tried]]) -> None:
        self._send = send
        self._queue: asyncio.Queue[tuple[float, _Turn, Parcel]] = asyncio.Queue()
        self._tried: list[Tried] = []
        self._senders = [asyncio.create_task(self._go()) for _ in range(WIDTH)]
        self._news = asyncio.Event()
        #: How many are claimed and not settled.
        self.held = 0

    def room(self, tried: Sequence[Tried]) -> int:
        """Return how many more may be claimed; far ahead only for who answers fast, since a claim lapses."""
        quick = bool(tried) and all(each.took < _QUICK and each.verdict is Verdict.TAKEN for each in tried)
        return (AHEAD if quick else WIDTH) - self.held

    def take(self, turn: _Turn) -> None:
        """Have claimed messages sent."""
        self.held += len(turn.parcels)
        for parcel in turn.parcels:
            self._queue.put_nowait((time.monotonic(), turn, parcel))

    async def some(self) -> None:
        """Wait until something came back, and a moment longer, so that many are settled in one commit."""
        await self._news.wait()
        await asyncio.sleep(_GATHERED)

    def landed(self) -> Sequence[Tried]:
        """Return what came back since the last time."""
        tried, self._tried = self._tried, []
        self.held -= len(tried)
        self._news.clear()
        return tried

    async def _go(self) -> None:
        while True:
            claimed_at, turn, parcel = await self._queue.get()
            # What has waited too long may be somebody else's by the time of its answer: its claim lapses.
            if time.monotonic() - claimed_at < _STALE:
                tried = await self._send(turn, parcel)
                # Looked up only now: the list of before the wait has been handed over.
                self._tried.append(tried)
            else:
                self.held -= 1
            self._news.set()

    async def close(self) -> None:
        """Stop sending."""
        for sender in self._senders:
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)


class Deliverer:
    """Sends what is due until stopped; several in several processes share the work."""

    def __init__(
        self, database: Database, outside: Outside, seals: Seals, *, waits: Sequence[timedelta] = WAITS
    ) -> None:
        """Begin nothing yet; `waits` are those between the tries of a message."""
        self._database, self._outside, self._seals, self._waits = database, outside, seals, waits
        self._lease = f"wh_{secrets.token_hex(12)}"
        self._serving: dict[str, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Look for what is due, twice a second, until `stop` is called."""
        while not self._stopping.is_set():
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001 - the database may be away; the next look tries again
                logger.warning("webhooks could not be looked for: %s", type(error).__name__)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _LOOK)

    async def stop(self) -> None:
        """Claim nothing more, let what is on its way arrive, settle it, and close every connection."""
        self._stopping.set()
        if self._serving:
            await asyncio.wait(self._serving.values(), timeout=_ENDING)
        for task in self._serving.values():
            task.cancel()
        await asyncio.gather(*self._serving.values(), return_exceptions=True)
        await self._outside.close()

    async def _look(self) -> None:
        now = self._database.now()
        for webhook_id in await self._database.read(lambda session: deliveries.hungry(session, now)):
            task = self._serving.get(webhook_id)
            if task is None or task.done():
                self._serving[webhook_id] = asyncio.create_task(self._serve(webhook_id))
        self._serving = {webhook_id: task for webhook_id, task in self._serving.items() if not task.done()}

    async def _serve(self, webhook_id: str) -> None:
        """Send one endpoint's messages until none is due: while some are settled and claimed, others travel."""
        round_ = _Round(self._send)
        try:
            while True:
                tried = round_.landed()
                turn = await self._turn(webhook_id, tried, room=round_.room(tried))
                round_.take(turn)
                if not round_.held:
                    return
                await round_.some()
        except Exception as error:  # noqa: BLE001 - claims lapse, and the next look begins anew
            logger.warning("a webhook could not be served: %s", type(error).__name__)
        finally:
            await round_.close()

    async def _turn(self, webhook_id: str, tried: Sequence[Tried], *, room: int) -> _Turn:
        """Settle what was tried and claim what is due, in one transaction."""
        now = self._database.now()

        def verb(session: Session) -> _Turn:
            webhook = session.get(Webhook, webhook_id, with_for_update=True)
            if webhook is None:
                return _Turn("", [], [])
            was = webhook.enabled
            if tried:
                deliveries.settle(session, webhook, self._lease, tried, now, self._waits)
            if was and not webhook.enabled:
                logger.warning("webhook %s is disabled: %s", webhook.id, webhook.disabled_why)
            claimed = deliveries.claim(session, webhook, self._lease, room, now) if not self._stopping.is_set() else []
            keys = endpoints.secrets_of(self._seals, webhook, now) if claimed else []
            return _Turn(webhook.url, keys, messages.put_into_words(session, claimed))

        return await self._database.run(verb, urgency=2)

    async def _send(self, turn: _Turn, parcel: Parcel) -> Tried:
        now, began = self._database.now(), time.monotonic()
        headers = signing.headers(turn.secrets, parcel.due.message_id, parcel.body, now)
        answer: Answer | None = None
        try:
            answer = await self._outside.post(turn.url, parcel.body, headers, most=KEPT)
            told = answer.body.decode("utf-8", "replace").replace("\x00", "\ufffd")
        except (Refused, Unreachable) as error:
            told = str(error)
        took = round((time.monotonic() - began) * 1000)
        status = answer.status if answer else None
        asked = schedule.retry_after(answer.headers, now) if answer else None
        return Tried(parcel.due, schedule.verdict(status), status, took, told, asked)
