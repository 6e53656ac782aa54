"""Transactions on SQLite and PostgreSQL; the few statements that differ.

Verbs are plain functions over a synchronous `Session`. On PostgreSQL an async edge runs them by `run_sync`; on SQLite
one thread writes, transactional work first, and whoever waits together commits together (one fsync for all).
"""

import asyncio
import itertools
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import asyncpg
import orjson
from sqlalchemy import ColumnElement, Engine, Table, any_, bindparam, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlmodel import Session

from mailer.barrier import Barrier

T = TypeVar("T")
Verb = Callable[[Session], T]

#: How many waiting verbs share one commit on SQLite, so that whoever comes next does not wait long for it.
_SHARED = 64
_STOP = 1 << 30
#: For how many seconds a connection counts as alive after it was used.
_PROVEN = 1.0
#: After how many seconds PostgreSQL is asked for the time again.
_ASK_TIME = 5.0
#: How many seconds a connection to SQLite waits for another one's write.
_BUSY = 10
#: After how many seconds it is asked again to switch to write-ahead logging.
_AGAIN = 0.02


def _dumps(value: object) -> str:
    return orjson.dumps(value).decode()


def asyncpg_url(url: str) -> str:
    """Return a PostgreSQL address with the driver that is ours."""
    return "postgresql+asyncpg://" + url.split("://", 1)[1]


def write_ahead(connection: sqlite3.Connection | sqlite3.Cursor, patience: float) -> None:
    """Switch to write-ahead logging, waiting so many seconds for others.

    Of several processes that make the file at once SQLite itself lets only one wait.
    """
    until = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_AGAIN)
        else:
            return


