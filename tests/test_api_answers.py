"""Answers kept for repeated requests: who is first, who waits, and what is forgotten."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from mailer import answers
from mailer.answers import Asked, Begun, Fresh, Replay
from mailer.database import Database
from mailer.errors import Conflict
from tests.test_api_world import prepared

NOW = datetime(2027, 3, 1, 9, 30, tzinfo=UTC)


async def begin(database: Database, body: bytes = b"{}", *, key: str = "k", now: datetime = NOW) -> Begun:
    tenant = await prepared(database)
    asked = Asked.of(tenant.id or 0, "POST /v1/emails", key, body)
    return await database.run(lambda session: answers.begin(session, asked, now))


async def fresh(database: Database, *, now: datetime = NOW) -> Fresh:
    begun = await begin(database, now=now)
    assert isinstance(begun, Fresh)
    return begun


async def finish(database: Database, begun: Fresh, body: bytes = b"done") -> None:
    await database.run(lambda session: answers.finish(session, begun, 202, body))


async def test_a_finished_request_is_repeated_for_a_day(database: Database) -> None:
    await finish(database, await fresh(database))
    assert await begin(database, now=NOW + timedelta(hours=23)) == Replay(202, b"done")
    assert isinstance(await begin(database, key="other"), Fresh)
    with pytest.raises(Conflict, match="another body"):
        await begin(database, b"[]")
    assert isinstance(await begin(database, b"[]", now=NOW + timedelta(hours=24)), Fresh)


async def test_a_request_in_flight_is_not_begun_again(database: Database) -> None:
    await fresh(database)
    with pytest.raises(Conflict, match="being worked on"):
        await begin(database, now=NOW + timedelta(minutes=4))
    with pytest.raises(Conflict, match="another body"):
        await begin(database, b"[]")


async def test_an_abandoned_request_is_taken_over_and_its_late_finish_is_void(database: Database) -> None:
    dead = await fresh(database)
    alive = await fresh(database, now=NOW + timedelta(minutes=5))
    with pytest.raises(Conflict, match="took it over"):
        await finish(database, dead, b"late")
    await database.run(lambda session: answers.forget(session, dead))
    await finish(database, alive)
    assert await begin(database) == Replay(202, b"done")


async def test_a_forgotten_request_is_fresh(database: Database) -> None:
    first = await fresh(database)
    await database.run(lambda session: answers.forget(session, first))
    assert isinstance(await begin(database, b"[]"), Fresh)


async def test_of_many_at_once_one_is_fresh(database: Database) -> None:
    begun = await asyncio.gather(*(begin(database) for _ in range(10)), return_exceptions=True)
    assert [type(each) for each in begun].count(Fresh) == 1
    assert [type(each) for each in begun].count(Conflict) == 9
