"""Which of a stream's relays the next connection goes to."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Container, Mapping, Sequence
from typing import NamedTuple

from mailer.delivery.wire import Wire
from mailer.relays import Relay


class Line(NamedTuple):
    """An open connection and the relay at its other end."""

    relay: Relay
    wire: Wire
    #: The relay's, at hand for each mail: its name, and which headers it changes (None: it signs, and we do not).
    name: str
    rewritten: frozenset[str] | None


class Lines:
    """The relays of one stream: each weighted one gets its share of the connections, spares wait."""

    def __init__(self, relays: Sequence[Relay], connect: Callable[[Relay], Awaitable[Wire]]) -> None:
        """Open nothing yet."""
        self.relays = relays
        #: Connections of this process by the relay's name, those that are being opened included.
        self.in_use: Counter[str] = Counter()
        self._connect = connect

    def choose(self, in_use: Mapping[str, int], away: Container[str]) -> Relay | None:
        """Return the relay that lags most behind its weight, in written order; None where all are full or away.

        Relays are known by their names. One of weight 0 is a spare: it is chosen only while every other is away.
        """
        present = [relay for relay in self.relays if relay.name not in away]
        weighted = [relay for relay in present if relay.weight]
        free = [relay for relay in weighted or present if in_use.get(relay.name, 0) < relay.connections]
        # Spares have no shares: they are filled in their order, which `min` keeps.
        return min(
            free, key=lambda relay: in_use.get(relay.name, 0) / relay.weight if relay.weight else 0, default=None
        )

    async def open(self, away: Container[str], full: Collection[str] = ()) -> Line | None:
        """Return a new connection to the relay whose turn it is, None where all are full or away.

        `full` names those whose connections other workers have. Raises `RelayAway`, which names the relay: ask again
        with it among those that are away.
        """
        taken = {relay.name: relay.connections for relay in self.relays if relay.name in full}
        relay = self.choose({**self.in_use, **taken}, away)
        if relay is None:
            return None
        # Counted before it is there, so that connections that open together are spread too.
        self.in_use[relay.name] += 1
        try:
            rewritten = relay.rewritten if relay.dkim else None
            return Line(relay, await self._connect(relay), relay.name, rewritten)
        except BaseException:
            self.in_use[relay.name] -= 1
            raise

    def closed(self, line: Line) -> None:
        """Count a connection no more; call it once for each that was opened."""
        self.in_use[line.name] -= 1
