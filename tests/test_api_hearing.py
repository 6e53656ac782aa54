"""Operators and product code ask over the API what others told about their mail."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import update
from sqlmodel import SQLModel

from mailer import halts
from mailer.database import Database
from mailer.feedback.hearing import hear
from mailer.feedback.inbound.report import Category, Kind, Proof, Report
from mailer.models import Brake, BrakeState
from mailer.status import Status
from mailer.web.api import shapes
from mailer.web.api.shapes.reports import ToldPage
from suppression.rules import Stream
from tests.test_api_world import Api, data, news, paths, world

EMAIL = SQLModel.metadata.tables["email"]
HARD = Report(
    Kind.BOUNCED,
    Category.INVALID_RECIPIENT,
    hard=True,
    status="5.1.1",
    diagnostic="550 <ann@example.org> is unknown",
    source="dsn",
    at=datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
)


@pytest.fixture
async def api(sqlite: Database) -> AsyncIterator[Api]:
    async with world(sqlite) as api:
        yield api


async def heard(api: Api, report: Report, proof: Proof) -> None:
    await api.service.database.run(lambda session: hear(session, [(report, proof)], datetime.now(UTC)))


async def test_an_email_shows_that_it_came_back(api: Api) -> None:
    identifier = str(data(await api.post("/v1/emails", news()))["id"])
    changed = update(EMAIL).values(status=Status.SENT, attempts=1, sent_at=datetime(2026, 3, 1, 9, tzinfo=UTC))
    await api.service.database.run(lambda session: session.execute(changed))
    await heard(api, HARD, Proof("return_path", identifier))
    shown = shapes.EmailView.model_validate(data(await api.get(f"/v1/emails/{identifier}")))
    assert shown.status == "bounced"
    (event,) = [each for each in shown.events if each.type == "email.bounced"]
    assert event.model_extra is not None
    report = str(event.model_extra.pop("report_id"))
    assert report.startswith("rp_")
    assert event.model_extra == {
        "hard": True,
        "category": "invalid_recipient",
        "code": "5.1.1",
        "reply": "550 <<address>> is unknown",
        "source": "dsn",
        "happened_at": "2026-03-01T09:30:00+00:00",
    }
    done = ToldPage.model_validate(data(await api.get("/v1/inbound/reports?state=done")))
    assert [(each.id, each.email_id, each.recipient) for each in done.data] == [(report, identifier, None)]


async def test_what_found_no_mail_is_shown_page_by_page(api: Api) -> None:
    for number in range(3):
        named = HARD._replace(recipient="ann@example.org", message_id=f"<{number}@elsewhere.example>")
        await heard(api, named, Proof("dkim:arf.mail.example"))
    first = ToldPage.model_validate(data(await api.get("/v1/inbound/reports?limit=2")))
    assert (len(first.data), first.has_more) == (2, True)
    rest = ToldPage.model_validate(data(await api.get(f"/v1/inbound/reports?after={first.data[-1].id}")))
    assert [(each.message_id, each.recipient, each.proof, each.why) for each in rest.data] == [
        ("<0@elsewhere.example>", "ann@example.org", "dkim:arf.mail.example", "it names no mail of ours")
    ]


async def test_reports_are_the_operators_alone(api: Api) -> None:
    assert paths(await api.get("/v1/inbound/reports?state=lost")) == ["state"]
    reader = await api.with_key("read")
    assert (await reader.get("/v1/inbound/reports")).status_code == 403
    customer = await api.of_tenant("acme")
    answer = await customer.get("/v1/inbound/reports")
    assert (answer.status_code, data(answer)["detail"]) == (
        403,
        "reports are the operator's: ask with a key of the tenant default",
    )


async def test_the_streams_say_whose_mail_is_paused_and_what_is_above_a_limit(api: Api) -> None:
    since = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
    now = datetime.now(UTC)
    warned = Brake(
        subject="1:promotional",
        measure="bounces",
        tenant_id=1,
        stream="promotional",
        state=BrakeState.WARNED,
        reason="3 % of the mail",
        at=now,
        day=now.date(),
    )

    await api.service.database.run(
        lambda session: halts.pause(session, Stream.PROMOTIONAL, "too many complaints", since, tenant_id=1)
    )
    await api.service.database.run(lambda session: session.add(warned))
    page = shapes.StreamPage.model_validate(data(await api.get("/v1/streams")))
    transactional, promotional = sorted(page.data, key=lambda view: view.stream, reverse=True)
    assert (transactional.summary, transactional.tenants, transactional.warnings) == ("goes", [], [])
    assert [(each.tenant, each.reason, each.since) for each in promotional.tenants] == [
        ("default", "too many complaints", since)
    ]
    assert not promotional.paused
    assert promotional.summary == (
        "default is paused since 2026-03-01 09:30:00 UTC: too many complaints; default promotional: 3 % of the mail"
    )
