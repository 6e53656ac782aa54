"""Brings a database to this program's version, and refuses one of another."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import Session

from mailer import sizes
from mailer.database import Database, asyncpg_url, sqlite_engine
from mailer.errors import ConfigurationError, WrongVersion


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def newest() -> str:
    """Return the version of the tables that this program works with."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def current(connection: Connection) -> str | None:
    """Return the version that a database has; None where it is fresh."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(connection: Connection) -> None:
    """Bring a database to the newest version; raises `WrongVersion` where a newer program made it."""
    version = current(connection)
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if version is not None and version not in known:
        raise WrongVersion(
            f"the database has version {version}, which this program does not know: run the newer program that made it"
        )
    if version != newest():
        command.upgrade(_config(connection), "head")


def check(session: Session) -> None:
    """Raise `WrongVersion` unless the database has this program's version."""
    version = current(session.connection())
    if version != newest():
        raise WrongVersion(
            f"the database has version {version or 'none'}, this program needs {newest()}: run `mailer migrate` first"
        )


def upgrade_sqlite(path: Path) -> None:
    """Bring a SQLite file to the newest version; several processes at once do it once."""
    engine = sqlite_engine(path, begin="BEGIN IMMEDIATE")
    try:
        with engine.begin() as connection:
            upgrade(connection)
            sizes.tell(connection)
    except DatabaseError as error:
        if "not a database" in str(error.orig):
            raise ConfigurationError(
                f"MAILER_DATA_DIR: {path} is not a SQLite database: move it away, or name another folder"
            ) from error
        raise
    finally:
        engine.dispose()


async def upgrade_postgresql(url: str) -> None:
    """Bring a PostgreSQL database to the newest version; an advisory lock lets one process at a time do it."""
    engine = create_async_engine(asyncpg_url(url))
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7201)")
            await connection.run_sync(upgrade)
    finally:
        await engine.dispose()


async def make_ready(database: Database) -> None:
    """A fresh SQLite file is migrated by any command; PostgreSQL only by `mailer migrate`, so it is only checked."""
    if not database.on_postgresql:
        upgrade_sqlite(database.path)
    await database.read(check)
