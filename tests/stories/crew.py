"""Worker processes over PostgreSQL and Redis, for a test that plays relay, clock and caller itself."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import redis.asyncio
from sqlalchemy import func, select, update
from sqlmodel import SQLModel

from mailer import clock, submission, tenancy
from mailer.drafts import Draft, parse
from mailer.models import Email, Lease
from mailer.service import Service
from mailer.settings import Settings
from mailer.status import Status
from mailer.submission import Accepted, Submitter
from tests import commands
from tests.commands import Process
from tests.servers import Postgres, Redis
from tests.stories.served import POSTAL, environment

ROOT = Path(__file__).parent.parent.parent
#: Nothing more becomes of these by themselves.
RESTING = frozenset(Status) - {Status.QUEUED, Status.SENDING, Status.DEFERRED, Status.SCHEDULED, Status.HELD}
_EMAIL, _LEASE = (SQLModel.metadata.tables[str(model.__tablename__)] for model in (Email, Lease))


@dataclass
class Crew:
    """One database, one Redis, and the processes that work on them."""

    folder: Path
    env: dict[str, str]
    redis_url: str
    #: Its parts in this process: to submit with, to look with, to tick with. It delivers nothing.
    service: Service
    tenant_id: int = 0
    _logs: int = 0
    _running: list[Process] = field(default_factory=list)

    async def start(self, *words: str, says: str = "runs (process") -> Process:
        """Start a command and wait until it says that it is ready."""
        self._logs += 1
        log = self.folder / f"log-{self._logs}"
        with log.open("w+b") as written:
            process = commands.start(*words, env=self.env, log=written)
        self._running.append(process)
        await asyncio.to_thread(process.until, lambda process: says in process.said)
        return process

    async def worker(self, stream: str) -> Process:
        """Start a worker of a stream."""
        return await self.start("worker", stream)

    async def run(self, *words: str) -> str:
        """Run a command to its end and return its stdout."""
        done = await asyncio.to_thread(commands.run, *words, env=self.env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    async def stop(self, *which: Process) -> None:
        """Stop these, or all, in order; whoever does not end is killed."""
        ending = [process for process in which or self._running if process.poll() is None]
        for process in ending:
            process.terminate()
        for process in ending:
            await asyncio.to_thread(process.end)
        self._running = [process for process in self._running if process.poll() is None]

    async def submit(self, stream: str, recipients: Sequence[str], **more: object) -> None:
        """Accept a mail to each; no bell rings, since workers look for themselves."""
        asked = {"stream": stream, "subject": "Hello", "text": "A line.", **more}
        if stream == "promotional":
            asked["topic"] = "newsletter"
        sender, service = Submitter.trusted(self.tenant_id), self.service
        for first in range(0, len(recipients), 1000):
            drafts = [parse(Draft, {**asked, "to": each}) for each in recipients[first : first + 1000]]
            answers = await service.database.run(
                lambda session, drafts=drafts: submission.submit_many(  # type: ignore[misc]
                    session, sender, drafts, service.intake, service.now()
                )
            )
            assert all(isinstance(answer, Accepted) for answer in answers)

    async def statuses(self, prefix: str = "") -> dict[str, Status]:
        """Return address -> status of the emails whose address begins so."""
        asked = select(_EMAIL.c.address, _EMAIL.c.status).where(_EMAIL.c.address.startswith(prefix))
        rows = await self.service.database.read(lambda session: session.execute(asked).all())
        return {str(address): status for address, status in rows}

    async def settled(self, prefix: str = "", *, seconds: float = 60, also: frozenset[Status] = frozenset()) -> None:
        """Wait until nothing more becomes of these by itself; whoever makes no headway for so long has failed."""
        restless = select(func.count()).where(
            _EMAIL.c.address.startswith(prefix), _EMAIL.c.status.not_in(RESTING | also)
        )
        left, headway = -1, time.monotonic()
        while left != 0:
            now = await self.service.database.read(lambda session: session.execute(restless).scalar_one())
            if now != left:
                left, headway = now, time.monotonic()
            assert time.monotonic() - headway < seconds, f"{left} emails made no headway for {seconds:g} s"
            # Counting many rows takes from the workers that are watched.
            await asyncio.sleep(0.1 if left < 2000 else 1)

    async def lapse(self) -> None:
        """Let what dead workers hold lapse now rather than in 30 seconds, and let the clock tick."""

        def tick(session: Any) -> None:
            session.execute(update(_LEASE).values(beat_at=_LEASE.c.beat_at - timedelta(hours=1)))
            clock.tick(session, "test", self.service.now(), timedelta(days=3))

        await self.service.database.run(tick)
        client = redis.asyncio.Redis.from_url(self.redis_url)
        await client.flushall()
        await client.aclose()


@asynccontextmanager
async def crew(folder: Path, postgres: Postgres, server: Redis, **settings: str) -> AsyncIterator[Crew]:
    """Prepare a fresh database and an empty Redis for workers; stop them in the end."""
    database_url = postgres.take()
    env = environment(
        folder / "data",
        postal_address=POSTAL,
        database_url=database_url,
        redis_url=server.url,
        public_url="https://mail.example.org",
        **{"transactional_relay": "inbox:", "promotional_relay": "inbox:", **settings},
    )
    env["PYTHONPATH"] = str(ROOT)
    service = Service.build(Settings.read(env))
    made = Crew(folder, env, server.url, service)
    try:
        await service.prepare()
        made.tenant_id = await service.database.read(
            lambda session: tenancy.only_tenant(session, tenancy.DEFAULT).id or 0
        )
        await made.lapse()
        yield made
    finally:
        await made.stop()
        await service.stop()
        postgres.give_back(database_url)


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something that a process is about to do."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def kills() -> int:
    """Return how often each point is tried: once, or as often as MAILER_TEST_KILLS says."""
    return int(os.environ.get("MAILER_TEST_KILLS", "1"))
