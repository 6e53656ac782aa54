"""`/v1/webhooks`: endpoints, messages, secrets; for their tenant alone, and nowhere inside."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from mailer import events
from mailer.database import Database
from mailer.web.api.endpoints import ENDPOINTS
from mailer.web.api.hooks import HOOKS
from mailer.web.api.openapi import document
from mailer.web.api.shapes.webhooks import DeliveryPage, WebhookPage, WebhookSecretView, WebhookView
from mailer.webhooks.payloads import KINDS, MESSAGES
from tests.test_api_world import Api, data, paths, rows, world

URL = "http://127.0.0.1:9/hook"


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with world(database, scopes=["webhooks"]) as api:
        yield api


async def made(api: Api, **more: object) -> dict[str, object]:
    answer = await api.post("/v1/webhooks", {"url": URL, **more})
    assert answer.status_code == 201
    WebhookSecretView.model_validate_json(answer.content)
    return data(answer)


async def test_an_endpoint_is_made_shown_changed_and_deleted(api: Api) -> None:
    first = await made(api, events=["email.bounced"], description="ours")
    path = f"/v1/webhooks/{first['id']}"
    assert str(first.pop("secret")).startswith("whsec_")
    assert data(await api.get(path)) == first
    assert rows(await api.get("/v1/webhooks")) == [first]
    WebhookPage.model_validate_json((await api.get("/v1/webhooks")).content)
    changed = await api.call("PATCH", path, {"events": None, "enabled": False})
    WebhookView.model_validate_json(changed.content)
    assert (data(changed)["events"], data(changed)["enabled"], data(changed)["disabled_why"]) == (None, False, None)
    again = data(await api.call("PATCH", path, {"enabled": True, "url": URL + "2"}))
    assert (again["enabled"], again["disabled_at"], again["url"]) == (True, None, URL + "2")
    assert data(await api.call("DELETE", path)) == {"id": first["id"], "deleted": True}
    assert (await api.get(path)).status_code == 404


async def test_somebody_elses_endpoint_and_a_key_without_the_scope_find_nothing(api: Api) -> None:
    path = f"/v1/webhooks/{(await made(api))['id']}"
    other = await api.of_tenant("acme")
    for method, tail, body in (
        ("GET", "", None),
        ("PATCH", "", {"description": "x"}),
        ("DELETE", "", None),
        ("POST", "/rotate", None),
        ("POST", "/test", None),
        ("POST", "/replay", {"since": "2027-03-01T09:30:00Z"}),
        ("GET", "/deliveries", None),
    ):
        assert (await other.call(method, path + tail, body)).status_code == 404, (method, tail)
        assert (await (await api.with_key("read")).call(method, path + tail, body)).status_code == 403
    assert (await api.get(path)).status_code == 200


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://169.254.169.254/latest", "not public"),
        ("https://[::ffff:127.0.0.1]/", "not public"),
        ("https://[64:ff9b::a00:1]/", "not public"),
        ("https://10.0.0.1/", "not public"),
        ("http://example.org/", "https"),
        ("https://user:x@example.org/", "user name"),
        ("https://8.8.8.8:22/", "port must be one of"),
        ("ftp://8.8.8.8/", "https"),
    ],
    ids=["metadata", "mapped", "nat64", "private", "http", "userinfo", "port", "ftp"],
)
async def test_an_address_inside_is_refused_when_an_endpoint_is_made_or_moved(api: Api, url: str, why: str) -> None:
    answer = await api.post("/v1/webhooks", {"url": url})
    assert (answer.status_code, paths(answer)) == (422, ["url"])
    assert why in answer.text
    path = f"/v1/webhooks/{(await made(api))['id']}"
    assert (await api.call("PATCH", path, {"url": url})).status_code == 422
    assert data(await api.get(path))["url"] == URL


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"url": URL, "events": ["email.exploded"]}, "events[0]"),
        ({"url": URL, "events": []}, "events"),
        ({"url": URL, "secret": "hello"}, "secret"),
        ({"url": URL, "colour": "red"}, "colour"),
        ({"events": None}, "url"),
        ({"url": ""}, "url"),
    ],
    ids=["event", "no-event", "secret", "unknown", "no-url", "empty"],
)
async def test_a_wrong_value_is_named(api: Api, body: dict[str, object], path: str) -> None:
    answer = await api.post("/v1/webhooks", body)
    assert (answer.status_code, paths(answer)) == (422, [path])


async def test_a_test_a_replay_and_a_rotation(api: Api) -> None:
    endpoint = await made(api)
    path = f"/v1/webhooks/{endpoint['id']}"
    tested = await api.post(f"{path}/test")
    assert tested.status_code == 202
    now = datetime.now(UTC)
    row = events.row(api.tenant_id, "campaign.paused", {"campaign_id": "ca_1"}, now)
    await api.service.database.run(lambda session: events.write(session, [row]))
    answer = await api.get(f"{path}/deliveries?limit=1")
    DeliveryPage.model_validate_json(answer.content)
    [newest] = rows(answer)
    assert (newest["id"], newest["type"], newest["state"]) == (row["id"], "campaign.paused", "waiting")
    assert data(answer)["has_more"] is True
    [oldest] = rows(await api.get(f"{path}/deliveries?after={newest['id']}&state=waiting"))
    assert oldest["id"] == data(tested)["id"]
    assert rows(await api.get(f"{path}/deliveries?state=failed")) == []
    assert (await api.get(f"{path}/deliveries?after=ev_unknown")).status_code == 404
    # What still waits is not sent again.
    again = await api.post(f"{path}/replay", {"since": "2020-03-01T09:30:00Z"})
    assert (again.status_code, data(again)) == (202, {"replayed": 0})
    for wrong in ({}, {"id": "ev_1", "since": "2020-03-01T09:30:00Z"}, {"since": "yesterday"}):
        assert (await api.post(f"{path}/replay", wrong)).status_code == 422
    turned = data(await api.post(f"{path}/rotate"))
    assert turned["secret"] != endpoint["secret"]
    assert turned["old_secret_until"]
    own = "whsec_" + "QUJD" * 8
    assert data(await api.post(f"{path}/rotate", {"secret": own}))["secret"] == own


async def test_there_are_fifty_endpoints_at_most(api: Api) -> None:
    for _ in range(50):
        await made(api)
    answer = await api.post("/v1/webhooks", {"url": URL})
    assert (answer.status_code, "delete one first" in answer.text) == (409, True)


def test_the_openapi_document_has_every_message() -> None:
    told = document(ENDPOINTS, HOOKS)["webhooks"]
    assert isinstance(told, dict)
    assert set(told) == set(MESSAGES) == {*KINDS, "webhook.test"}
