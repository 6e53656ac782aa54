"""A database that refuses every change of status outside of the table of transitions."""

import pytest

from mailer.database import Database
from tests.delivery import mails


@pytest.fixture
async def database(database: Database) -> Database:
    """A fresh database on either engine, watched."""
    await database.run(mails.watch_transitions)
    return database


@pytest.fixture
async def sqlite(sqlite: Database) -> Database:
    """A fresh SQLite database, watched."""
    await sqlite.run(mails.watch_transitions)
    return sqlite


@pytest.fixture
async def postgresql(postgresql: Database) -> Database:
    """A fresh PostgreSQL database, watched."""
    await postgresql.run(mails.watch_transitions)
    return postgresql
