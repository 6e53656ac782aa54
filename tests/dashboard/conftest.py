"""A house with a user of each role, on SQLite or on both engines; a file of tests says the settings that it wants."""

from collections.abc import AsyncIterator

import pytest

from tests.dashboard.house import House, open_house


@pytest.fixture
def settings() -> dict[str, str]:
    """The settings of the house, for a file of tests to override."""
    return {}


@pytest.fixture
async def house(sqlite_url: str, settings: dict[str, str]) -> AsyncIterator[House]:
    """SQLite alone: what a page shows does not depend on the engine."""
    async with open_house(sqlite_url, **settings) as house:
        await house.everybody()
        yield house


@pytest.fixture
async def everywhere(database_url: str, settings: dict[str, str]) -> AsyncIterator[House]:
    """Either engine, for verbs of its own."""
    async with open_house(database_url, **settings) as house:
        await house.everybody()
        yield house
