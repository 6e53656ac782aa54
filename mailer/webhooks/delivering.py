"""Messages go out: each endpoint by a task of its own, so that none waits for another's slowness.

A message is claimed, sent and settled; what a killed process had claimed is sent again by another when its claim
lapses, with the same id. So a message arrives at least once, and in the order of its email.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Sequence
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
from mailer.webhooks.schedule import WAITS

logger = logging.getLogger(__name__)

#: How many messages are on their way to one endpoint at once.
WIDTH = 24
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
        """Send one endpoint's messages until none is due."""
        flying: set[asyncio.Task[Tried]] = set()
        tried: list[Tried] = []
        try:
            while True:
                turn = await self._turn(webhook_id, tried, room=WIDTH - len(flying))
                tried = []
                for parcel in turn.parcels:
                    flying.add(asyncio.create_task(self._send(turn, parcel)))
                if not flying:
                    return
                await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(_GATHERED)
                landed = {task for task in flying if task.done()}
                flying -= landed
                tried = [task.result() for task in landed]
        except Exception as error:  # noqa: BLE001 - claims lapse, and the next look begins anew
            logger.warning("a webhook could not be served: %s", type(error).__name__)
        finally:
            for task in flying:
                task.cancel()

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
