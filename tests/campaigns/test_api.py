"""Campaigns over HTTP, from the draft to the report."""

import asyncio
import time
from collections.abc import AsyncIterator

import orjson
import pytest
from sqlmodel import Session, col, select
from starlette.applications import Starlette
from starlette.types import Message, Receive, Send

from mailer import campaigns
from mailer.database import Database
from mailer.models import Email, Topic
from mailer.status import Status
from mailer.web import api as routes
from mailer.web.api import shapes
from suppression.rules import Stream
from tests.campaigns.world import SOON, asked
from tests.test_api_world import Api, Json, data, paths, rows, variables, world

SCOPES = ("campaigns",)
NEWSLETTER: Json = {"name": "March", "template": "newsletter"}


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with world(database, scopes=SCOPES) as api:
        yield api


@pytest.fixture
async def small(sqlite: Database) -> AsyncIterator[Api]:
    async with world(sqlite, scopes=SCOPES) as api:
        yield api


async def made(api: Api, **more: object) -> str:
    response = await api.post("/v1/campaigns", more or asked())
    assert response.status_code == 201, response.text
    return str(data(response)["id"])


async def step(api: Api, campaign: str, name: str, body: object = None) -> shapes.CampaignView:
    response = await api.post(f"/v1/campaigns/{campaign}/{name}", body)
    assert response.status_code == 200, response.text
    return shapes.CampaignView.model_validate(data(response))


async def sent(api: Api, campaign: str, body: bytes, kind: str = "application/x-ndjson") -> Json:
    response = await api.post(f"/v1/campaigns/{campaign}/recipients", body, content_type=kind)
    assert response.status_code == 200, response.text
    shapes.AddedRecipientsView.model_validate(data(response))
    return data(response)


async def test_a_campaign_from_its_draft_to_its_report(api: Api) -> None:
    shared = {name: value for name, value in variables("newsletter").items() if name != "headline"}
    campaign = await made(api, **NEWSLETTER, variables=shared, tags={"season": "spring"})
    shown = shapes.CampaignView.model_validate(data(await api.get(f"/v1/campaigns/{campaign}")))
    assert (shown.status, shown.stream, shown.topic, shown.progress.requested) == (
        "draft",
        "promotional",
        "newsletter",
        0,
    )
    lines = [{"email": f"p{place}@example.org", "variables": {"headline": "Hi"}} for place in range(3)]
    added = await sent(api, campaign, b"\n".join(map(orjson.dumps, [*lines, {"email": "nobody"}])))
    assert added == {
        "new": 3,
        "duplicates": 0,
        "suppressed": 0,
        "refused": 1,
        "lines": [{"line": 4, "reason": "the address has no @"}],
    }
    assert (
        await sent(api, campaign, b"email;headline\np3@example.org;Hi\np0@example.org;Hi", "text/csv; charset=utf-8")
    )["duplicates"] == 1
    listed = {"recipients": ["p1@example.org", {"email": "p4@example.org", "variables": {"headline": "Hi"}}]}
    assert (await sent(api, campaign, orjson.dumps(listed), "application/json"))["refused"] == 1
    assert api.service.rung == []
    assert (await step(api, campaign, "start")).status == "running"
    assert api.service.rung == [Stream.PROMOTIONAL]
    await sent(api, campaign, b'{"email": "p5@example.org", "variables": {"headline": "Hi"}}')
    assert api.service.rung == [Stream.PROMOTIONAL] * 2
    assert (await step(api, campaign, "pause", {"note": "a typo"})).note == "a typo"
    assert (await step(api, campaign, "resume")).status == "running"
    assert (await step(api, campaign, "cancel")).status == "cancelled"

    def sweep(session: Session) -> int:
        return campaigns.sweep(session, api.service.intake, api.service.now())

    assert await api.service.database.run(sweep) == 6
    shown = shapes.CampaignView.model_validate(data(await api.get(f"/v1/campaigns/{campaign}")))
    assert (shown.progress.requested, shown.progress.cancelled, shown.progress.held) == (6, 6, 0)
    report = shapes.CampaignReportView.model_validate(data(await api.get(f"/v1/campaigns/{campaign}/report")))
    assert (report.numbers["requested"].value, report.numbers["held"].value) == (6, 0)
    assert all(number.formula for number in report.numbers.values())


