"""Transactions: whoever waits together commits together, and nobody hears of success before it is true."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, tzinfo

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlmodel import Session, SQLModel, col, func, select, update

from mailer import database as databases
from mailer.database import Database
from mailer.models import Role, Tenant

NOW = datetime(2026, 5, 4, tzinfo=UTC)


def adds(name: str) -> Callable[[Session], str]:
    def verb(session: Session) -> str:
        session.add(Role(name=name, holder="me", until=NOW))
        session.flush()
        return name

    return verb


def names(session: Session) -> list[str]:
    return list(session.exec(select(Role.name).order_by(Role.name)))


@asynccontextmanager
async def writer_held(database: Database) -> AsyncIterator[None]:
    """Keep SQLite's writer busy, so that what is asked meanwhile shares the next commit."""
    started, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hold(_session: Session) -> None:
        loop.call_soon_threadsafe(started.set)
        go_on.wait(10)

    held = asyncio.create_task(database.run(hold, urgency=-1))
    await started.wait()
    try:
        yield
        await asyncio.sleep(0)
    finally:
        go_on.set()
        await held


async def test_what_a_verb_writes_is_committed_and_its_answer_returned(database: Database) -> None:
    assert await database.run(adds("clock")) == "clock"
    assert await database.read(names) == ["clock"]


async def test_a_verb_that_fails_writes_nothing_and_its_error_comes_back(database: Database) -> None:
    def fails(session: Session) -> None:
        adds("clock")(session)
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        await database.run(fails)
    assert await database.read(names) == []


async def test_many_at_once_all_write(database: Database) -> None:
    answers = await asyncio.gather(*(database.run(adds(f"role-{number:03}")) for number in range(150)))
    assert answers == await database.read(names)


async def test_two_that_add_the_same_row_get_one_yes(database: Database) -> None:
    answers = await asyncio.gather(*(database.run(adds("clock")) for _ in range(2)), return_exceptions=True)
    assert [type(answer) for answer in sorted(answers, key=str)] == [IntegrityError, str]


async def test_times_are_aware_and_json_comes_back(database: Database) -> None:
    await database.run(adds("clock"))
    until = await database.read(lambda session: session.exec(select(Role.until)).one())
    assert until == NOW
    assert until.utcoffset() is not None


async def test_among_finds_any_number_of_ids(database: Database) -> None:
    await asyncio.gather(*(database.run(adds(name)) for name in ("a", "b", "c")))
    for wanted in ([], ["a"], ["a", "c", "x"]):
        found = await database.read(
            lambda session, wanted=wanted: session.exec(  # type: ignore[misc]
                select(Role.name)
                .where(databases.among(session, SQLModel.metadata.tables["role"].c.name, wanted))
                .order_by(Role.name)
            ).all()
        )
        assert found == [name for name in wanted if name != "x"]


# --- SQLite's one writer


async def test_a_verb_that_fails_does_not_spoil_those_that_share_its_commit(sqlite: Database) -> None:
    def fails(session: Session) -> None:
        adds("broken")(session)
        session.add(Role(name="clock", holder="me", until=NOW))
        session.flush()

    async with writer_held(sqlite):
        work = [sqlite.run(verb) for verb in (adds("clock"), fails, adds("sweeper"))]
        shared = asyncio.gather(*work, return_exceptions=True)
        await asyncio.sleep(0)
    first, second, third = await shared
    assert (first, third) == ("clock", "sweeper")
    assert isinstance(second, IntegrityError)
    assert await sqlite.read(names) == ["clock", "sweeper"]


async def test_what_waits_together_is_committed_together(sqlite: Database, sqlite_url: str) -> None:
    seen: list[int] = []

    def looks(session: Session) -> None:
        session.add(Role(name=f"role-{len(seen)}", holder="me", until=NOW))
        session.flush()
        with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as other:
            seen.append(other.execute("SELECT count(*) FROM role").fetchone()[0])
        other.close()

    async with writer_held(sqlite):
        shared = asyncio.gather(*(sqlite.run(looks) for _ in range(20)))
        await asyncio.sleep(0)
    await shared
    assert seen == [0] * 20
    assert len(await sqlite.read(names)) == 20


