"""A stream of recipients of any length: chunk by chunk, each its own transaction, in flat memory."""

import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from mailer import pacing
from mailer.campaigns.adding import CHUNK, CHUNK_ON_SQLITE, Added, add_recipients, wanted
from mailer.campaigns.reading import Format, Item, Reader, Recipient
from mailer.database import Database
from mailer.submission import Intake, Submitter

#: After everything else that wants to write to SQLite.
_BULK = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Who adds to which campaign. It opens the transactions itself: a stream of a million cannot be one."""

    database: Database
    intake: Intake
    sender: Submitter
    campaign_id: str
    now: Callable[[], datetime]

    async def people(self, people: Iterable[object] | AsyncIterable[object]) -> Added:
        """Add people: addresses, or mappings with email, name and variables; refused ones are told by their places."""
        expected = await self.database.read(lambda s: wanted(s, self.sender.tenant_id, self.campaign_id))
        place = 0

        async def items() -> AsyncIterator[Item]:
            nonlocal place
            async for person in pacing.each(people):
                place += 1
                yield expected.read(place, person)

        return await self._add(items())

    async def lines(self, chunks: Iterable[bytes] | AsyncIterable[bytes], form: Format) -> Added:
        """Add what a file or a request's body says, NDJSON or CSV; refused ones are told by their lines."""
        expected = await self.database.read(lambda s: wanted(s, self.sender.tenant_id, self.campaign_id))
        reader = Reader(form, expected)

        async def items() -> AsyncIterator[Item]:
            since = time.monotonic()
            async for chunk in pacing.each(chunks):
                for item in reader.feed(chunk):
                    yield item
                    since = await pacing.turn(since)
                since = await pacing.turn(since)
            for item in reader.close():
                yield item

        return await self._add(items())

    async def _add(self, items: AsyncIterator[Item]) -> Added:
        added, waiting = Added(), list[Recipient]()
        most = CHUNK if self.database.on_postgresql else CHUNK_ON_SQLITE
        async for item in items:
            if not isinstance(item, Recipient):
                added.refuse(item)
                continue
            waiting.append(item)
            if len(waiting) == most:
                added.plus(await self._commit(waiting))
                waiting = []
        if waiting:
            added.plus(await self._commit(waiting))
        return added

    async def _commit(self, some: list[Recipient]) -> Added:
        return await self.database.run(
            lambda session: add_recipients(session, self.sender, self.campaign_id, some, self.intake, self.now()),
            urgency=_BULK,
        )


async def add(upload: Upload, people: Iterable[object] | AsyncIterable[object]) -> Added:
    """Add people to a campaign: `await campaigns.add(upload, people)`, any iterable, asynchronous or not."""
    return await upload.people(people)
