"""The connections of one stream: which relay is next, whether there is room, which of them are kept."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from mailer import halts
from mailer.delivery.breaker import Breaker
from mailer.delivery.claims import Job
from mailer.delivery.limits import Limits, Quota
from mailer.delivery.lines import Line, Lines
from mailer.delivery.relay import RelayAway
from mailer.delivery.wire import Wire
from mailer.relays import Relay

logger = logging.getLogger(__name__)

#: A kept connection says goodbye after this much idleness; relays close it sooner or later anyway.
_IDLE = timedelta(seconds=20)
#: Seconds before a relay that is full, or that another worker probes, is asked again.
_SOON = 0.25
#: A probe has the relay alone for a time (`halts.PROBE`): a connection that takes longer would not be alone.
_PROBE_SHARE = 0.8


class _Busy(ConnectionError):
    """A relay that may not be connected to just now, and in how many seconds to ask again."""

    def __init__(self, relay: Relay, wait: float) -> None:
        super().__init__(relay.name)
        self.relay, self.wait = relay, wait


class Connections:
    """Opens connections within the limits, keeps idle ones, and tells the breaker how the relays do."""

    def __init__(
        self, relays: Sequence[Relay], connect: Callable[[Relay], Awaitable[Wire]], limits: Limits, breaker: Breaker
    ) -> None:
        """Open nothing yet."""
        self.limits, self.breaker = limits, breaker
        self._lines = Lines(relays, self._connected)
        self._connect = connect
        self._quotas = {relay.name: quota(relay) for relay in relays}
        self._weighted = [relay.name for relay in relays if relay.weight]
        self._idle: list[tuple[Line, float]] = []
        #: Connections that make room for another worker, and to which relay; they count as held until they are closed.
        self._leaving: dict[Wire, str] = {}
        #: Seconds after which it is worth to ask again, when `take` returned nothing.
        self.wait = 0.0

    @property
    def room(self) -> int:
        """Return how many connections there can be at most, as far as is known."""
        return sum(map(self.limits.room, self._quotas.values()))

    @property
    def trouble(self) -> str | None:
        """Return why nothing can go; None while a relay works."""
        rests = [self.breaker.rest(relay.name) for relay in self._lines.relays]
        reasons = [rest.reason for rest in rests if rest is not None]
        return "; ".join(reasons) if len(reasons) == len(rests) else self.limits.trouble

    async def take(self) -> Line | None:
        """Return a connection ready for MAIL, kept or new; None where no relay can be used now (see `wait`)."""
        while self._idle:
            kept, _since = self._idle.pop()
            if not kept.wire.lost and self.usable(kept):
                return kept
            await self.close(kept)
        away: set[str] = set()
        full: set[str] = set()
        waits: list[float] = []
        while True:
            try:
                line = await self._lines.open(away, full)
            except _Busy as busy:
                waits.append(busy.wait)
                # One that only other workers fill is not away: a spare does not help it out.
                (full if self.breaker.rest(busy.relay.name) is None else away).add(busy.relay.name)
            except RelayAway as gone:
                waits.append(self.breaker.wait(gone.relay.name))
                away.add(gone.relay.name)
            else:
                if line is None:
                    self.wait = min(waits, default=_SOON)
                return line

    async def _connected(self, relay: Relay) -> Wire:
        """Open a connection if the breaker and the limits let us."""
        if not await self.breaker.may_use(relay.name):
            raise _Busy(relay, self.breaker.wait(relay.name) or _SOON)
        wanted = self._quotas[relay.name]
        if wait := await self.limits.connect(wanted):
            raise _Busy(relay, wait)
        began = self.breaker.now()
        try:
            return await self._opened(relay)
        except RelayAway as away:
            await self.limits.disconnect(wanted)
            await self.breaker.failed(relay.name, str(away), began)
            raise
        except BaseException:
            await self.limits.disconnect(wanted)
            raise

    async def _opened(self, relay: Relay) -> Wire:
        if self.breaker.rest(relay.name) is None:
            return await self._connect(relay)
        try:
            async with asyncio.timeout(_PROBE_SHARE * halts.PROBE.total_seconds()):
                return await self._connect(relay)
        except TimeoutError as error:
            raise RelayAway(relay, "it did not answer in time") from error

    def usable(self, line: Line) -> bool:
        """Return whether a connection should go on: its relay works, is needed, and nobody waits for its place.

        Where others wait, as many as they are to have are of no use from then on, and no more than those.
        """
        if not line.relay.weight and any(self.breaker.rest(name) is None for name in self._weighted):
            # A spare one is left as soon as another one works, not only once its connections are worn.
            return False
        if not self.breaker.lets_through(line.name) or line.wire in self._leaving:
            return False
        leaving = sum(name == line.name for name in self._leaving.values())
        if crowded := self.limits.crowded(self._quotas[line.name], leaving):
            self._leaving[line.wire] = line.name
        return not crowded

    async def give_back(self, line: Line) -> None:
        """Keep a connection for later, or close it where it is of no more use."""
        if line.wire.lost or line.wire.worn or not self.usable(line):
            await self.close(line)
        else:
            self._idle.append((line, asyncio.get_running_loop().time()))

    async def close(self, line: Line) -> None:
        """Say goodbye."""
        self._lines.closed(line)
        self.breaker.untried(line.name)
        try:
            await line.wire.quit()
        finally:
            self._leaving.pop(line.wire, None)
            await self.limits.disconnect(self._quotas[line.name])

    def admit(self, line: Line, job: Job) -> bool:
        """Return whether a mail may go over this connection now; `refill` says when, where it may not."""
        return self.limits.admit(self._quotas[line.name], job.provider)

    def release(self, line: Line, job: Job, *, used: bool) -> None:
        """Say that an admitted mail is through."""
        self.limits.release(self._quotas[line.name], job.provider, used=used)

    async def refill(self, relay: str, provider: str) -> float:
        """Ask for what `admit` lacked: 0.0 where it is there, else the seconds to wait."""
        return await self.limits.refill(self._quotas[relay], provider)

    async def throttled(self, relay: str, provider: str) -> None:
        """A receiver said that it gets too much from us (R2.1)."""
        await self.limits.throttled(self._quotas[relay], provider)

    async def tidy(self) -> None:
        """Close connections that nobody used for a while, or whose place another worker waits for."""
        old = asyncio.get_running_loop().time() - _IDLE.total_seconds()
        idle, self._idle = self._idle, []
        for line, since in idle:
            if since > old and not line.wire.lost and self.usable(line):
                self._idle.append((line, since))
            else:
                await self.close(line)

    async def end(self) -> None:
        """Close everything and give back what is held of the limits."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*(self.close(line) for line, _since in idle))
        await self.limits.close()


def quota(relay: Relay) -> Quota:
    """Return what limits a relay."""
    return Quota(
        name=relay.name,
        connections=relay.connections,
        per_second=relay.per_second,
        per_day=relay.per_day,
        groups=relay.groups,
    )