def sqlite_engine(path: Path, *, begin: str) -> Engine:
    """Return an engine whose transactions open with `begin`; a deferred one that reads, then writes, fails at once."""
    engine = create_engine(f"sqlite:///{path}", json_serializer=_dumps, json_deserializer=orjson.loads)

    @event.listens_for(engine, "connect")
    def configure(connection: object, _record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute(f"PRAGMA busy_timeout={_BUSY * 1000}")
        write_ahead(cursor, _BUSY)
        for pragma in ("synchronous=FULL", "foreign_keys=ON", "cache_size=-32000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def open_transaction(connection: object) -> None:
        connection.exec_driver_sql(begin)  # type: ignore[attr-defined]

    return engine


def _prove(engine: Engine) -> None:
    """Ask a PostgreSQL connection whether it lives before it is used again, unless it was used a moment ago.

    SQLAlchemy's own `pool_pre_ping` asks every time: a round trip more for each transaction of a busy process.
    """

    @event.listens_for(engine, "checkin")
    def remember(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def prove(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        used_at = record.info.get("used_at")
        if used_at is None:
            return
        if connection.driver_connection.is_closed():
            raise DisconnectionError("the server closed the connection")
        if time.monotonic() - used_at > _PROVEN:
            try:
                engine.dialect.do_ping(connection)
            except Exception as error:
                raise DisconnectionError("the connection is dead") from error


@dataclass(order=True)
class _Job:
    urgency: int
    number: int
    verb: Callable[[Session], object] = field(compare=False)
    done: Future[object] = field(compare=False)


class _Writer:
    """The one thread that writes to SQLite."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._jobs: queue.PriorityQueue[_Job] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
        self._thread.start()

    def submit(self, verb: Callable[[Session], object], *, urgency: int) -> Future[object]:
        done: Future[object] = Future()
        self._jobs.put(_Job(urgency, next(self._numbers), verb, done))
        return done

    def stop(self) -> None:
        self.submit(lambda _session: None, urgency=_STOP)
        self._thread.join()

    def _run(self) -> None:
        while True:
            jobs = [self._jobs.get()]
            while len(jobs) < _SHARED:
                try:
                    jobs.append(self._jobs.get_nowait())
                except queue.Empty:
                    break
            self._commit([job for job in jobs if job.urgency != _STOP])
            if any(job.urgency == _STOP for job in jobs):
                return

    def _commit(self, jobs: list[_Job]) -> None:
        """Run every job in its savepoint, then commit once; nobody hears of success before the commit."""
        # Whoever gave up before its turn is left out; from here on, giving up comes too late to stop the writer.
        jobs = [job for job in jobs if job.done.set_running_or_notify_cancel()]
        results: list[tuple[_Job, object, Exception | None]] = []
        try:
            with Session(self._engine, expire_on_commit=False) as session:
                results += [self._attempt(session, job) for job in jobs]
                session.commit()
        except BaseException as error:  # noqa: BLE001 - whoever waits must hear of a full disk or a lost file
            # After a COMMIT that failed, SQLite may still be in the transaction: never use that connection again.
            self._engine.dispose()
            for job in jobs:
                job.done.set_exception(error)
            return
        for job, result, failure in results:
            if failure is None:
                job.done.set_result(result)
            else:
                job.done.set_exception(failure)

    @staticmethod
    def _attempt(session: Session, job: _Job) -> tuple[_Job, object, Exception | None]:
        try:
            with session.begin_nested():
                return job, job.verb(session), None
        except Exception as error:  # noqa: BLE001 - handed to whoever asked
            return job, None, error
        finally:
            # The next verb shares the commit, but not what this one remembers of its rows.
            session.expunge_all()


class _Hour(NamedTuple):
    """What PostgreSQL's clock said, and when that was by our monotonic one."""

    said: datetime
    at: float


class Database:
    """Where emails wait. `run` is one transaction that may write, `read` one that does not."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        """Open nothing yet; `url` is `sqlite:///path` or `postgresql://…`."""
        self.on_postgresql = not url.startswith("sqlite:///")
        self._url = "postgresql://" + url.split("://", 1)[1]
        self._async: AsyncEngine | None = None
        self._writer: _Writer | None = None
        self._hour: _Hour | None = None
        self._barrier = Barrier(self._after_intents)
        if self.on_postgresql:
            self._async = create_async_engine(
                asyncpg_url(url),
                pool_size=pool_size,
                max_overflow=pool_size,
                json_serializer=_dumps,
                json_deserializer=orjson.loads,
                connect_args={"server_settings": _USUAL},
            )
            _prove(self._async.sync_engine)
            return
        self.path = Path(url.removeprefix("sqlite:///"))
        self._write_engine = sqlite_engine(self.path, begin="BEGIN IMMEDIATE")
        self._read_engine = sqlite_engine(self.path, begin="BEGIN")
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="sqlite-reader")
        self._starting = threading.Lock()

    def now(self) -> datetime:
        """Return the present moment by the clock that all who share this database share: PostgreSQL's.

        Where a machine's clock is wrong, its mail would wait for hours, its leases seem dead, its retries hurry. With
        SQLite there is one machine, and the clock is its own.
        """
        if self._hour is None:
            return datetime.now(UTC)
        return self._hour.said + timedelta(seconds=time.monotonic() - self._hour.at)

    async def run(self, verb: Verb[T], *, urgency: int = 1, conclusive: bool = False) -> T:
        """Run a verb in a transaction of its own and commit it; lower urgency numbers go first on SQLite.

        A `conclusive` one returns when no intent that was decided without knowing of it can be written any more: an
        opt-out is answered only then. On PostgreSQL it has the right to write intents alone for a moment, together
        with whoever waits beside it; on SQLite one writer orders everything.
        """
        if self._async is not None:
            async with (
                AsyncSession(self._async, expire_on_commit=False, sync_session_class=Session) as session,
                session.begin(),
            ):
                if self._hour is None or time.monotonic() - self._hour.at > _ASK_TIME:
                    self._hour = _Hour((await session.execute(_TIME)).scalar_one(), time.monotonic())
                result = await session.run_sync(verb)  # type: ignore[arg-type]
            if conclusive:
                await self._barrier.passed()
            return result
        return cast("T", await asyncio.wrap_future(self._writing().submit(verb, urgency=urgency)))

    async def _after_intents(self) -> None:
        assert self._async is not None
        async with self._async.begin() as connection:
            await connection.execute(text(f"SET LOCAL lock_timeout = {_LONGEST_INTENT + 1000}"))
            try:
                await connection.execute(_ALONE)
            except DBAPIError as error:
                # A worker that froze keeps its right; its last statement has ended by now, and the next one sees all.
                if getattr(error.orig, "sqlstate", None) != "55P03":
                    raise

    async def direct(self) -> asyncpg.Connection:
        """Return a connection of the caller's own for the statements of a hot path; only PostgreSQL has any."""
        return await asyncpg.connect(self._url, server_settings=_DIRECT)

    async def read(self, verb: Verb[T]) -> T:
        """Run a verb that only reads."""
        if self._async is not None:
            return await self.run(verb)
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, verb)

    def _read(self, verb: Verb[T]) -> T:
        with Session(self._read_engine, expire_on_commit=False) as session:
            return verb(session)

    def _writing(self) -> _Writer:
        with self._starting:
            if self._writer is None:
                self._writer = _Writer(self._write_engine)
            return self._writer

    async def close(self) -> None:
        """Finish what waits and close every connection."""
        if self._async is not None:
            await self._async.dispose()
            return
        if self._writer is not None:
            await asyncio.to_thread(self._writer.stop)
        self._readers.shutdown()
        self._write_engine.dispose()
        self._read_engine.dispose()


def on_postgresql(session: Session) -> bool:
    """Return whether a session talks to PostgreSQL."""
    return session.get_bind().dialect.name == "postgresql"


def among(session: Session, column: ColumnElement[T], values: list[T]) -> ColumnElement[bool]:
    """Return `column is one of values` as one statement text whatever their number."""
    if on_postgresql(session):
        return column == any_(bindparam(None, values, type_=ARRAY(column.type), unique=True))
    return column.in_(values)


def insert(session: Session, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return the dialect's INSERT, which knows ON CONFLICT."""
    return postgresql.insert(table) if on_postgresql(session) else sqlite.insert(table)


def share_intents(session: Session) -> None:
    """Hold the right to write intents until this transaction ends (`Database.run`); on SQLite one writer orders all."""
    if on_postgresql(session):
        session.connection().execute(_SHARING)


#: The advisory lock that whoever writes intents shares, and that an opt-out has alone for a moment.
INTENTS = 7202
_TIME = text("SELECT clock_timestamp()")
_SHARING = text(f"SELECT pg_advisory_xact_lock_shared({INTENTS})")
_ALONE = text(f"SELECT pg_advisory_xact_lock({INTENTS})")
#: A statement that writes intents ends within this many milliseconds, or is ended.
_LONGEST_INTENT = 10_000
#: A process that stands still in the middle of a transaction keeps its locks no longer than this: whoever takes over
#: its mail needs the row of its lease.
_USUAL = {
    "idle_in_transaction_session_timeout": str(_LONGEST_INTENT),
    # Everything is asked by index, in memory or on an SSD. With its default of 4, made for disks that turn, PostgreSQL
    # read a suppression list of 50,000 from end to end instead of looking up the 500 addresses that were asked about.
    "random_page_cost": "1.1",
}
_DIRECT = {
    "application_name": "mailer delivery",
    "statement_timeout": str(_LONGEST_INTENT),
    # Every row is found by its id: a plan made while the table was small must not read it whole once it is big.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}

#: Classes of SQLSTATE: connection exceptions, rollbacks that ask to try again, too few resources, an operator's act.
_PASSING = frozenset({"08", "40", "53", "57"})


def unreachable(error: BaseException) -> bool:
    """Return whether an error means that the database is away or busy (so that trying again may help)."""
    if isinstance(error, (OperationalError, PoolTimeout, ConnectionError, TimeoutError, OSError)):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    # asyncpg's own errors come through bare while a connection is opened, else inside of SQLAlchemy's.
    cause = error.orig if isinstance(error, DBAPIError) else error
    # A server's goodbye that comes in the middle of a question confuses asyncpg, which says so in its own way.
    if isinstance(cause, asyncpg.InternalClientError) or isinstance(
        getattr(cause, "__cause__", None), asyncpg.InternalClientError
    ):
        return True
    return str(getattr(cause, "sqlstate", None) or "")[:2] in _PASSING


def full(error: BaseException) -> bool:
    """Return whether an error means that the database's disk has no room left."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    # sqlite3's own name of it, PostgreSQL's SQLSTATE disk_full.
    return getattr(cause, "sqlite_errorname", None) == "SQLITE_FULL" or getattr(cause, "sqlstate", None) == "53100"


def undone(error: BaseException) -> bool:
    """Return whether an error surely undid its transaction, so that each part of it may be tried again by itself.

    A connection that is lost leaves open whether a commit took place.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    return not unreachable(error) or str(getattr(cause, "sqlstate", None) or "").startswith("40")


__all__ = [
    "INTENTS",
    "Database",
    "among",
    "asyncpg_url",
    "full",
    "insert",
    "on_postgresql",
    "share_intents",
    "sqlite_engine",
    "undone",
    "unreachable",
]
