"""What many tests need: throwaway servers, a migrated database on either engine, a relay that does as it is told."""

import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlmodel import SQLModel

import suppression.entries
from mailer import interpreter, migrate, models
from mailer.database import Database
from tests import servers
from tests.servers import Certificate, Postgres, Redis, Relay

# Every request to an application in this process asks whether trio runs: without it, that searches all of `sys.path`.
sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]


def tables() -> tuple[str, ...]:
    """Return the tables that a used database is emptied of."""
    assert models.Email.metadata is suppression.entries.Entry.metadata
    return tuple(SQLModel.metadata.tables)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the stories: one of them alone at the end would let the other processes wait for it."""
    items.sort(key=lambda item: "stories" not in item.path.parts)


def pytest_collection_finish() -> None:
    """Set apart what collecting the tests made: Python would walk these millions of objects again and again."""
    interpreter.settle(sending=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of our own; skipped where there is none."""
    with servers.postgres(migrate.upgrade_postgresql, tables()) as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    """A Redis of our own; skipped where there is none. A test that stops it starts it again."""
    with servers.redis() as server:
        yield server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A self-made certificate for 127.0.0.1."""
    return servers.certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("migrated") / "mailer.db"
    migrate.upgrade_sqlite(path)
    return path


@pytest.fixture
def sqlite_url(tmp_path: Path, migrated_file: Path) -> str:
    """The address of a fresh, migrated SQLite file."""
    shutil.copy(migrated_file, tmp_path / "mailer.db")
    return f"sqlite:///{tmp_path / 'mailer.db'}"


@pytest.fixture
def postgresql_url(postgres: Postgres) -> Iterator[str]:
    """The address of a fresh, migrated PostgreSQL database."""
    url = postgres.take()
    yield url
    postgres.give_back(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The address of a fresh, migrated database on either engine."""
    url = request.getfixturevalue(f"{request.param}_url")
    assert isinstance(url, str)
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh, migrated database on either engine."""
    database = Database(database_url)
    yield database
    await database.close()


@pytest.fixture
async def sqlite(sqlite_url: str) -> AsyncIterator[Database]:
    """A fresh, migrated database on SQLite."""
    database = Database(sqlite_url)
    yield database
    await database.close()


@pytest.fixture
async def postgresql(postgresql_url: str) -> AsyncIterator[Database]:
    """A fresh, migrated database on PostgreSQL."""
    database = Database(postgresql_url)
    yield database
    await database.close()


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    """A relay that takes every mail until a test tells it otherwise."""
    async with servers.relay() as server:
        yield server
