"""kill -9 of a worker at eight points around the dot, amid sixteen connections, on both streams."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from mailer.status import Status
from tests.commands import Process
from tests.servers import Postgres, Redis
from tests.stories.crew import Crew, crew, kills
from tests.stories.killer import Killer, Point

STREAMS = ("promotional", "transactional")
CONNECTIONS = 16
MANY = 12
EACH = 160


@dataclass
class Scene:
    """Workers of both streams, each with a relay of its own that may kill it."""

    crew: Crew
    relays: dict[str, Killer]
    workers: dict[str, Process]
    rounds: int = 0

    async def hire(self) -> None:
        """Start workers where none live."""
        idle = [stream for stream in STREAMS if stream not in self.workers]
        self.workers |= dict(zip(idle, await asyncio.gather(*map(self.crew.worker, idle)), strict=True))

    async def play(self, point: Point) -> tuple[dict[str, Counter[Status]], dict[str, Counter[str]]]:
        """Kill both workers at a point, let others finish, and return the mails' statuses and copies, by stream."""
        await self.hire()
        self.rounds += 1
        for stream, relay in self.relays.items():
            # Whoever greets may be one of several that were worn at the same time.
            least = MANY if point is Point.EHLO else CONNECTIONS
            relay.arm(self.workers[stream].pid, point, connections=least, mails=random.randint(EACH // 4, EACH // 2))
        mark = f"r{self.rounds}-"
        for stream in STREAMS:
            await self.crew.submit(stream, [f"{mark}{stream[0]}{place}@example.org" for place in range(EACH)])
        try:
            async with asyncio.timeout(30):
                await asyncio.gather(*(relay.died.wait() for relay in self.relays.values()))
        finally:
            # Where a point was not met, the next test begins anew all the same.
            for worker in self.workers.values():
                worker.kill()
            await asyncio.gather(*(asyncio.to_thread(worker.wait, 20) for worker in self.workers.values()))
            self.workers.clear()
        await self.crew.lapse()
        await self.hire()
        await self.crew.settled(mark)
        statuses = await self.crew.statuses(mark)
        found: dict[str, Counter[Status]] = {stream: Counter() for stream in STREAMS}
        copies: dict[str, Counter[str]] = {}
        for stream, relay in self.relays.items():
            ours = {address: status for address, status in statuses.items() if address.startswith(mark + stream[0])}
            found[stream].update(ours.values())
            copies[stream] = Counter(mail.recipient for mail in relay.taken if mail.recipient in ours)
            # What counts as sent was taken; what was not taken is not lost silently.
            assert all(copies[stream][address] for address, status in ours.items() if status is Status.SENT)
            different = {mail for mail in relay.taken if mail.recipient in ours}
            assert len(different) == len(copies[stream]), "a copy has another Message-ID"
        return found, copies


@pytest.fixture(scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, redis: Redis) -> AsyncIterator[Scene]:
    """Workers that outlive one test, so that each point costs one start of each."""
    relays = {stream: Killer() for stream in STREAMS}
    for relay in relays.values():
        await relay.start()
    settings = {
        f"{stream}_relay": f"smtp://127.0.0.1:{relay.port}?starttls=off&connections={CONNECTIONS}&per_connection=5"
        for stream, relay in relays.items()
    }
    async with crew(tmp_path_factory.mktemp("kills"), postgres, redis, **settings) as made:
        yield Scene(made, relays, {})
    for relay in relays.values():
        await relay.stop()


def told(found: Counter[Status]) -> str:
    """Return the sum over statuses as one reads it."""
    return f"{found.total()} = " + " + ".join(f"{number} {status}" for status, number in sorted(found.items()))


@pytest.mark.parametrize("point", Point, ids=lambda point: point.name.lower())
async def test_kill_9(scene: Scene, point: Point, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(kills()):
        found, copies = await scene.play(point)
        promotional, transactional = found["promotional"], found["transactional"]
        twice = {stream: sum(number - 1 for number in copies[stream].values()) for stream in STREAMS}
        lost = EACH - len(copies["transactional"])
        opened = {stream: relay.open_then for stream, relay in scene.relays.items()}
        with capsys.disabled():
            print(
                f"\nkill -9 {point}, {opened['promotional']} + {opened['transactional']} connections open: "
                f"promotional {told(promotional)}, {twice['promotional']} twice, "
                f"{EACH - len(copies['promotional'])} of the uncertain never came; "
                f"transactional {told(transactional)}, {lost} lost, {twice['transactional']} again ",
                end="",
            )
        assert promotional.total() == transactional.total() == EACH
        assert set(promotional) <= {Status.SENT, Status.UNCERTAIN}
        assert (lost, twice["promotional"]) == (0, 0)
        assert transactional == {Status.SENT: EACH}
        assert promotional[Status.UNCERTAIN] <= opened["promotional"]
        assert twice["transactional"] <= opened["transactional"]
        assert EACH - len(copies["promotional"]) <= promotional[Status.UNCERTAIN]
