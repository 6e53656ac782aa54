"""Product code asks for a person; only the person's mailbox says yes."""

from collections.abc import AsyncIterator

import pytest

from mailer.database import Database
from suppression.rules import Stream
from tests.test_api_world import Api, Json, data, paths, stored, world

ASKED: Json = {"topics": ["newsletter"], "source": "profile page", "wording": "2027-01", "ip": "192.0.2.7"}
PATH = "/v1/people/ann@example.org/subscribe"


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with world(database) as api:
        yield await api.with_key("people")


async def test_a_person_is_asked_by_mail(api: Api) -> None:
    answer = await api.post(PATH, ASKED, Idempotency_Key="1")
    [mail] = await stored(api)
    assert (answer.status_code, data(answer)) == (202, {"id": mail.id, "status": "queued"})
    assert (mail.template, mail.address) == ("confirm-subscription", "ann@example.org")
    assert api.service.rung == [Stream.TRANSACTIONAL]
    again = await api.post(PATH, ASKED, Idempotency_Key="1")
    assert (data(again), again.headers["idempotency-replayed"]) == (data(answer), "true")


async def test_asked_too_often_is_said_to_product_code(api: Api) -> None:
    await api.post(PATH, ASKED)
    answer = await api.post(PATH, ASKED, Idempotency_Key="2")
    assert answer.status_code == 429
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(await stored(api)) == 1


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"topics": []}, "topics"),
        ({"topics": ["nothing"]}, "topics"),
        ({"source": ""}, "source"),
        ({"wording": "w" * 41}, "wording"),
        ({"ip": "here"}, "ip"),
        ({"granted": True}, "granted"),
        ({"name": "a\r\nb"}, "name"),
    ],
)
async def test_what_cannot_be_asked_names_the_field(api: Api, change: Json, path: str) -> None:
    answer = await api.post(PATH, ASKED | change)
    assert answer.status_code == 422
    assert paths(answer) == [path]
    assert paths(await api.post("/v1/people/ann/subscribe", ASKED)) == ["email"]
    assert await stored(api) == []


async def test_another_scope_may_not(api: Api) -> None:
    other = await api.with_key("send:transactional", "suppressions", "read")
    assert (await other.post(PATH, ASKED)).status_code == 403
