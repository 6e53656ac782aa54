"""The circuit breaker: a relay that fails rests, as every worker of its stream knows; one of them probes it."""

import logging
from datetime import datetime

from mailer import halts
from mailer.database import Database
from mailer.halts import Halts, Rest
from suppression.rules import Stream

logger = logging.getLogger(__name__)

#: After so many tries in a row that a relay spoilt, it counts as failed though it lets us connect.
_SPOILT = 5


class Breaker:
    """One stream's view of what rests and what is paused; `look` keeps it fresh."""

    def __init__(self, database: Database, stream: Stream) -> None:
        """Know of nothing yet."""
        self._database, self._stream = database, stream
        self._halts = Halts(database.now(), {}, ())
        #: When this process began to probe a relay that rests.
        self._probing: dict[str, datetime] = {}
        self._spoilt: dict[str, int] = {}

    def now(self) -> datetime:
        """Return the present moment, as all workers see it."""
        return self._database.now()

    async def look(self) -> None:
        """Learn what operators and other workers decided; call it twice a second."""
        self._halts = await self._database.read(lambda session: halts.current(session, self.now()))

    @property
    def paused(self) -> str | None:
        """Return why an operator paused the stream; None while it runs."""
        pause = self._halts.paused.get(self._stream)
        return pause.reason if pause else None

    def rest(self, relay: str) -> Rest | None:
        """Return the rest of a relay, None where it works."""
        return self._halts.rest(self._stream, relay)

    def wait(self, relay: str) -> float:
        """Return for how many seconds a relay need not be asked."""
        rest = self.rest(relay)
        return max(0.0, (rest.until - self.now()).total_seconds()) if rest else 0.0

    async def may_use(self, relay: str) -> bool:
        """Return whether to connect: the relay works, or its rest is over and the probe is ours."""
        if self.rest(relay) is None:
            return True
        if self.wait(relay) > 0 or relay in self._probing:
            return False
        began = self.now()
        if not await self._database.run(
            lambda session: halts.may_probe(session, self._stream, relay, began), urgency=0
        ):
            await self.look()
            return False
        self._probing[relay] = began
        return True

    def lets_through(self, relay: str) -> bool:
        """Return whether connections to a relay are used: it works, or it is ours to probe."""
        return relay in self._probing or self.rest(relay) is None

    def untried(self, relay: str) -> None:
        """A connection was closed; if it was a probe that had no mail to try, somebody may probe again."""
        self._probing.pop(relay, None)

    async def failed(self, relay: str, reason: str, began: datetime) -> None:
        """Let a relay rest; `began` is when the try that failed began."""
        began = self._probing.pop(relay, began)
        self._spoilt.pop(relay, None)
        now = self.now()
        rest = await self._database.run(
            lambda session: halts.failed(session, self._stream, relay, reason, now, began=began), urgency=0
        )
        if rest.since == now:
            logger.warning("the %s stream rests a relay: %s", self._stream, reason)
        await self.look()

    def spoils(self, relay: str) -> bool:
        """Note a try that the relay spoilt, and return whether it counts as failed by now."""
        self._spoilt[relay] = self._spoilt.get(relay, 0) + 1
        # Of a relay that is probed one try says enough.
        return self._spoilt[relay] >= _SPOILT or relay in self._probing

    def works(self, relay: str) -> bool:
        """Note that the relay took a mail, and return whether it rested until now."""
        self._spoilt.pop(relay, None)
        return self.rest(relay) is not None

    async def recovered(self, relay: str) -> None:
        """Say that a relay works again."""
        self._probing.pop(relay, None)
        await self._database.run(lambda session: halts.recovered(session, self._stream, relay, self.now()), urgency=0)
        await self.look()
        logger.info("the %s stream uses %s again", self._stream, relay)
