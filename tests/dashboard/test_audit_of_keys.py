"""What product code does with a key stands in the audit log, under the key's name."""

from collections.abc import AsyncIterator, Mapping

import pytest
from sqlmodel import Session

from mailer import tenancy
from mailer.models import Scope
from tests.dashboard.house import House, open_house

TEMPLATE = {
    "name": "recipe",
    "stream": "promotional",
    "topic": "newsletter",
    "parts": {"en": {"subject": "Recipe", "text": "Soup."}},
}
NO_HEADERS: Mapping[str, str] = {}
LISTED = b'{"email": "kim@example.org", "reason": "hard_bounce"}\n'


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[House]:
    async with open_house(database_url, postal_address="1 Main Street, Kyiv") as house:
        yield house


def key_of(session: Session, house: House) -> str:
    tenant = tenancy.only_tenant(session, "default")
    return tenancy.create_key(session, tenant.id or 0, "shop", scopes=[Scope.ADMIN], now=house.now()).plain


async def test_what_a_key_does_is_written_down_with_its_name_and_no_address(house: House) -> None:
    await house.user()

    key = await house.service.database.run(lambda session: key_of(session, house))
    async with house.browser() as ann:
        client = ann.client

        async def ask(
            method: str, path: str, json: object = None, content: bytes = b"", headers: Mapping[str, str] = {}
        ) -> object:
            named = {"Authorization": f"Bearer {key}", **headers}
            answer = await client.request(method, path, json=json, content=content or None, headers=named)
            assert answer.status_code < 300, f"{path}: {answer.text}"
            return answer.json() if answer.headers["content-type"].startswith("application/json") else answer.text

        campaign = {"name": "Spring", "topic": "newsletter", "subject": "Hello", "text": "A line."}
        made = await ask("POST", "/v1/campaigns", campaign)
        assert isinstance(made, dict)
        once = {"Idempotency-Key": "one"}
        for _ in range(2):
            await ask("POST", f"/v1/campaigns/{made['id']}/start", headers=once)
        await ask("POST", f"/v1/campaigns/{made['id']}/cancel")
        await ask("POST", "/v1/topics", {"key": "recipes", "stream": "promotional", "names": {"en": "Recipes"}})
        await ask("PATCH", "/v1/topics/recipes", {"retired": True})
        await ask("POST", "/v1/templates", TEMPLATE)
        await ask(
            "POST",
            "/v1/suppressions/import",
            content=LISTED,
            headers={"Content-Type": "application/x-ndjson"},
        )
        await ask("GET", "/v1/suppressions/export")
        listed = await ask("GET", "/v1/suppressions")
        assert isinstance(listed, dict)
        await ask("DELETE", f"/v1/suppressions/{listed['data'][0]['id']}", {"note": "it exists again"})
        await ask("DELETE", "/v1/people/kim@example.org")
        assert [act for act in await house.acts() if not act.startswith("user.")] == [
            "campaign.created",
            "campaign.started",
            "campaign.cancelled",
            "topic.created",
            "topic.changed",
            "template.saved",
            "suppression.imported",
            "suppression.exported",
            "suppression.lifted",
            "person.erased",
        ]
        await ann.sign_in()
        await ann.get("@/audit")
        assert ann.text.count("API key shop") == 10
        assert "kim@example.org" not in ann.text
        assert "Spring" not in ann.text


@pytest.mark.parametrize("path", ["/v1/topics/nothing", "/v1/campaigns/ca_nothing"])
async def test_what_was_refused_is_no_act(house: House, path: str) -> None:
    key = await house.service.database.run(lambda session: key_of(session, house))
    async with house.browser() as ann:
        headers = {"Authorization": f"Bearer {key}"}
        assert (await ann.client.patch(path, json={}, headers=headers)).status_code == 404
    assert await house.acts() == []