async def test_the_most_urgent_goes_first_then_who_asked_first(sqlite: Database) -> None:
    order: list[str] = []
    async with writer_held(sqlite):
        wanted = [(2, "report"), (1, "bulk"), (0, "reset"), (1, "bulk again"), (0, "code")]
        shared = asyncio.gather(
            *(sqlite.run(lambda _session, name=name: order.append(name), urgency=urgency) for urgency, name in wanted)  # type: ignore[misc]
        )
        await asyncio.sleep(0)
    await shared
    assert order == ["reset", "code", "bulk", "bulk again", "report"]


async def test_nobody_hears_of_success_before_the_commit(sqlite: Database) -> None:
    # A foreign key that is checked at the commit makes the commit itself fail, after every verb has succeeded.
    def breaks_at_commit(session: Session) -> str:
        session.execute(text("PRAGMA defer_foreign_keys=ON"))
        session.execute(
            text("INSERT INTO attachment (tenant_id, digest, data) VALUES (99, 'x', '')"),
        )
        return "done"

    async with writer_held(sqlite):
        shared = asyncio.gather(sqlite.run(adds("clock")), sqlite.run(breaks_at_commit), return_exceptions=True)
        await asyncio.sleep(0)
    answers = await shared
    assert all(isinstance(answer, IntegrityError) for answer in answers), answers
    assert await sqlite.read(names) == []
    assert await sqlite.run(adds("clock")) == "clock"


async def test_a_verb_reads_the_rows_as_they_are_and_not_as_its_neighbour_remembers_them(sqlite: Database) -> None:
    def founds(session: Session) -> Tenant:
        tenant = Tenant(id=1, key="default", name="before", created_at=NOW)
        session.add(tenant)
        session.flush()
        return tenant

    def renames(session: Session) -> None:
        session.execute(
            update(Tenant).where(col(Tenant.id) == 1).values(name="after").execution_options(synchronize_session=False)
        )

    def reads(session: Session) -> str:
        return session.get_one(Tenant, 1).name

    async with writer_held(sqlite):
        shared = asyncio.gather(sqlite.run(founds), sqlite.run(renames), sqlite.run(reads))
        await asyncio.sleep(0)
    tenant, _, name = await shared
    assert name == "after"
    assert tenant.name == "before"


async def test_who_gives_up_waiting_does_not_stop_the_writer(sqlite: Database) -> None:
    async with writer_held(sqlite):
        impatient = asyncio.create_task(sqlite.run(adds("impatient")))
        await asyncio.sleep(0)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
    async with asyncio.timeout(5):
        assert await sqlite.run(adds("patient")) == "patient"
    assert await sqlite.read(names) == ["patient"]


async def test_who_gives_up_while_it_is_being_written_does_not_stop_the_writer(sqlite: Database) -> None:
    started, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(session: Session) -> None:
        loop.call_soon_threadsafe(started.set)
        go_on.wait(10)
        adds("slow")(session)

    impatient = asyncio.create_task(sqlite.run(slow))
    await started.wait()
    impatient.cancel()
    go_on.set()
    async with asyncio.timeout(5):
        await sqlite.run(adds("next"))
    assert await sqlite.read(names) == ["next", "slow"]


