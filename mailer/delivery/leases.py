"""The leases of one pipeline: opened ahead of need, beaten while a run lives, ended with what they still hold."""

import asyncio
import logging

from sqlmodel import Session

from mailer.database import Database
from mailer.delivery import claims
from suppression.rules import Stream

logger = logging.getLogger(__name__)

#: Seconds between heartbeats (spec section 4); a lease lapses after `claims.LAPSE`.
_BEAT = 5.0
#: For so many seconds a lease that was opened in advance may be used: well before it lapses.
_SPARE = 15.0


class Leases:
    """Opens and ends the leases of a stream's runs, one at a time."""

    def __init__(self, database: Database, stream: Stream, holder: str) -> None:
        """Open nothing yet; `holder` names the process."""
        self._database, self._stream, self._holder = database, stream, holder
        #: A lease opened in advance, and when.
        self._spare: tuple[str, float] | None = None
        #: Leases of runs that are over, of which the database has not heard yet.
        self._over: list[str] = []

    async def fresh(self) -> str:
        """Return a lease that holds nothing; the one opened in advance, if it still lives."""
        spare, self._spare = self._spare, None
        if spare is not None and asyncio.get_running_loop().time() - spare[1] < _SPARE:
            return spare[0]
        return await self._database.run(self._open, urgency=0)

    def _open(self, session: Session) -> str:
        return claims.open_lease(session, self._stream, self._holder, self._database.now())

    async def keep(self, lease: str) -> None:
        """Beat until cancelled."""
        while True:
            await asyncio.sleep(_BEAT)
            try:
                await self._database.run(lambda session: claims.beat(session, lease, self._database.now()), urgency=0)
            except Exception as error:  # noqa: BLE001 - the next beat may succeed; a lapsed lease is fenced
                logger.warning("a heartbeat could not be written: %s", type(error).__name__)

    async def end(self, lease: str, *, last: bool = False) -> None:
        """Give back what a lease still holds; unless it is the last one, open the next in the same commit."""
        self._over.append(lease)
        await self.settle(last=last)

    async def settle(self, *, last: bool = False) -> None:
        """Tell the database of runs that are over; what it cannot hear now is told by a later look."""
        while self._over:
            lease = self._over.pop()

            def verb(session: Session, lease: str = lease) -> str | None:
                claims.give_back(session, lease, self._database.now())
                return None if last else self._open(session)

            try:
                opened = await self._database.run(verb, urgency=0)
            except BaseException:
                self._over.append(lease)
                raise
            if opened is not None:
                self._spare = (opened, asyncio.get_running_loop().time())

    async def close(self) -> None:
        """End the lease that was opened in advance."""
        if self._spare is not None:
            lease, self._spare = self._spare[0], None
            await self.end(lease, last=True)
