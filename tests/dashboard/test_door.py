"""The door of the dashboard: who gets in, who waits, and what nobody learns there."""

from collections.abc import AsyncIterator

import pytest

from tests.dashboard.house import OWNER, House, open_house


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[House]:
    async with open_house(database_url) as house:
        await house.user()
        yield house


async def test_whoever_signs_in_sees_home_and_is_led_back_to_where_they_wanted(house: House) -> None:
    async with house.browser() as ann:
        door = await ann.get("/t/default")
        assert (door.status_code, door.headers["location"]) == (303, "/app/sign-in?next=/app/t/default")
        await ann.get("/sign-in", next="/app/t/default")
        entered = await ann.post("/sign-in", email=OWNER, password="correct horse battery", next="/app/t/default")
        assert (entered.status_code, entered.headers["location"]) == (303, "/app/t/default")
        cookie = entered.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=lax", "Path=/app"} <= set(cookie.split("; "))
        home = await ann.get("@")
        assert home.status_code == 200
        assert "Transactional mail" in ann.text
