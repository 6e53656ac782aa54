"""Single mails that arrive together share a transaction, and nobody notices but by the clock."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import text
from sqlmodel import Session

from mailer import tenancy
from mailer.database import Database
from mailer.models import Email
from mailer.status import Status
from mailer.web.api.gathering import MOST
from suppression.rules import Stream
from tests.test_api_world import Api, data, mail, news, paths, stored, world

ROOT = Path(__file__).parent.parent


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with world(database) as api:
        yield api


@pytest.fixture
async def small(sqlite: Database) -> AsyncIterator[Api]:
    async with world(sqlite) as api:
        yield api


async def at_once(api: Api, *bodies: object, **headers: str) -> list[httpx2.Response]:
    return list(await asyncio.gather(*(api.post("/v1/emails", body, **headers) for body in bodies)))


class Busy:
    """The one writer of SQLite, held until somebody lets go of it."""

    def __init__(self, database: Database) -> None:
        self._database, self._held, self._free = database, asyncio.Event(), threading.Event()

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()

        def wait(_session: Session) -> None:
            loop.call_soon_threadsafe(self._held.set)
            assert self._free.wait(20)

        self._running = asyncio.create_task(self._database.run(wait))
        await self._held.wait()

    async def __aexit__(self, *_: object) -> None:
        self._free.set()
        await self._running


async def asked_while_busy(api: Api, *bodies: object, **headers: str) -> list[httpx2.Response]:
    """Ask one thing, which waits for the writer, then everything else, which so comes together."""
    async with Busy(api.service.database):
        first = asyncio.create_task(api.post("/v1/emails", mail(to="first@example.org")))
        await asyncio.sleep(0.05)
        rest = [asyncio.create_task(api.post("/v1/emails", body, **headers)) for body in bodies]
        await asyncio.sleep(0.2)
    assert (await first).status_code == 202
    return list(await asyncio.gather(*rest))


async def test_of_many_at_once_the_bad_one_is_refused_alone(api: Api) -> None:
    bodies = [mail(to=f"p{each}@example.org") for each in range(32)]
    bodies[7] = mail(topic="no-such-topic")
    answers = await at_once(api, *bodies)
    assert [answer.status_code for answer in answers] == [422 if each == 7 else 202 for each in range(32)]
    assert paths(answers[7]) == ["topic"]
    assert {str(data(answer)["id"]) for answer in answers if answer.status_code == 202} == {
        email.id for email in await stored(api)
    }
    assert Stream.TRANSACTIONAL in api.service.rung


async def test_every_mail_is_committed_before_its_answer(api: Api, database_url: str) -> None:
    other = Database(database_url)

    async def seen(number: int) -> bool:
        answer = await api.post("/v1/emails", mail(to=f"p{number}@example.org"))
        identifier = str(data(answer)["id"])
        return await other.read(lambda session: session.get(Email, identifier)) is not None

    try:
        assert all(await asyncio.gather(*(seen(number) for number in range(32))))
    finally:
        await other.close()


async def test_many_at_once_share_a_few_transactions(postgresql: Database) -> None:
    async with world(postgresql) as api:
        await at_once(api, *(mail(to=f"p{each}@example.org") for each in range(64)))
        counted = text("SELECT count(*), count(DISTINCT xmin::text) FROM email")
        rows, transactions = await postgresql.read(lambda session: session.connection().execute(counted).one())
        assert rows == 64
        assert transactions <= 8


async def test_transactional_mail_goes_first(small: Api) -> None:
    promotional = [news(to=f"q{each}@example.org") for each in range(5)]
    transactional = [mail(to=f"p{each}@example.org") for each in range(5)]
    answers = await asked_while_busy(small, *promotional, *transactional)
    assert {answer.status_code for answer in answers} == {202}
    _, *rest = await stored(small)
    assert [email.stream for email in rest] == [Stream.TRANSACTIONAL] * 5 + [Stream.PROMOTIONAL] * 5


async def test_more_than_fit_are_taken_in_turns(small: Api) -> None:
    answers = await asked_while_busy(small, *(mail(to=f"p{each}@example.org") for each in range(2 * MOST + 5)))
    assert {answer.status_code for answer in answers} == {202}
    assert len(await stored(small)) == 2 * MOST + 6


async def test_senders_of_several_tenants_share_and_stay_apart(small: Api) -> None:
    other = await small.of_tenant("northwind")
    captures = await small.with_key("send:transactional", captures=True)
    async with Busy(small.service.database):
        asked = [
            asyncio.create_task(each.post("/v1/emails", mail(to="ann@example.org")))
            for each in (small, small, other, captures)
        ]
        barred = asyncio.create_task(captures.post("/v1/emails", news()))
        # Keys that are met for the first time are looked up by readers, which a busy writer does not stop.
        await asyncio.sleep(0.3)
    assert [(await each).status_code for each in asked] == [202] * 4
    assert (await barred).status_code == 403
    senders = sorted((email.tenant_id, email.from_address, email.captured) for email in await stored(small))
    assert senders == [
        (small.tenant_id, "hello@ringwise.example", False),
        (small.tenant_id, "hello@ringwise.example", False),
        (small.tenant_id, "hello@ringwise.example", True),
        (other.tenant_id, "news@northwind.example", False),
    ]


async def test_a_suppressed_mail_among_others_says_so(small: Api) -> None:
    await small.post("/v1/suppressions", {"email": "cid@example.org"})
    bodies = [mail(to=to) for to in ("ann@example.org", "cid@example.org", "dan@example.org")]
    answers = await asked_while_busy(small, *bodies)
    assert [data(answer)["status"] for answer in answers] == [Status.QUEUED, Status.SUPPRESSED, Status.QUEUED]


async def test_a_key_that_was_just_revoked_opens_nothing(api: Api) -> None:
    body = json.dumps(mail()).encode()
    other = await api.with_key("send:transactional")
    assert (await other.post("/v1/emails", body, Idempotency_Key="k")).status_code == 202
    now = api.service.now()
    await api.service.database.run(lambda session: tenancy.revoke(session, api.tenant_id, "other", now))
    refused = [
        await other.post("/v1/emails", body),
        await other.post("/v1/emails", body, Idempotency_Key="k"),
        await other.post("/v1/emails", body, Idempotency_Key="another"),
        await other.post("/v1/emails/batch", {"emails": [mail()]}),
        await other.post("/v1/emails/batch", {"emails": [mail()]}, Idempotency_Key="k"),
    ]
    assert [answer.status_code for answer in refused] == [401] * 5
    mixed = await asyncio.gather(*(each.post("/v1/emails", mail()) for each in (api, other, api)))
    assert [answer.status_code for answer in mixed] == [202, 401, 202]
    assert len(await stored(api)) == 3


async def test_the_same_request_among_many_is_done_once(api: Api) -> None:
    bodies = [json.dumps(mail(to=f"p{each}@example.org")).encode() for each in range(8)]
    asked = [(f"order-{each % 8}", bodies[each % 8]) for each in range(32)]
    answers = await asyncio.gather(*(api.post("/v1/emails", body, Idempotency_Key=key) for key, body in asked))
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.content for answer in answers if answer.status_code == 202}) == 8
    assert len(await stored(api)) == 8
    again = await asyncio.gather(*(api.post("/v1/emails", body, Idempotency_Key=key) for key, body in asked))
    assert {(answer.status_code, answer.headers["idempotency-replayed"]) for answer in again} == {(202, "true")}
    assert len({answer.content for answer in again}) == 8


async def test_one_key_for_two_bodies_at_once_is_a_conflict(small: Api) -> None:
    answers = await asked_while_busy(small, mail(), mail(), mail(subject="Other"), Idempotency_Key="k")
    assert [answer.status_code for answer in answers] == [202, 409, 409]
    assert "being worked on" in answers[1].text
    assert "another body" in answers[2].text


async def test_a_refusal_among_others_is_kept_and_a_missing_scope_is_not(small: Api) -> None:
    only = await small.with_key("send:transactional")
    assert (await only.post("/v1/emails", mail())).status_code == 202
    wrong = json.dumps(mail(topic="no-such-topic")).encode()
    async with Busy(small.service.database):
        refused = asyncio.create_task(small.post("/v1/emails", wrong, Idempotency_Key="wrong"))
        barred = asyncio.create_task(only.post("/v1/emails", news(), Idempotency_Key="barred"))
        await asyncio.sleep(0.2)
    assert ((await refused).status_code, (await barred).status_code) == (422, 403)
    again = await small.post("/v1/emails", wrong, Idempotency_Key="wrong")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (422, "true")
    assert again.content == (await refused).content
    assert (await small.post("/v1/emails", news(), Idempotency_Key="barred")).status_code == 202


async def test_what_the_database_refuses_of_one_harms_nobody_else(small: Api) -> None:
    def trap(session: Session) -> None:
        session.connection().exec_driver_sql(
            "CREATE TRIGGER trap BEFORE INSERT ON email WHEN NEW.address = 'trap@example.org' "
            "BEGIN SELECT RAISE(ABORT, 'trapped'); END"
        )

    await small.service.database.run(trap)
    bodies = [mail(to=f"{name}@example.org") for name in ("ann", "trap", "bob")]
    answers = await asked_while_busy(small, *bodies)
    assert [answer.status_code for answer in answers] == [202, 500, 202]
    assert sorted(str(email.address) for email in await stored(small)) == [
        "ann@example.org",
        "bob@example.org",
        "first@example.org",
    ]


async def test_whoever_gave_up_is_not_sent_to(small: Api) -> None:
    async with Busy(small.service.database):
        first = asyncio.create_task(small.post("/v1/emails", mail(to="first@example.org")))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(small.post("/v1/emails", mail(to="gone@example.org")))
        await asyncio.sleep(0.05)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
    assert (await first).status_code == 202
    assert [email.address for email in await stored(small)] == ["first@example.org"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A web process over a folder of its own; it prints its port and a key."""
    command = [sys.executable, "-m", "tests.benchmarks.accepting", "--serve", str(tmp_path / "data")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})
    yield process
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


async def test_what_was_answered_survives_a_kill(server: subprocess.Popen[bytes], tmp_path: Path) -> None:
    assert server.stdout is not None
    port, key = (await asyncio.to_thread(server.stdout.readline)).decode().split()
    answered: list[str] = []
    limits = httpx2.Limits(max_connections=64)
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, limits=limits) as http:

        async def ask(number: int) -> None:
            answer = await http.post("/v1/emails", json=mail(to=f"p{number}@example.org"))
            answered.append(str(data(answer)["id"]))
            if len(answered) == 40:
                server.send_signal(signal.SIGKILL)

        await asyncio.gather(*(ask(number) for number in range(200)), return_exceptions=True)
    server.wait(20)
    assert len(answered) >= 40
    with sqlite3.connect(tmp_path / "data" / "mailer.db") as file:
        kept = {str(row[0]) for row in file.execute("SELECT id FROM email")}
    file.close()
    assert set(answered) <= kept
