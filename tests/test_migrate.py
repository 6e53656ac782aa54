"""A database comes to this program's version once, whoever asks, and one of another version is refused."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import SQLModel

from mailer import migrate
from mailer.database import Database, asyncpg_url, sqlite_engine
from mailer.errors import WrongVersion
from tests.servers import Postgres

T = TypeVar("T")
#: Tables that know a person by a fingerprint.
PEOPLE = ("suppression", "consent", "email")


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'fresh.db'}"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.create()


async def upgrade(url: str) -> None:
    if url.startswith("sqlite"):
        await asyncio.to_thread(migrate.upgrade_sqlite, Path(url.removeprefix("sqlite:///")))
    else:
        await migrate.upgrade_postgresql(url)


async def inside(url: str, work: Callable[[Connection], T]) -> T:
    """Run something in one transaction of a database."""
    if url.startswith("sqlite"):
        engine = sqlite_engine(Path(url.removeprefix("sqlite:///")), begin="BEGIN IMMEDIATE")
        try:
            with engine.begin() as connection:
                return work(connection)
        finally:
            engine.dispose()
    driven = create_async_engine(asyncpg_url(url))
    try:
        async with driven.begin() as held:
            return await held.run_sync(work)
    finally:
        await driven.dispose()


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


async def test_a_fresh_database_gets_every_table(fresh_url: str) -> None:
    await upgrade(fresh_url)
    assert await inside(fresh_url, tables) == {*SQLModel.metadata.tables, "alembic_version"}
    assert await inside(fresh_url, migrate.current) == migrate.newest()


async def test_migrating_twice_is_migrating_once(fresh_url: str) -> None:
    await upgrade(fresh_url)
    await upgrade(fresh_url)
    assert await inside(fresh_url, migrate.current) == migrate.newest()


async def test_processes_that_migrate_at_once_do_it_once(fresh_url: str) -> None:
    await asyncio.gather(*(upgrade(fresh_url) for _ in range(4)))
    assert await inside(fresh_url, migrate.current) == migrate.newest()


async def test_the_migrations_make_what_the_models_say(fresh_url: str) -> None:
    await upgrade(fresh_url)

    def differences(connection: Connection) -> list[object]:
        options = {"compare_type": True, "render_as_batch": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), SQLModel.metadata))

    assert await inside(fresh_url, differences) == []


async def test_the_way_down_and_up_again(fresh_url: str) -> None:
    await upgrade(fresh_url)
    await inside(fresh_url, lambda connection: command.downgrade(migrate._config(connection), "base"))
    assert await inside(fresh_url, tables) == {"alembic_version"}
    await upgrade(fresh_url)
    assert await inside(fresh_url, tables) == {*SQLModel.metadata.tables, "alembic_version"}


async def test_a_database_of_a_newer_program_is_refused_with_a_sentence(fresh_url: str) -> None:
    await upgrade(fresh_url)
    newer = text("UPDATE alembic_version SET version_num='9999'")
    await inside(fresh_url, lambda connection: connection.execute(newer))
    with pytest.raises(WrongVersion, match="9999, which this program does not know: run the newer program that made"):
        await upgrade(fresh_url)
    database = Database(fresh_url)
    try:
        with pytest.raises(WrongVersion, match="the database has version 9999, this program needs"):
            await database.read(migrate.check)
    finally:
        await database.close()


async def test_an_empty_postgresql_is_not_migrated_by_the_way(postgres: Postgres) -> None:
    database = Database(postgres.create())
    try:
        with pytest.raises(WrongVersion, match=r"has version none, this program needs .*: run `mailer migrate` first"):
            await migrate.make_ready(database)
    finally:
        await database.close()


async def test_an_empty_sqlite_file_is_migrated_by_any_command(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'fresh.db'}")
    try:
        await migrate.make_ready(database)
        await migrate.make_ready(database)
        assert await database.read(lambda session: migrate.current(session.connection())) == migrate.newest()
    finally:
        await database.close()


def test_a_migrated_file_is_durable(migrated_file: Path) -> None:
    engine = sqlite_engine(migrated_file, begin="BEGIN")
    with engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    engine.dispose()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


async def test_sqlite_looks_for_a_person_by_the_fingerprint_in_a_young_database(tmp_path: Path) -> None:
    """Without numbers it would read all that a tenant has: for a page, a check, a click, whatever asks for a person."""
    url = f"sqlite:///{tmp_path / 'fresh.db'}"
    await upgrade(url)

    def plans(connection: Connection) -> list[str]:
        person = "tenant_id = 1 AND fingerprint IN (x'00', x'01')"
        asked = [f"SELECT * FROM {table} WHERE {person} ORDER BY id DESC LIMIT 9" for table in PEOPLE]
        kin = "suppression_kin k JOIN {0} o ON o.tenant_id = k.tenant_id AND o.fingerprint = k.other"
        asked += [
            f"SELECT * FROM {kin.format(table)} WHERE k.tenant_id = 1 AND k.fingerprint = x'00'"
            for table in ("suppression", "consent", "email")
        ]
        return [str(row[-1]) for each in asked for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {each}")]

    found = [plan for plan in await inside(url, plans) if plan.startswith(("SEARCH", "SCAN"))]
    assert len(found) == len(PEOPLE) + 6
    assert all("(tenant_id=? AND fingerprint=?)" in plan for plan in found), found


async def test_numbers_that_somebody_else_took_are_replaced_at_the_next_start(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'fresh.db'}"
    await upgrade(url)

    def numbers(connection: Connection) -> list[tuple[object, ...]]:
        return sorted(tuple(row) for row in connection.exec_driver_sql("SELECT * FROM sqlite_stat1"))

    ours = await inside(url, numbers)
    await inside(url, lambda connection: connection.exec_driver_sql("ANALYZE"))
    assert await inside(url, numbers) != ours
    await upgrade(url)
    assert await inside(url, numbers) == ours


async def test_sqlites_numbers_are_of_every_index_that_a_table_that_grows_has(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'fresh.db'}"
    await upgrade(url)

    def numbers(connection: Connection) -> dict[str, int]:
        return {
            str(index): len(str(stat).split()) - 1
            for index, stat in connection.exec_driver_sql("SELECT idx, stat FROM sqlite_stat1")
        }

    def columns(connection: Connection) -> dict[str, int]:
        names = connection.exec_driver_sql(
            "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name IN "
            "('consent', 'email', 'event', 'opt_in', 'suppression', 'suppression_kin', 'told')"
        ).scalars()
        return {name: len(connection.exec_driver_sql(f"PRAGMA index_info({name})").all()) for name in names.all()}

    assert await inside(url, numbers) == await inside(url, columns) != {}
