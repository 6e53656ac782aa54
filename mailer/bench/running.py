"""One benchmark: servers, sink, rows, workers; then what the rows and /proc say of it."""

import asyncio
import os
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import redis
import uvloop
from sqlmodel import Session

from mailer import halts, migrate
from mailer.bench import building, counting, interrupts, letters, signing, sink, throwaway
from mailer.bench.counting import Counts
from mailer.bench.plans import Plan, Result
from mailer.bench.sink import Sink
from mailer.bench.throwaway import Servers
from mailer.bench.watching import Child, child, cpu_seconds, need_proc, peak_memory
from mailer.drafts import MOST_EMAILS
from mailer.errors import Conflict, MailerError
from mailer.service import Service
from mailer.settings import Settings
from suppression.rules import Stream

#: Says what is being done, how much of it is done, and how much there is (0: nobody knows).
Progress = Callable[[str, int, int], None]

#: How many mails smtp-source sends first.
_FILL = 20_000
_LOOK = 0.5
#: A run that stands still for so many seconds has ended.
_PATIENCE = 90.0
_MAILER = (sys.executable, "-m", "mailer")
_FOREIGN = ("DATABASE_URL", "REDIS_URL", "PORT")


def run(plan: Plan, progress: Progress) -> Result:
    """Measure, in a temporary folder of which nothing stays; raises `KeyboardInterrupt` where a signal ends it."""
    plan.check()
    need_proc()
    with interrupts.noted(), ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailer-bench-")))
        relay = stack.enter_context(sink.running(folder))
        progress("smtp-source fills the sink", 0, 0)
        before = sink.fill(relay, plan.size.bytes, _FILL)
        servers = Servers(plan.database_url, plan.redis_url)
        if plan.throwaway:
            progress("starting PostgreSQL and Redis", 0, 0)
            servers = stack.enter_context(throwaway.servers(folder))
        env = environment(plan, folder, servers, relay.port)
        loop = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        return _Bench(plan, folder, servers, relay, env, loop, progress).measure(before)


