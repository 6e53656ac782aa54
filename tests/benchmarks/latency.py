"""How long transactional mail takes from its 202 to the relay's DATA while a promotional run goes at full speed.

python -m tests.benchmarks.latency [--embedded] [PROMOTIONAL]
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import cast

import httpx2
import orjson
import uvloop

from mailer.bench import Size, building
from mailer.service import Service
from mailer.settings import Settings
from mailer.status import CLAIMABLE
from tests.benchmarks.world import World, world

_A_SECOND = 25
_WARM = 2.0


class Sink(asyncio.Protocol):
    """A relay that takes everything and notes when DATA came for whom."""

    came: dict[str, float]

    def __init__(self, came: dict[str, float]) -> None:
        """Note the arrivals in a dictionary that all connections share."""
        self.came = came
        self._got = b""
        self._to = ""
        self._reading = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(b"220 sink.example ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer each command; within a mail wait for the line with the dot."""
        self._got += data
        while True:
            if self._reading:
                _, dot, rest = self._got.partition(b"\r\n.\r\n")
                if not dot:
                    return
                self._reading, self._got = False, rest
                self._transport.write(b"250 2.0.0 taken\r\n")
                continue
            line, newline, rest = self._got.partition(b"\r\n")
            if not newline:
                return
            self._got = rest
            self._transport.write(self._answer(line))

    def _answer(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb == b"RCPT":
            self._to = line.partition(b"<")[2].partition(b">")[0].decode()
        elif verb == b"DATA":
            self.came[self._to] = time.perf_counter()
            self._reading = True
            return b"354 end with a dot\r\n"
        elif verb == b"EHLO":
            return b"250-sink.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
        return b"250 2.0.0 ok\r\n"


async def prepare(settings: Settings, number: int) -> None:
    """Fill the promotional queue."""
    service = Service.build(settings)
    try:
        await service.prepare()
        tenant_id = await building.write_template(service, Size.SMALL)
        await building.accept(service, tenant_id, number, lambda _done, _of: None)
    finally:
        await service.stop()


async def promotional(settings: Settings) -> int:
    """Return how many promotional mails wait still."""
    service = Service.build(settings)
    try:
        listed = ", ".join(f"'{status}'" for status in CLAIMABLE)
        sql = f"SELECT count(*) FROM email WHERE stream = 'promotional' AND status IN ({listed})"
        return await service.database.read(lambda session: int(session.connection().exec_driver_sql(sql).scalar_one()))
    finally:
        await service.stop()


async def ask(port: int, key: str, seconds: float, accepted: dict[str, float]) -> None:
    """Send single transactional mails at a steady pace."""
    until = time.perf_counter() + seconds
    async with httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {key}"}, timeout=30, trust_env=False
    ) as client:
        while time.perf_counter() < until:
            number = len(accepted)
            to = f"customer-{number}@shop.example"
            body = {"stream": "transactional", "to": to, "subject": "Your code", "text": f"It is {number:06}."}
            answer = await client.post("/v1/emails", content=orjson.dumps(body))
            assert answer.status_code == 202, answer.text
            accepted[to] = time.perf_counter()
            await asyncio.sleep(1 / _A_SECOND)


async def measure(served: World, port: int, key: str, came: dict[str, float]) -> None:
    """Ask while promotional mail goes, and print what it took."""
    accepted: dict[str, float] = {}
    await asyncio.sleep(_WARM)
    before, began = await promotional(served.settings), time.perf_counter()
    while await promotional(served.settings) > before / 10:
        await ask(port, key, 3.0, accepted)
    took, after = time.perf_counter() - began, await promotional(served.settings)
    print(f"promotional mail beside it: {(before - after) / took:,.0f}/s over {took:.0f} s")
    await asyncio.sleep(3)
    late = sorted(came[to] - moment for to, moment in accepted.items() if to in came)
    print(f"{len(accepted)} transactional mails accepted, {len(accepted) - len(late)} not arrived")
    print(f"202 to DATA: {figures([1000 * each for each in late])} (wanted: p99 of at most 250 ms)")


def figures(values: Sequence[float]) -> str:
    """Return the usual places of sorted milliseconds."""
    if not values:
        return "nothing arrived"
    places = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    shown = [f"{name} {values[int((len(values) - 1) * place)]:.1f} ms" for name, place in places.items()]
    return ", ".join([*shown, f"most {values[-1]:.1f} ms"])


async def run(number: int, *, embedded: bool) -> None:
    """Start a relay of our own for the transactional stream, and everything else beside it."""
    came: dict[str, float] = {}
    server = await asyncio.get_running_loop().create_server(lambda: Sink(came), "127.0.0.1", 0)
    with world(embedded=embedded, transactional_port=server.sockets[0].getsockname()[1]) as served:
        await prepare(served.settings, number)
        key = served.key("send:transactional")
        if not embedded:
            served.start("clock", "clock", says="the clock runs")
            served.start("transactional", "worker", "transactional", says="stream runs")
        port = await asyncio.to_thread(served.web, "serve" if embedded else "web")
        if not embedded:
            served.start("promotional", "worker", "promotional", says="stream runs")
        await measure(served, port, key, came)
    server.close()


def main() -> None:
    """Run with a queue that lasts for a minute or so."""
    numbers = [word for word in sys.argv[1:] if word.isdigit()]
    uvloop.run(run(int(numbers[0]) if numbers else 60_000, embedded="--embedded" in sys.argv))


if __name__ == "__main__":
    main()
