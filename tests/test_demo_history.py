"""The demo's week: nothing in it is counted by hand, it happens once, and looks like what it stands for."""

import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest
from sqlmodel import Session, select

from mailer import demo, reports, tenancy
from mailer.delivery import claims
from mailer.demo import cast
from mailer.feedback.tracking import again
from mailer.models import (
    Alarm,
    Campaign,
    CampaignStatus,
    DeliveryState,
    Opens,
    Told,
    ToldState,
    Webhook,
    WebhookDelivery,
)
from mailer.reports import Span
from mailer.service import Service
from mailer.webhooks import deliveries
from suppression.rules import Stream
from tests.reports.test_second_way import SECOND, Raw, checked, raws_of

#: What hits tell: events have those of mail alone that is measured by person.
_HITS = tuple(name for name in SECOND if name.startswith(("opens_", "clicks_")) or name in ("opened", "clicked"))
_LEFT = """
    SELECT (SELECT count(*) FROM email WHERE waiting),
           (SELECT count(*) FROM email AS e JOIN campaign AS c ON c.id = e.campaign_id
            WHERE e.held AND c.status = 'running'),
           (SELECT count(*) FROM webhook_delivery AS d JOIN webhook AS w ON w.id = d.webhook_id
            WHERE d.state = 'waiting' AND w.enabled)
"""


@pytest.fixture(scope="module")
async def lived(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    service = Service.build(demo.settings({"MAILER_DATA_DIR": str(tmp_path_factory.mktemp("demo"))}))
    await service.prepare()
    with sqlite3.connect(service.database.path) as beside:

        def look(_done: int, _all: int) -> None:
            # Workers and the deliverer of a running demo look at the same tables: nothing is ever left to them.
            assert beside.execute(_LEFT).fetchone() == (0, 0, 0)

        assert (await demo.live(service, look) or 0) > 500
    yield service
    await service.stop()


@pytest.fixture(scope="module")
async def mails(lived: Service) -> Sequence[Raw]:
    return await raws_of(lived.database)


async def test_a_recount_and_the_stored_hits_say_what_the_counters_say(lived: Service, mails: Sequence[Raw]) -> None:
    days, now = sorted({raw.email.created_at.date() for raw in mails}), lived.now()
    # Today has mail once its first hour is over: a campaign goes out an hour before the end.
    first = 0 if now.hour >= 2 else 1
    assert {now.date() - timedelta(days=before) for before in range(first, 7)} <= set(days)

    def verb(session: Session) -> None:
        tenant_id = tenancy.only_tenant(session, None).id or 0
        for day in days:
            assert reports.recount(session, tenant_id, day) == {}
            assert again.difference(session, tenant_id, day).sums == {}

    await lived.database.run(verb)


async def test_every_figure_is_what_rows_and_events_say(lived: Service, mails: Sequence[Raw]) -> None:
    def verb(session: Session) -> None:
        individual: list[str] = []
        plain = [name for name in SECOND if name not in _HITS]
        days = sorted({raw.email.created_at.date() for raw in mails})
        tenant_id = tenancy.only_tenant(session, None).id or 0
        checked(reports.report(session, tenant_id, Span(days[0], days[-1])).figures, mails, plain)
        for campaign in session.exec(select(Campaign)):
            mine = [raw for raw in mails if raw.email.campaign_id == campaign.id]
            figures = reports.campaign_report(session, campaign, lived.now()).figures
            checked(figures, mine, plain)
            if campaign.opens is campaign.clicks is Opens.INDIVIDUAL:
                checked(figures, mine, _HITS)
                individual.append(campaign.id)
        assert individual

    await lived.database.read(verb)


async def test_campaigns_stand_as_they_were_planned_and_their_reports_are_plausible(lived: Service) -> None:
    def verb(session: Session) -> None:
        found = session.exec(select(Campaign)).all()
        assert Counter(each.status for each in found) == {
            CampaignStatus.COMPLETED: 4,
            CampaignStatus.PAUSED: 1,
            CampaignStatus.CANCELLED: 1,
            CampaignStatus.SCHEDULED: 1,
            CampaignStatus.DRAFT: 1,
        }
        for campaign in found:
            if campaign.status is not CampaignStatus.COMPLETED:
                continue
            told = {
                each.name: each.value or 0 for each in reports.campaign_report(session, campaign, lived.now()).figures
            }
            assert 0.2 < told["open_rate"] < 0.6, campaign.name
            assert 0.02 < told["click_rate"] < 0.3, campaign.name
            assert 0.8 < told["coverage"] < 1, campaign.name
            assert told["opens_machine"] > 5
            assert 0 < told["bounce_rate"] < 0.08

    await lived.database.read(verb)


async def test_what_somebody_should_look_at_is_there(lived: Service, mails: Sequence[Raw]) -> None:
    def verb(session: Session) -> None:
        alarms = session.exec(select(Alarm)).all()
        assert {alarm.value for alarm in alarms} >= {cast.SCANNED}
        assert [told.state for told in session.exec(select(Told))].count(ToldState.UNMATCHED) == 1
        hooks = {each.description: each for each in session.exec(select(Webhook))}
        assert {name: (each.enabled, bool(each.disabled_why)) for name, each in hooks.items()} == {
            "CRM": (True, False),
            "Data warehouse": (False, True),
            "Staging": (False, False),
        }
        states = Counter(each.state for each in session.exec(select(WebhookDelivery)))
        assert states[DeliveryState.DELIVERED] > 20
        assert states[DeliveryState.FAILED] >= 1
        # What would go out now, by the real deliverer.
        assert deliveries.hungry(session, lived.now() + timedelta(days=30)) == []

    await lived.database.read(verb)
    assert sum(raw.has("email.complained") for raw in mails) == 1
    assert any(raw.has("email.resubscribed") for raw in mails)
    assert {raw.email.suppression_reason for raw in mails} >= {"unsubscribe", "hard_bounce"}


async def test_nobody_in_it_can_be_somebody(mails: Sequence[Raw]) -> None:
    assert len({each.email for each in cast.readers()}) == len(cast.readers())
    for raw in mails:
        name, _, domain = (raw.email.address or "").partition("@")
        assert domain.endswith(".example") or name.startswith("sample-"), "no provider lets a name have a hyphen"
        assert raw.email.from_address.endswith("@ringwise.example")
        assert raw.email.sent_at is None or raw.email.sent_at < raw.email.created_at + timedelta(hours=2)


async def test_it_happens_once_a_folder_and_no_mail_of_it_waits_for_a_worker(lived: Service) -> None:
    assert await demo.live(lived, lambda _done, _all: None) is None

    def due(session: Session) -> bool:
        return any(claims.due(session, stream, lived.now()) for stream in Stream)

    assert not await lived.database.read(due)