def environment(plan: Plan, folder: Path, servers: Servers, port: int) -> Mapping[str, str]:
    """Return the environment of the workers: nothing of ours but what the run needs."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("MAILER_") and name not in _FOREIGN
    }
    # The limit holds for all workers together.
    connections = plan.connections * plan.workers
    address = f"smtp://127.0.0.1:{port}?starttls=off&connections={connections}&per_connection=1000"
    ours = {
        "MAILER_DATA_DIR": str(folder / "data"),
        "MAILER_FROM": letters.FROM,
        "MAILER_POSTAL_ADDRESS": letters.POSTAL_ADDRESS,
        "MAILER_PUBLIC_URL": letters.PUBLIC_URL,
        "MAILER_TRANSACTIONAL_RELAY": address,
        "MAILER_PROMOTIONAL_RELAY": address,
    }
    if plan.scaled:
        ours |= {"MAILER_DATABASE_URL": servers.database_url, "MAILER_REDIS_URL": servers.redis_url}
    return kept | ours


class _Built(NamedTuple):
    """Rows that wait: when each chunk of them became due, and how many were accepted a second."""

    moments: Sequence[datetime]
    accepted_per_second: float


class _Used(NamedTuple):
    """Processor seconds, and the memory of the largest worker."""

    workers: float
    memory: float
    sink: float
    database: float | None


@dataclass(frozen=True, slots=True)
class _Bench:
    plan: Plan
    folder: Path
    servers: Servers
    relay: Sink
    env: Mapping[str, str]
    loop: asyncio.Runner
    progress: Progress

    def measure(self, before: float) -> Result:
        service = Service.build(Settings.read(self.env))
        try:
            built = self.loop.run(self._build(service))
            used = self._deliver(service, built.moments)
            counts = self.loop.run(counting.count(service.database))
            # Before and after: what else a machine does changes from one minute to the next.
            self.progress("smtp-source fills the sink", 0, 0)
            source = (before + sink.fill(self.relay, self.plan.size.bytes, _FILL)) / 2
        finally:
            self.loop.run(service.stop())
        return self._result(source, built, used, counts)

    async def _build(self, service: Service) -> _Built:
        plan, database = self.plan, service.database
        if plan.scaled:
            await building.check_empty(database)
            await asyncio.to_thread(_check_redis, self.servers.redis_url)
            await migrate.upgrade_postgresql(self.servers.database_url)
        await service.prepare()
        tenant_id = await building.write_template(service, plan.size)
        await signing.make_key(service, tenant_id, plan.dkim, letters.DOMAIN)
        readers = plan.leavers
        strangers = plan.suppressed - len(readers)
        await building.suppress_strangers(service, tenant_id, strangers, self._tell("listing who has left"))
        await building.settle(database)
        began = time.perf_counter()
        moments = await building.accept(service, tenant_id, plan.emails, self._tell("accepting emails"))
        speed = plan.emails / (time.perf_counter() - began)
        await building.suppress_readers(service, tenant_id, readers, self._tell("readers leave"))
        await building.settle(database)
        return _Built(moments, speed)

    def _tell(self, what: str) -> building.Tell:
        def tell(done: int, of: int) -> None:
            interrupts.check()
            self.progress(what, done, of)

        return tell

    def _deliver(self, service: Service, moments: Sequence[datetime]) -> _Used:
        with ExitStack() as stack:
            sink_before, database_before = cpu_seconds(self.relay.child.process.pid), self.servers.cpu()
            workers = self._start(stack, service)
            self._wait(service, workers, moments)
            database = self.servers.cpu()
            return _Used(
                workers=sum(worker.cpu for worker in workers),
                memory=max(peak_memory(worker.process.pid) for worker in workers),
                sink=cpu_seconds(self.relay.child.process.pid) - sink_before,
                database=database - database_before if database and database_before else None,
            )

    def _start(self, stack: ExitStack, service: Service) -> list[Child]:
        """Start what delivers, and let nothing go before all of them run: starting one takes a processor for a second.

        Beside workers of their own the clock goes, as it does wherever they work.
        """
        self.loop.run(service.database.run(lambda session: _pause(session, service.now())))
        workers = self._started(stack)
        self.loop.run(service.database.run(lambda session: _resume(session, service.now())))
        return workers

    def _started(self, stack: ExitStack) -> list[Child]:

        def started(name: str, *words: str, says: str) -> Child:
            process = stack.enter_context(child(name, [*_MAILER, *words], self.folder, env=self.env))
            process.until_says(says)
            return process

        if not self.plan.scaled:
            return [started("serve", "serve", "--port", "0", says="^ready: ")]
        started("clock", "clock", says="the clock runs")
        numbers = range(1, self.plan.workers + 1)
        return [started(f"worker {n}", "worker", "promotional", says="stream runs") for n in numbers]

    def _wait(self, service: Service, workers: Sequence[Child], moments: Sequence[datetime]) -> None:
        """Wait until every mail is settled, or until nothing moves any more."""
        done, moved = 0, time.monotonic()
        while True:
            oldest = self.loop.run(counting.oldest_due(service.database, service.now()))
            if oldest is None and not self.loop.run(counting.unsettled(service.database)):
                return
            # Chunks go out in the order in which they became due, so the oldest tells how many are through.
            reached = bisect_left(moments, oldest) * MOST_EMAILS if oldest else self.plan.emails
            self.progress("sending", min(reached, self.plan.emails), self.plan.emails)
            if reached > done:
                done, moved = reached, time.monotonic()
            if time.monotonic() - moved > _PATIENCE:
                return
            for worker in workers:
                worker.check()
            time.sleep(_LOOK)

    def _result(self, source: float, built: _Built, used: _Used, counts: Counts) -> Result:
        thousands = self.plan.emails / 1000
        speed = counts.sent / counts.took.total_seconds() if counts.took else 0.0
        return Result(
            emails_per_second=round(speed, 1),
            cpu_seconds_per_1000=round(used.workers / thousands, 4),
            peak_memory_mb=round(used.memory, 1),
            smtp_source_per_second=round(source, 1),
            ratio=round(speed / source, 4),
            sent=counts.sent,
            suppressed=counts.suppressed,
            failed=counts.failed,
            uncertain=counts.uncertain,
            database_cpu_seconds_per_1000=None if used.database is None else round(used.database / thousands, 4),
            sink_cpu_seconds_per_1000=round(used.sink / thousands, 4),
            accepted_per_second=round(built.accepted_per_second, 1),
        )


def _pause(session: Session, now: datetime) -> None:
    halts.pause(session, Stream.PROMOTIONAL, "until all workers run", now)


def _resume(session: Session, now: datetime) -> None:
    halts.resume(session, Stream.PROMOTIONAL, now)


def _check_redis(url: str) -> None:
    """Raise `Conflict` where somebody's bells are in Redis already: workers of a benchmark must not hear them."""
    try:
        with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=2) as client:
            keys = client.dbsize()
    except redis.RedisError as error:
        raise MailerError(f"the Redis of --redis cannot be reached ({type(error).__name__})") from error
    if keys:
        raise Conflict("the Redis of --redis holds keys: name an empty one, or another number behind its last slash")
