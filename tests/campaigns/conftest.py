"""What the tests of campaigns need."""

import pytest

from mailer.database import Database
from tests.campaigns.world import World, world_of


@pytest.fixture
async def world(database: Database) -> World:
    """Tenant `default` on either engine."""
    return await world_of(database)


@pytest.fixture
async def small(sqlite: Database) -> World:
    """Tenant `default` on SQLite."""
    return await world_of(sqlite)
