"""A list of any length in: it only ever forbids more, in flat memory, and goes on where it was cut off."""

import hashlib
import time
from collections.abc import AsyncIterable, Callable, Iterable
from dataclasses import dataclass

from sqlmodel import Session

from mailer import pacing
from mailer.errors import Invalid, Problem
from mailer.exchanging import asking, places
from mailer.exchanging.places import List, Place
from mailer.exchanging.sink import BULK, Imported, Order, Sink
from suppression.exchange import FORMS, Options, Reader
from suppression.lines import Refusal, Unreadable

#: How many entries a transaction adds; on SQLite others wait for the one writer.
_CHUNK, _CHUNK_ON_SQLITE = 1000, 400

Pieces = Iterable[bytes] | AsyncIterable[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """A list that is brought in. It opens its transactions itself: a list of a million cannot be one."""

    order: Order
    options: Options
    #: SHA-256 of the list as hexadecimal: with it an import that was cut off can be resumed.
    digest: str | None = None
    #: Go on where an import of this very list was cut off.
    resume: bool = False

    async def lines(self, pieces: Pieces, refused: Callable[[Refusal], object]) -> Imported:
        """Add what a list forbids; each line that is of no use is told to `refused`. Adding twice is adding once.

        Raises `Invalid` where the whole list is of no use. What was committed before something fails stays.
        """
        order = self.order
        if order.form not in FORMS:
            raise Invalid(Problem("format", f"is none that is known here: {', '.join(FORMS)}"))
        topics = await order.database.read(lambda s: asking.known_topics(s, order.tenant_id, self.options))
        told, place = Imported(dry_run=order.dry_run), await self._begin()
        if place is not None:
            told.resume(place)
        sink = Sink(order, topics, told, refused)
        sink.place = place
        try:
            read = await self._read(pieces, sink, place)
        except Unreadable as error:
            raise Invalid(Problem("list", str(error))) from None
        if place is not None:
            await order.database.run(lambda session: self._end(session, place, told, read), urgency=BULK)
            if read.digest != self.digest:
                raise Invalid(Problem("digest", "is not the SHA-256 of this list: send all of it again"))
        return told

    async def _begin(self) -> Place | None:
        order, digest = self.order, self.digest
        if digest is None or order.dry_run:
            return None
        options = f"{self.options.reason} {self.options.scope} {sorted(self.options.topics.items())}"
        asked = List(order.tenant_id, order.form, digest, options)
        return await order.database.run(
            lambda session: places.begin(session, asked, order.now(), resume=self.resume), urgency=BULK
        )

    async def _read(self, pieces: Pieces, sink: Sink, place: Place | None) -> "_Read":
        most = _CHUNK if self.order.database.on_postgresql else _CHUNK_ON_SQLITE
        reader = Reader(FORMS[self.order.form], self.options, place.position if place else 0)
        digest, since = hashlib.sha256(), time.monotonic()
        async for piece in pacing.each(pieces):
            digest.update(piece)
            for item in reader.feed(piece):
                # All lines before this one are in the chunk, so that the position may be kept with it.
                if len(sink.waiting) >= most:
                    await sink.write(reader.position)
                sink.take(item)
                since = await pacing.turn(since)
            since = await pacing.turn(since)
        for item in reader.close():
            sink.take(item)
        await sink.write(reader.position)
        return _Read(reader.position, digest.hexdigest())

    def _end(self, session: Session, place: Place, told: Imported, read: "_Read") -> None:
        if read.digest != self.digest:
            # Lines were perhaps skipped that nobody has read: the next import begins at the start.
            places.forget(session, place)
            return
        places.move(session, place, read.position, told.counts, self.order.now())


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read: up to which byte, and the SHA-256 of all."""

    position: int
    digest: str