async def test_recipients_page_from_the_newest_and_by_status(api: Api) -> None:
    campaign, other = await made(api), await made(api)
    await sent(api, other, b"email\nx@example.org", "text/csv")
    await sent(api, campaign, b"email\n" + b"\n".join(b"p%d@example.org" % place for place in range(5)), "text/csv")
    path, seen = f"/v1/campaigns/{campaign}/recipients", list[object]()
    page = await api.get(f"{path}?limit=2")
    while True:
        shapes.EmailPage.model_validate(data(page))
        seen += [email["to"] for email in rows(page)]
        if not data(page)["has_more"]:
            break
        page = await api.get(f"{path}?limit=2&after={rows(page)[-1]['id']}")
    assert seen == [f"p{place}@example.org" for place in reversed(range(5))]
    assert len(rows(await api.get(f"{path}?status=held"))) == 5
    assert rows(await api.get(f"{path}?status=sent")) == []


async def test_lists_show_how_far_each_is(small: Api) -> None:
    made_ids = [await made(small) for _ in range(3)]
    await sent(small, made_ids[1], b"email\nx@example.org", "text/csv")
    page = data(await small.get("/v1/campaigns?limit=2"))
    shapes.CampaignPage.model_validate(page)
    assert page["has_more"] is True
    found = rows(await small.get("/v1/campaigns?status=draft"))
    assert [(each["id"], each["progress"]["requested"]) for each in found] == [  # type: ignore[index]
        (made_ids[2], 0),
        (made_ids[1], 1),
        (made_ids[0], 0),
    ]
    assert rows(await small.get("/v1/campaigns?status=running")) == []


async def test_a_step_that_cannot_be_taken_is_409_and_taking_it_twice_is_taking_it_once(small: Api) -> None:
    campaign = await made(small)
    await step(small, campaign, "cancel")
    await step(small, campaign, "cancel")
    response = await small.post(f"/v1/campaigns/{campaign}/start")
    assert (response.status_code, "cancelled" in response.text) == (409, True)
    response = await small.post(f"/v1/campaigns/{campaign}/recipients", b"{}", content_type="text/csv")
    assert response.status_code == 409
    for name in ("start", "pause", "resume", "cancel", "test", "schedule"):
        body = (
            {"to": "a@b.example"}
            if name == "test"
            else {"scheduled_at": SOON.isoformat()}
            if name == "schedule"
            else {}
        )
        assert (await small.post(f"/v1/campaigns/ca_nothing/{name}", body)).status_code == 404
    for path in ("", "/report", "/recipients"):
        assert (await small.get(f"/v1/campaigns/ca_nothing{path}")).status_code == 404


async def test_a_repeated_request_makes_one_campaign(small: Api) -> None:
    first = await small.post("/v1/campaigns", asked(), idempotency_key="k")
    again = await small.post("/v1/campaigns", asked(), idempotency_key="k")
    assert (first.content, again.headers["idempotency-replayed"]) == (again.content, "true")
    assert len(rows(await small.get("/v1/campaigns"))) == 1


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"topic": None}, "topic"),
        ({"topic": "nothing"}, "topic"),
        ({"from": "x@elsewhere.example"}, "from"),
        ({"subject": None}, "subject"),
        ({"stream": "promotional"}, "stream"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"template": "newsletter"}, "subject"),
        ({"headers": {"Precedence": "bulk"}}, "headers.Precedence"),
    ],
)
async def test_what_is_wrong_with_a_campaign_is_said(small: Api, change: Json, path: str) -> None:
    response = await small.post("/v1/campaigns", {**asked(), **change})
    assert response.status_code == 422
    assert path in paths(response)


