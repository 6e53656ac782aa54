"""Reports over HTTP and on the command line: as JSON of the document's types, as CSV, and who may see what."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx2
import pytest
from pydantic import BaseModel
from sqlmodel import Session

from mailer.counters import Tally, dimensions
from mailer.database import Database
from mailer.models import Campaign, Opens
from mailer.web.api import shapes
from tests.campaigns.world import asked
from tests.test_api_world import Api, data, news, paths, world

SCOPES = ("campaigns", "read", "people", "send:promotional")


@pytest.fixture
async def api(sqlite: Database) -> AsyncIterator[Api]:
    async with world(sqlite, scopes=SCOPES) as api:
        yield api


async def made(api: Api, **more: object) -> str:
    """Make a campaign of which something is told."""
    identifier = str(data(await api.post("/v1/campaigns", asked(**more)))["id"])
    now = api.service.now()
    tally = Tally()
    dims = dimensions(tags={"team": "=cmd"}, topic="newsletter", template=None, campaign=identifier, provider="gmail")
    for metric, number in (("requested", 100), ("sent", 90), ("tracked", 80), ("tracked:individual", 80), ("read", 20)):
        tally.add(api.tenant_id, now.date(), "promotional", metric, dims, number, at=now + timedelta(seconds=1))

    def started(session: Session) -> None:
        tally.write(session)
        session.get_one(Campaign, identifier).started_at = now

    await api.service.database.run(started)
    return identifier


async def sheet(api: Api, path: str) -> list[list[str]]:
    """Return a report as CSV."""
    answer = await api.call("GET", path, None, Accept="text/csv")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    assert answer.headers["cache-control"] == "no-store"
    return list(csv.reader(io.StringIO(answer.text)))


async def test_every_report_is_told_as_json_and_as_csv(api: Api) -> None:
    first, second = await made(api, tracking={"opens": "individual"}), await made(api, name="Other")
    report = f"/v1/campaigns/{first}/report"
    told: dict[str, tuple[type[BaseModel], str]] = {
        "/v1/metrics": (shapes.MetricsView, "figure"),
        **{
            f"/v1/metrics/table?by={by}": (shapes.TableView, by)
            for by in ("stream", "topic", "template", "campaign", "tag", "provider", "link")
        },
        "/v1/metrics/series?step=hour&days=2&tz=Europe/Kyiv": (shapes.SeriesView, "hour"),
        "/v1/metrics/series?stream=promotional": (shapes.SeriesView, "day"),
        report: (shapes.CampaignReportView, "figure"),
        f"{report}/table?by=provider": (shapes.TableView, "provider"),
        f"{report}/table?by=link": (shapes.TableView, "link"),
        f"{report}/series?days=2": (shapes.SeriesView, "hour"),
        f"{report}/comparison?with={second}": (shapes.ComparisonView, "rate"),
        f"{report}/people?did=bounced": (shapes.DoersPage, "email_id"),
    }
    for path, (shape, column) in told.items():
        shape.model_validate(data(await api.get(path)))
        assert (await sheet(api, path))[0][0] == column, path


async def test_a_campaigns_report_tells_its_first_days_and_how_many_are_likely_to_have_read_it(api: Api) -> None:
    identifier = await made(api)
    found = shapes.CampaignReportView.model_validate(data(await api.get(f"/v1/campaigns/{identifier}/report")))
    assert found.numbers["open_rate"].value == 0.25
    assert (found.first["24h"].counts["opened"], found.first["24h"].complete) == (20, False)
    estimate = found.estimated_open_rate
    assert (estimate.rate, estimate.of, [each.provider for each in estimate.providers]) == (0.25, 80, ["gmail"])
    rows = await sheet(api, f"/v1/campaigns/{identifier}/report")
    assert rows[0] == ["figure", "number", "first 24h", "first 3d", "first 7d", "formula"]
    assert [row[:3] for row in rows if row[0] in ("opened", "open_rate")] == [
        ["opened", "20", "20"],
        ["open_rate", "0.25", ""],
    ]


async def test_a_cell_that_a_spreadsheet_would_run_is_text(api: Api) -> None:
    await made(api)
    assert [row[0] for row in await sheet(api, "/v1/metrics/table?by=tag")] == ["tag", "team==cmd"]
    await api.post("/v1/emails", news(tags={"a": "b"}))
    campaign = await made(api, name="=HYPERLINK(1)")
    rows = await sheet(api, "/v1/metrics/table?by=campaign")
    assert [row[1] for row in rows if row[0] == campaign] == ["'=HYPERLINK(1)"]


async def test_who_did_what_wants_the_scope_of_people_and_individual_measuring(api: Api) -> None:
    identifier = await made(api, tracking={"opens": "aggregate"})
    path = f"/v1/campaigns/{identifier}/report/people?did="
    assert (await (await api.with_key("campaigns", "read")).get(f"{path}bounced")).status_code == 403
    refused = await api.get(f"{path}opened")
    assert refused.status_code == 409
    assert "aggregate" in refused.text

    def individually(session: Session) -> None:
        session.get_one(Campaign, identifier).opens = Opens.INDIVIDUAL

    await api.service.database.run(individually)
    assert data(await api.get(f"{path}opened")) == {"data": [], "has_more": False, "after": None}


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("metrics/table", "by"),
        ("metrics/table?by=moon", "by"),
        ("metrics/table?by=topic&limit=501", "limit"),
        ("metrics/series?tz=Mars", "tz"),
        ("metrics/series?step=hour&days=40", "from"),
        ("metrics/series?from=2027-02-30", "from"),
        ("campaigns/ID/report/table?by=topic", "by"),
        ("campaigns/ID/report/comparison", "with"),
        ("campaigns/ID/report/people?did=laughed", "did"),
        ("campaigns/ID/report/people?did=bounced&after=x", "after"),
    ],
)
async def test_what_makes_no_sense_is_422_and_names_its_field(api: Api, query: str, path: str) -> None:
    answer: httpx2.Response = await api.get("/v1/" + query.replace("ID", await made(api)))
    assert (answer.status_code, paths(answer)) == (422, [path])


async def test_strangers_campaigns_are_not_found(api: Api) -> None:
    identifier = await made(api)
    for path in ("report", "report/table?by=link", "report/series", f"report/comparison?with={identifier}"):
        assert (await api.get(f"/v1/campaigns/ca_nobodys/{path}")).status_code == 404
    assert (await api.get(f"/v1/campaigns/{identifier}/report/comparison?with=ca_nobodys")).status_code == 404


async def test_a_test_mail_is_in_no_number(api: Api) -> None:
    identifier = str(data(await api.post("/v1/campaigns", asked()))["id"])
    answer = await api.post(f"/v1/campaigns/{identifier}/test", {"to": ["me@example.org"]})
    assert answer.status_code == 202, answer.text
    assert data(await api.get("/v1/metrics"))["numbers"]["requested"]["value"] == 0  # type: ignore[index]
    assert data(await api.get("/v1/metrics/table?by=topic"))["data"] == []