async def test_close_finishes_what_waits(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    async with writer_held(database):
        shared = asyncio.gather(*(database.run(adds(f"role-{number}")) for number in range(5)))
        await asyncio.sleep(0)
        closing = asyncio.create_task(database.close())
    await shared
    await closing
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as file:
        assert file.execute("SELECT count(*) FROM role").fetchone() == (5,)
    file.close()


async def test_reading_goes_on_while_the_writer_is_busy(sqlite: Database) -> None:
    await sqlite.run(adds("clock"))
    async with writer_held(sqlite), asyncio.timeout(2):
        assert await sqlite.read(names) == ["clock"]


async def test_a_transaction_on_sqlite_sees_no_row_lock_errors(sqlite: Database, sqlite_url: str) -> None:
    other = Database(sqlite_url)
    try:
        await asyncio.gather(
            *(one.run(adds(f"{index}-{number}")) for number in range(20) for index, one in enumerate((sqlite, other)))
        )
        assert await sqlite.read(lambda session: session.exec(select(func.count(col(Role.name)))).one()) == 40
    finally:
        await other.close()


# --- a database that is away


async def test_a_full_disk_is_heard_by_whoever_waits_and_forgotten_when_there_is_room(sqlite: Database) -> None:
    def full(session: Session) -> None:
        pages = session.execute(text("PRAGMA page_count")).scalar()
        session.execute(text(f"PRAGMA max_page_count={pages}"))

    def fills(session: Session) -> None:
        session.add(Role(name="big", holder="x" * 2_000_000, until=NOW))
        session.flush()

    await sqlite.run(full)
    with pytest.raises(DBAPIError) as caught:
        await sqlite.run(fills)
    assert databases.unreachable(caught.value)
    await sqlite.run(lambda session: session.execute(text("PRAGMA max_page_count=1000000")))
    assert await sqlite.run(adds("clock")) == "clock"


async def test_a_connection_that_postgresql_ended_means_that_it_is_away(postgresql: Database) -> None:
    def dies(session: Session) -> None:
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(Exception) as caught:
        await postgresql.run(dies)
    assert databases.unreachable(caught.value)
    assert await postgresql.run(adds("clock")) == "clock"


async def test_a_server_that_does_not_listen_means_that_it_is_away() -> None:
    database = Database("postgresql://postgres@127.0.0.1:1/none")
    try:
        with pytest.raises(OSError) as caught:
            await database.run(names)
        assert databases.unreachable(caught.value)
    finally:
        await database.close()


def test_a_goodbye_of_the_server_amid_a_question_means_that_it_is_away() -> None:
    told = Exception("wrapped by SQLAlchemy's dialect")
    told.__cause__ = asyncpg.InternalClientError("got result for unknown protocol state 3")
    assert databases.unreachable(told.__cause__)
    assert databases.unreachable(DBAPIError("SELECT 1", None, told))


async def test_a_broken_rule_does_not_mean_that_it_is_away(database: Database) -> None:
    await database.run(adds("clock"))
    with pytest.raises(IntegrityError) as caught:
        await database.run(adds("clock"))
    assert not databases.unreachable(caught.value)
    assert databases.undone(caught.value)


async def test_a_connection_that_died_while_nobody_used_it_is_not_noticed(
    postgresql: Database, postgresql_url: str
) -> None:
    async def used() -> set[int]:
        def own(session: Session) -> int:
            return int(session.connection().execute(text("SELECT pg_backend_pid() FROM pg_sleep(0.05)")).scalar_one())

        return set(await asyncio.gather(*(postgresql.run(own) for _ in range(3))))

    other = Database(postgresql_url)
    try:
        for idle in (0.1, 1.2):
            before = await used()
            for process in before:
                ends = text(f"SELECT pg_terminate_backend({process})")
                await other.run(lambda session, ends=ends: session.connection().execute(ends).one())  # type: ignore[misc]
            await asyncio.sleep(idle)
            assert not before & await used()
    finally:
        await other.close()


async def test_a_lost_connection_leaves_open_whether_the_work_is_done(postgresql: Database) -> None:
    def dies(session: Session) -> None:
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(Exception) as caught:
        await postgresql.run(dies)
    assert not databases.undone(caught.value)


async def test_a_process_that_stands_still_in_a_transaction_keeps_its_locks_for_seconds_only(
    postgresql: Database,
) -> None:
    await postgresql.run(adds("clock"))
    shown = await postgresql.read(lambda session: session.execute(text("SHOW idle_in_transaction_session_timeout")))
    assert shown.scalar_one() == "10s"

    def stand_still(session: Session) -> None:
        session.execute(text("SET LOCAL idle_in_transaction_session_timeout = '100ms'"))
        session.execute(update(Role).values(holder="frozen"))
        time.sleep(0.5)
        session.execute(update(Role).values(holder="late"))

    with pytest.raises(DBAPIError) as ended:
        await postgresql.run(stand_still)
    assert databases.unreachable(ended.value)
    assert await postgresql.read(lambda session: session.exec(select(Role.holder)).one()) == "me"


async def test_the_time_is_postgresqls_whatever_the_clock_of_this_machine_says(
    postgresql: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Late":
            return cls.fromtimestamp(time.time() - 3600, tz)

    monkeypatch.setattr(databases, "datetime", Late)
    asked = await postgresql.read(lambda _session: postgresql.now())
    assert abs((asked - datetime.now(UTC)).total_seconds()) < 5
    assert postgresql.now() >= asked
