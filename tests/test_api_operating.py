"""Operators ask over the API: how the streams stand, and what became of mail that a crash left in doubt."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from sqlmodel import SQLModel

from mailer import halts
from mailer.database import Database
from mailer.status import Status
from mailer.web.api import shapes
from suppression.rules import Stream
from tests.test_api_world import Api, Json, data, mail, news, paths, rows, world

EMAIL = SQLModel.metadata.tables["email"]
P = Stream.PROMOTIONAL


@pytest.fixture
async def api(sqlite: Database) -> AsyncIterator[Api]:
    async with world(sqlite) as api:
        yield api


async def doubtful(api: Api) -> str:
    """Accept a promotional mail, and leave it as a dead worker leaves it."""
    identifier = str(data(await api.post("/v1/emails", news()))["id"])
    moment = datetime.now(UTC)
    values = {"status": Status.UNCERTAIN, "intent_at": moment, "settled_at": moment}
    changed = update(EMAIL).where(EMAIL.c.id == identifier).values(**values)
    await api.service.database.run(lambda session: session.execute(changed))
    api.service.rung.clear()
    return identifier


async def streams(api: Api) -> dict[str, shapes.StreamView]:
    page = shapes.StreamPage.model_validate(data(await api.get("/v1/streams")))
    return {view.stream: view for view in page.data}


@pytest.mark.parametrize(("word", "status"), [("sent", "sent"), ("failed", "failed"), ("again", "queued")])
async def test_an_uncertain_email_is_resolved_once(api: Api, word: str, status: str) -> None:
    identifier = await doubtful(api)
    listed = await api.get("/v1/emails?status=uncertain")
    assert [each["id"] for each in rows(listed)] == [identifier]
    path = f"/v1/emails/{identifier}/resolve"
    answer = await api.post(path, {"as": word, "note": "the relay's log says so"})
    assert answer.status_code == 200, answer.text
    told = shapes.ChangedView.model_validate(data(answer))
    assert (told.id, told.status) == (identifier, status)
    assert api.service.rung == ([P] if word == "again" else [])
    shown = shapes.EmailView.model_validate(data(await api.get(f"/v1/emails/{identifier}")))
    extra = shown.events[-1].model_extra
    assert shown.events[-1].type == f"email.{status}"
    assert extra == {"resolved_by": "operator:all", "note": "the relay's log says so"}
    assert shown.maybe_duplicate is (word == "again")
    again = await api.post(path, {"as": word})
    assert again.status_code == 409
    assert f"the email is {status}, not uncertain" in str(data(again)["detail"])
    assert rows(await api.get("/v1/emails?status=uncertain")) == []


@pytest.mark.parametrize(
    ("body", "path"),
    [({}, "as"), ({"as": "maybe"}, "as"), ({"as": "sent", "why": "x"}, "why"), ({"as": "sent", "note": " "}, "note")],
)
async def test_a_resolution_that_is_none_is_422_and_named(api: Api, body: Json, path: str) -> None:
    answer = await api.post(f"/v1/emails/{await doubtful(api)}/resolve", body)
    assert (answer.status_code, paths(answer)) == (422, [path])


async def test_only_an_operator_resolves_and_only_the_tenants_own(api: Api) -> None:
    identifier = await doubtful(api)
    for scopes in (("send:promotional", "read"), ("campaigns",)):
        limited = await api.with_key(*scopes)
        assert (await limited.post(f"/v1/emails/{identifier}/resolve", {"as": "sent"})).status_code == 403
    other = await api.of_tenant("acme")
    assert (await other.post(f"/v1/emails/{identifier}/resolve", {"as": "sent"})).status_code == 404
    assert (await api.post("/v1/emails/em_nobody/resolve", {"as": "sent"})).status_code == 404


async def test_streams_that_go_say_so(api: Api) -> None:
    found = await streams(api)
    assert set(found) == {"transactional", "promotional"}
    for view in found.values():
        assert (view.paused, view.oldest_due_at, view.queue_age_seconds, view.summary) == (False, None, 0.0, "goes")
        assert [(relay.name, relay.resting) for relay in view.relays] == [("inbox", False)]


async def test_the_streams_are_shown_to_the_operators_own_keys_alone(api: Api) -> None:
    reader = await api.with_key("read")
    assert (await reader.get("/v1/streams")).status_code == 200
    customer = await api.of_tenant("acme")
    answer = await customer.get("/v1/streams")
    assert (answer.status_code, data(answer)["detail"]) == (
        403,
        "the streams are the operator's: ask with a key of the tenant default",
    )


async def test_a_paused_stream_says_why_and_how_long_mail_waits(api: Api) -> None:
    since = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
    await api.service.database.run(lambda session: halts.pause(session, P, "wrong prices", since))
    await api.post("/v1/emails", news())
    found = await streams(api)
    paused = found["promotional"]
    assert (paused.paused, paused.reason, paused.since) == (True, "wrong prices", since)
    assert paused.oldest_due_at is not None
    assert paused.summary == "an operator paused it at 2026-03-01 09:30:00 UTC: wrong prices"
    assert not found["transactional"].paused


async def test_a_relay_that_rests_says_why_and_until_when(api: Api) -> None:
    now = datetime.now(UTC)

    async def fail(relay: str) -> None:
        await api.service.database.run(
            lambda session: halts.failed(session, P, relay, "it cannot be reached", now + timedelta(seconds=5))
        )

    await fail("smtp://old.example:25")
    assert "nothing goes" not in (await streams(api))["promotional"].summary
    await fail("inbox")
    view = (await streams(api))["promotional"]
    assert [(relay.name, relay.reason, relay.failures) for relay in view.relays] == [
        ("inbox", "it cannot be reached", 1),
        ("smtp://old.example:25", "it cannot be reached", 1),
    ]
    assert all(relay.until is not None and relay.until > now for relay in view.relays)
    assert view.summary.startswith("nothing goes, because every relay rests; inbox rests since ")


async def test_an_entry_stops_waiting_mail_at_once(api: Api) -> None:
    identifier = data(await api.post("/v1/emails", mail()))["id"]
    added = data(await api.post("/v1/suppressions", {"email": "ann@example.org", "note": "asked by phone"}))
    shown = data(await api.get(f"/v1/emails/{identifier}"))
    assert (shown["status"], shown["suppression"]) == ("suppressed", {"id": added["id"], "reason": "manual"})