async def test_shared_variables_are_checked_at_once(small: Api) -> None:
    response = await small.post("/v1/campaigns", {**NEWSLETTER, "variables": {"issue": 5, "other": 1}})
    assert paths(response) == ["variables.issue", "variables.other"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "path"),
    [
        (b"", "text/csv", 422, "recipients"),
        (b"name\nAnn", "text/csv", 422, "recipients"),
        ("email\n".encode("utf-16"), "text/csv", 422, "recipients"),
        (b"email\nann@example.org", "text/plain", 422, "Content-Type"),
        (b"{}", "application/json", 422, "recipients"),
        (b'{"recipients": []}', "application/json", 422, "recipients"),
        (b"{", "application/json", 400, None),
    ],
)
async def test_an_upload_that_is_of_no_use_is_refused_whole(
    small: Api, body: bytes, kind: str, status: int, path: str | None
) -> None:
    campaign = await made(small)
    response = await small.post(f"/v1/campaigns/{campaign}/recipients", body, content_type=kind)
    assert response.status_code == status, response.text
    assert paths(response) == ([path] if path else [])


async def test_a_connection_that_breaks_keeps_what_was_committed(small: Api) -> None:
    campaign = await made(small)
    lines = b"email\n" + b"".join(b"p%d@example.org\n" % place for place in range(2500))
    pieces: list[Message] = [
        {"type": "http.request", "body": lines[:-5000], "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return pieces.pop(0)

    answered = list[Message]()

    async def send(message: Message) -> None:
        answered.append(message)

    app = Starlette(routes=routes.routes(small.service))
    headers = [(b"authorization", f"Bearer {small.key}".encode()), (b"content-type", b"text/csv")]
    path = f"/v1/campaigns/{campaign}/recipients"
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""}
    receiving: Receive = receive
    sending: Send = send
    await app(scope, receiving, sending)
    assert answered == []
    again = await sent(small, campaign, lines, "text/csv")
    assert (again["new"], again["duplicates"]) == (500, 2000)


async def test_a_test_is_one_mail_outside_of_the_campaign(small: Api) -> None:
    campaign = await made(small, **NEWSLETTER, variables={"issue": "7"})
    body = {"to": ["ann@example.org", "bob@example.org"], "variables": {"headline": "Look"}}
    response = await small.post(f"/v1/campaigns/{campaign}/test", body)
    assert response.status_code == 202, response.text
    shapes.BatchView.model_validate(data(response))
    assert small.service.rung == [Stream.PROMOTIONAL]

    def stored(session: Session) -> list[Email]:
        return list(session.exec(select(Email).order_by(col(Email.id))))

    emails = await small.service.database.read(stored)
    assert [(email.address, email.status, email.campaign_id) for email in emails] == [
        ("ann@example.org", Status.QUEUED, None),
        ("bob@example.org", Status.QUEUED, None),
    ]
    assert emails[0].tags == {"test": "true"}
    assert emails[0].variables is not None
    assert (emails[0].variables["issue"], emails[0].variables["headline"]) == ("7", "Look")
    assert (await step(small, campaign, "start")).progress.requested == 0


async def test_a_campaign_is_changed_and_deleted(small: Api) -> None:
    campaign = await made(small)
    response = await small.call("PATCH", f"/v1/campaigns/{campaign}", {"name": "Other", "subject": "Other"})
    shown = shapes.CampaignView.model_validate(data(response))
    assert (shown.name, shown.subject) == ("Other", "Other")
    response = await small.call("DELETE", f"/v1/campaigns/{campaign}")
    shapes.DeletedView.model_validate(data(response))
    assert (await small.get(f"/v1/campaigns/{campaign}")).status_code == 404


async def test_a_transactional_topic_makes_a_transactional_campaign(small: Api) -> None:
    campaign = await made(small, **asked(topic="notifications"))
    await sent(small, campaign, b"email\nx@example.org", "text/csv")

    def leavable(session: Session) -> tuple[Stream, bool]:
        email = session.exec(select(Email)).one()
        assert session.exec(select(Topic).where(Topic.key == "notifications")).one()
        return email.stream, email.leavable

    assert await small.service.database.read(leavable) == (Stream.TRANSACTIONAL, True)


@pytest.mark.parametrize("body", [b"name\nx\n", b"email,email\nann@example.org,ann@example.org\n", b"\xff\xfee\x00"])
async def test_a_file_of_no_use_is_told_why(small: Api, body: bytes) -> None:
    response = await small.post(f"/v1/campaigns/{await made(small)}/recipients", body, content_type="text/csv")
    assert response.status_code == 422, response.text
    assert paths(response) == ["recipients"]


async def test_a_quote_that_nothing_closes_leaves_the_event_loop_to_others(small: Api) -> None:
    campaign, longest = await made(small), 0.0

    async def others() -> None:
        nonlocal longest
        while True:
            since = time.monotonic()
            await asyncio.sleep(0)
            longest = max(longest, time.monotonic() - since)

    watching = asyncio.create_task(others())
    told = await sent(small, campaign, b'email\n"' + b"a\n" * 40_000, "text/csv")
    watching.cancel()
    assert told["refused"] == 40_000
    assert longest < 0.5


@pytest.mark.parametrize("name", ["start", "resume", "cancel"])
async def test_a_step_takes_no_body_but_an_empty_one(small: Api, name: str) -> None:
    campaign = await made(small)
    path = f"/v1/campaigns/{campaign}/{name}"
    for body, status, where in (
        (b'{"x": 1}', 422, ["x"]),
        (b"{bad", 400, []),
        (b"[]", 422, [""]),
        (b"null", 422, [""]),
    ):
        response = await small.post(path, body)
        assert (response.status_code, paths(response)) == (status, where), body
    assert data(await small.get(f"/v1/campaigns/{campaign}"))["status"] == "draft"
    for empty in (b"", b"{}", b" {}\n"):
        assert (await small.post(path, empty)).status_code in ((200, 409) if name == "resume" else (200,))


async def test_a_path_or_filter_with_a_nul_leads_nowhere(api: Api) -> None:
    everything = await api.with_key("admin")
    for path in ("campaigns/%00", "emails/%00", "templates/%00", "templates/%00/versions", "emails/x%00y"):
        assert (await everything.get(f"/v1/{path}")).status_code == 404, path
    resolved = await everything.post("/v1/emails/%00/resolve", {"as": "sent"})
    assert resolved.status_code == 404
    for path in ("emails?campaign_id=%00", "emails?tag=a=%00", "metrics?tag=a=%00", "campaigns?after=%00"):
        response = await everything.get(f"/v1/{path}")
        name = path.partition("?")[2].partition("=")[0]
        assert (response.status_code, paths(response)) == (422, [name]), path


async def test_a_nul_in_a_campaign_is_told_by_its_field(api: Api) -> None:
    for changed, where in (
        ({"text": "a\0b"}, "text"),
        ({"subject": "a\0b"}, "subject"),
        ({"name": "a\0b"}, "name"),
        ({"tags": {"season": "\0"}}, "tags.season"),
    ):
        assert paths(await api.post("/v1/campaigns", asked(**changed))) == [where]
    shared = {**variables("newsletter"), "headline": "a\0b"}
    assert paths(await api.post("/v1/campaigns", {**NEWSLETTER, "variables": shared})) == ["variables.headline"]
    shared.pop("headline")
    campaign = await made(api, **NEWSLETTER, variables=shared)
    bad = {"email": "ann@example.org", "variables": {"headline": "a\0b"}}
    good = {"email": "bob@example.org", "variables": {"headline": "\\u0000"}}
    for body, kind in (
        (orjson.dumps(bad) + b"\n" + orjson.dumps(good), "application/x-ndjson"),
        (orjson.dumps({"recipients": [bad, good]}), "application/json"),
        (b"email,headline\nann@example.org,a\0b\nbob@example.org,Hi\n", "text/csv"),
    ):
        told = await sent(api, campaign, body, kind)
        assert told["refused"] == 1
        assert "headline" in str(told["lines"])


async def test_a_filter_that_is_not_known_is_refused_where_there_are_none_too(small: Api) -> None:
    everything = await small.with_key("admin")
    campaign = await made(small)
    for path in (f"campaigns/{campaign}/report", f"campaigns/{campaign}", "streams", "templates", "topics"):
        response = await everything.get(f"/v1/{path}?x=1")
        assert (response.status_code, paths(response)) == (422, ["x"]), path
        assert (await everything.get(f"/v1/{path}")).status_code == 200, path
