"""Two transactions of single mails at once: who goes beside whom, and who waits for whom."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import asyncpg
import httpx2
import pytest
from sqlalchemy import insert, select, text
from sqlmodel import Session, SQLModel

from mailer import drafts, submission
from mailer.database import Database
from mailer.drafts import Draft
from mailer.erasure import mails as erased
from mailer.submission import Asking, Submitter
from mailer.web.api import gathering
from tests.test_api_world import ALL_SCOPES, Api, data, mail, news, stored, world

FULL = 4
_STANDING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = $1::text::regclass"


class Held:
    """A table of PostgreSQL, which nobody writes to before it is let go of."""

    def __init__(self, connection: asyncpg.Connection, table: str) -> None:
        self._connection, self._table = connection, table

    async def until_off(self, number: int) -> None:
        """Wait until so many transactions stand before the table, and see that no more come."""
        for _ in range(200):
            if await self._connection.fetchval(_STANDING, self._table) >= number:
                break
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        assert await self._connection.fetchval(_STANDING, self._table) == number


@asynccontextmanager
async def held(url: str, table: str = "email") -> AsyncIterator[Held]:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN SHARE MODE")
            yield Held(connection, table)
    finally:
        await connection.close()


@pytest.fixture
async def api(postgresql: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    monkeypatch.setattr(gathering, "MOST", FULL)
    async with world(postgresql) as api:
        # Its key and its templates are known from here on.
        for body in (mail(to="first@example.org"), news(to="first@example.org")):
            assert (await api.post("/v1/emails", body)).status_code == 202
        yield api


def asked(api: Api, *bodies: object, **headers: str) -> list[asyncio.Task[httpx2.Response]]:
    return [asyncio.create_task(api.post("/v1/emails", body, **headers)) for body in bodies]


def mails(first: int, number: int) -> list[dict[str, object]]:
    return [mail(to=f"p{each}@example.org") for each in range(first, first + number)]


async def codes(tasks: list[asyncio.Task[httpx2.Response]]) -> set[int]:
    return {answer.status_code for answer in await asyncio.gather(*tasks)}


async def transactions(database: Database) -> int:
    counted = text("SELECT count(DISTINCT xmin::text) FROM email WHERE address <> 'first@example.org'")

    def count(session: Session) -> int:
        return int(session.connection().execute(counted).scalar_one())

    return await database.read(count)


async def test_a_full_one_goes_beside_another_and_a_third_waits(
    api: Api, postgresql: Database, postgresql_url: str
) -> None:
    async with held(postgresql_url) as table:
        tasks = asked(api, *mails(0, 1))
        await table.until_off(1)
        tasks += asked(api, *mails(1, FULL - 1))
        await table.until_off(1)
        tasks += asked(api, *mails(FULL, 1))
        await table.until_off(2)
        tasks += asked(api, *mails(FULL + 1, FULL))
        await table.until_off(2)
    assert await codes(tasks) == {202}
    assert await transactions(postgresql) == 3


async def test_many_of_one_moment_leave_in_two(api: Api, postgresql_url: str) -> None:
    async with held(postgresql_url) as table:
        tasks = asked(api, *mails(0, 1))
        await table.until_off(1)
        tasks += asked(api, *mails(1, 3 * FULL))
        await table.until_off(2)
    assert await codes(tasks) == {202}
    assert len(await stored(api)) == 2 + 1 + 3 * FULL


async def test_a_password_reset_waits_for_no_promotional_mail(api: Api, postgresql_url: str) -> None:
    async with held(postgresql_url) as table:
        tasks = asked(api, news(to="q0@example.org"))
        await table.until_off(1)
        tasks += asked(api, news(to="q1@example.org"))
        await table.until_off(1)
        tasks += asked(api, *mails(0, 1))
        await table.until_off(2)
    assert await codes(tasks) == {202}


async def test_a_request_sent_again_waits_for_its_first_and_harms_nobody(
    api: Api, postgresql: Database, postgresql_url: str
) -> None:
    body = json.dumps(mail(to="once@example.org")).encode()
    async with held(postgresql_url) as table:
        tasks = asked(api, body, Idempotency_Key="order-1")
        await table.until_off(1)
        tasks += asked(api, body, Idempotency_Key="order-1")
        tasks += asked(api, *mails(0, FULL - 1))
        # Four wait, of whom three may leave.
        await table.until_off(2)
    first, again, *rest = await asyncio.gather(*tasks)
    assert {first.status_code, again.status_code, *(answer.status_code for answer in rest)} == {202}
    assert data(first)["id"] == data(again)["id"]
    assert again.headers["idempotency-replayed"] == "true"
    assert await transactions(postgresql) == 2


@pytest.mark.parametrize("what", ["content", "attachment"])
async def test_what_is_new_in_another_order_waits_for_nobody(api: Api, postgresql_url: str, what: str) -> None:
    sender = Submitter(api.tenant_id, frozenset(ALL_SCOPES), False)

    def new(number: int) -> dict[str, object]:
        if what == "content":
            return {"text": f"New {number}"}
        return {"attachments": [{"filename": "a.txt", "content": base64.b64encode(b"new %d" % number).decode()}]}

    async def submitted(name: str, numbers: Iterable[int]) -> int:
        wanted = [mail(to=f"{name}{each}@example.org", **new(each)) for each in numbers]
        asking = [Asking(sender, drafts.parse(Draft, each)) for each in wanted]
        service = api.service

        def verb(session: Session) -> int:
            return len(submission.submit_together(session, asking, service.intake, service.now()))

        return await service.database.run(verb)

    async with held(postgresql_url, what) as table:
        both = [
            asyncio.create_task(submitted("a", range(20))),
            asyncio.create_task(submitted("b", reversed(range(20)))),
        ]
        await table.until_off(2)
    assert await asyncio.gather(*both) == [20, 20]


async def test_an_erasure_locks_files_in_the_order_of_new_mail(
    api: Api, postgresql: Database, postgresql_url: str
) -> None:
    table, tenant = SQLModel.metadata.tables["attachment"], api.tenant_id

    def arrange(session: Session) -> set[int]:
        rows = [{"tenant_id": tenant, "digest": digest, "data": b"x"} for digest in ("b", "a")]
        return set(session.execute(insert(table).returning(table.c.id), rows).scalars())

    numbers = await postgresql.run(arrange)
    other, locked = await asyncpg.connect(postgresql_url), "SELECT 1 FROM attachment WHERE digest = $1 FOR KEY SHARE"
    try:
        async with other.transaction():
            await other.execute(locked, "a")
            erasing = asyncio.create_task(
                postgresql.run(lambda session: erased._empty(session, tenant, numbers, set()))
            )
            async with asyncio.timeout(20):
                while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                    await asyncio.sleep(0.02)
            # The erasure waits for this one, and has not locked the other.
            await other.execute(locked, "b")
        await erasing
    finally:
        await other.close()
    emptied = await postgresql.read(lambda session: session.execute(select(table.c.data)).scalars().all())
    assert emptied == [b"", b""]
