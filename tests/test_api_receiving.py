"""Inbound mail over HTTP: the operator hands in what somebody else received."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import update
from sqlmodel import SQLModel

from mailer.database import Database
from mailer.models import Email
from mailer.status import Status
from mailer.web.api import shapes
from tests.servers import Mail
from tests.stories import returning
from tests.test_api_world import SETTINGS, Api, data, mail, world

DOMAIN = "b.example.org"
EMAIL = SQLModel.metadata.tables["email"]
RAW = "/v1/inbound/raw"
TYPE = {"Content-Type": "message/rfc822"}


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with world(database, replace(SETTINGS, return_path_domain=DOMAIN)) as api:
        yield api


async def sent(api: Api) -> tuple[str, Mail]:
    """Accept a mail, leave it as a worker leaves it, and return what the relay took."""
    identifier = str(data(await api.post("/v1/emails", mail()))["id"])
    moment = datetime.now(UTC)
    values = {"status": Status.SENT, "intent_at": moment, "sent_at": moment, "settled_at": moment, "attempts": 1}
    changed = update(EMAIL).where(EMAIL.c.id == identifier).values(**values)
    await api.service.database.run(lambda session: session.execute(changed))
    path = str(api.service.intake.links.return_path(identifier))
    head = f"Message-ID: <{identifier}@mailer.example>\r\nTo: ann@example.org\r\n\r\n".encode()
    return identifier, Mail(path, "ann@example.org", head, head, 1, "")


async def status(api: Api, identifier: str) -> Status:
    return await api.service.database.read(lambda session: session.get_one(Email, identifier).status)


@pytest.mark.parametrize("named", [True, False], ids=["in the query", "in the mail"])
async def test_a_bounce_is_handed_in(api: Api, named: bool) -> None:
    identifier, took = await sent(api)
    raw = returning.bounce(took)
    answer = await api.post(f"{RAW}?to={took.sender.replace('+', '%2B')}" if named else RAW, raw, **TYPE)
    assert answer.status_code == 200, answer.text
    assert shapes.TakenView.model_validate(data(answer)) == shapes.TakenView(taken=True, reply="250 2.0.0 Noted")
    assert await status(api, identifier) is Status.BOUNCED


@pytest.mark.parametrize(
    ("query", "body", "code", "words"),
    [
        ("?to=b%2Bforged@b.example.org", b"Subject: x\r\n\r\n", 404, "no such address"),
        ("?to=ann@example.org", b"Subject: x\r\n\r\n", 404, "no such address"),
        ("", b"To: ann@example.org\r\n\r\n", 422, "for which address"),
        ("", b"", 422, "for which address"),
        ("?to=abuse@b.example.org", b"Subject: hello\r\n\r\nYou sent me spam.\r\n", 422, "Only feedback reports"),
        ("?from=x", b"", 422, "from"),
        ("", b"x" * (25 * 1024 * 1024 + 1), 413, "25 MB"),
    ],
    ids=["forged", "stranger", "no address", "empty", "a person", "unknown field", "too large"],
)
async def test_what_cannot_be_taken_is_told(api: Api, query: str, body: bytes, code: int, words: str) -> None:
    answer = await api.post(RAW + query, body, **TYPE)
    assert answer.status_code == code, answer.text
    assert words in answer.text


async def test_only_the_operator_hands_mail_in(api: Api) -> None:
    identifier, took = await sent(api)
    path, raw = f"{RAW}?to={took.sender.replace('+', '%2B')}", returning.bounce(took)
    assert (await (await api.with_key("read", "suppressions")).post(path, raw, **TYPE)).status_code == 403
    customer = await api.of_tenant("customer")
    assert (await customer.post(path, raw, **TYPE)).status_code == 403
    assert await status(api, identifier) is Status.SENT


async def test_without_a_domain_nothing_is_taken(sqlite: Database) -> None:
    async with world(sqlite) as api:
        answer = await api.post(RAW, b"Subject: x\r\n\r\n", **TYPE)
    assert (answer.status_code, "MAILER_RETURN_PATH_DOMAIN" in answer.text) == (409, True)
