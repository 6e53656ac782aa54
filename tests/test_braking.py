"""Too many complaints or addresses that do not exist pause a campaign, or a tenant's promotional mail."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import delete
from sqlmodel import Session, col, select

from mailer import campaigns, counters, halts
from mailer.campaigns.drafts import CampaignDraft
from mailer.counters import Tally
from mailer.database import Database
from mailer.drafts import parse
from mailer.errors import ConfigurationError
from mailer.feedback.hearing import hear
from mailer.feedback.inbound.report import Category, Kind, Proof, Report
from mailer.models import Brake, BrakeState, Campaign, CampaignStatus, Event, Tenant
from mailer.settings import Limits, Settings, parse_limits
from mailer.status import Status
from suppression.rules import Stream
from tests.campaigns.world import NOW, asked, world_of
from tests.delivery import mails
from tests.delivery.mails import P, T

LIMITS = {"complaints": Limits(0.001, 0.003), "bounces": Limits(0.02, 0.05)}
SPAM = Report(Kind.COMPLAINED, Category.COMPLAINT, source="arf")


def count(session: Session, metric: str, amount: int, *, stream: Stream = P, campaign: str | None = None) -> None:
    """Count facts about a tenant's mail of today."""
    tally = Tally()
    dims = counters.dimensions(tags=None, topic=None, template=None, campaign=campaign)
    tally.add(1, NOW.date(), stream, metric, dims, amount=amount)
    tally.write(session)


def brake(session: Session, now: datetime = NOW) -> int:
    """Judge, then fold as the clock does."""
    found = campaigns.brake(session, LIMITS, now)
    counters.fold(session)
    return found


def paused(session: Session) -> list[tuple[Stream, int]]:
    """Return whose mail is paused."""
    return list(halts.current(session, NOW).tenants)


async def test_a_tenant_past_the_limit_gets_no_promotional_mail_out_and_all_transactional(database: Database) -> None:
    def story(session: Session) -> None:
        mails.add(session, 2, P, NOW)
        mails.add(session, 2, T, NOW)
        count(session, "sent", 1000)
        count(session, "complained", 2)
        assert brake(session) == 0
        count(session, "complained", 1)
        assert brake(session) == 1
        assert paused(session) == [(P, 1)]
        (pause,) = halts.current(session, NOW).tenants.values()
        assert pause.reason == (
            "it paused itself: 0.30% of the mail that arrived was called spam (3 of 1,000); the limit is 0.30%"
        )
        assert mails.claim(session, P, NOW)[1] == []
        assert len(mails.claim(session, T, NOW)[1]) == 2

    await database.run(story)


async def test_another_tenants_mail_goes_on(database: Database) -> None:
    def story(session: Session) -> None:
        (identifier,) = mails.add(session, 1, P, NOW)
        session.add(Tenant(id=2, key="acme", name="Acme", created_at=NOW))
        session.flush()
        (theirs,) = mails.add(session, 1, P, NOW, prefix="x")
        mails.move(session, [theirs], tenant_id=2)
        halts.pause(session, P, "too many bounces", NOW, tenant_id=1)
        assert [job.id for job in mails.claim(session, P, NOW)[1]] == [theirs]
        assert halts.resume(session, P, NOW, tenant_id=1)
        assert [job.id for job in mails.claim(session, P, NOW)[1]] == [identifier]

    await database.run(story)


async def test_transactional_mail_is_only_warned_of(database: Database) -> None:
    def story(session: Session) -> None:
        mails.found(session)
        count(session, "sent", 900, stream=T)
        count(session, "bounced", 100, stream=T)
        count(session, "hard_bounced", 100, stream=T)
        assert brake(session) == 0
        assert paused(session) == []
        (warning,) = campaigns.warnings(session, NOW)
        assert (warning.state, warning.stream) == (BrakeState.WARNED, "transactional")
        assert "10.00% of the mail went to addresses that do not exist (100 of 1,000)" in warning.reason
        assert brake(session, NOW + timedelta(minutes=1)) == 0
        assert len(campaigns.warnings(session, NOW)) == 1

    await database.run(story)


async def test_what_was_known_at_a_resume_does_not_pause_again_and_new_facts_do(database: Database) -> None:
    def story(session: Session) -> None:
        mails.found(session)
        count(session, "sent", 1000)
        count(session, "complained", 5)
        assert brake(session) == 1
        count(session, "complained", 2)
        assert brake(session, NOW + timedelta(minutes=1)) == 0
        halts.resume(session, P, NOW, tenant_id=1)
        for minute in (2, 3):
            assert brake(session, NOW + timedelta(minutes=minute)) == 0
        count(session, "sent", 600)
        count(session, "complained", 1)
        assert brake(session, NOW + timedelta(minutes=4)) == 0
        assert paused(session) == []
        count(session, "complained", 2)
        assert brake(session, NOW + timedelta(minutes=5)) == 1
        assert "(3 of 600)" in next(iter(halts.current(session, NOW).tenants.values())).reason

    await database.run(story)


async def test_a_small_mailing_is_not_judged(database: Database) -> None:
    def story(session: Session) -> None:
        mails.found(session)
        count(session, "sent", 100)
        count(session, "complained", 3)
        count(session, "hard_bounced", 9)
        count(session, "returned", 9)
        assert brake(session) == 0
        assert campaigns.warnings(session, NOW) == []

    await database.run(story)


async def test_a_campaign_pauses_itself_and_says_why(database: Database) -> None:
    world = await world_of(database)
    draft = parse(CampaignDraft, asked())

    def start(session: Session) -> str:
        made = campaigns.create(session, world.sender, draft, world.context, NOW)
        campaigns.start(session, world.sender, made.id, world.context, NOW)
        return made.id

    identifier = await database.run(start)

    def story(session: Session) -> None:
        count(session, "sent", 190, campaign=identifier)
        count(session, "bounced", 10, campaign=identifier)
        count(session, "hard_bounced", 10, campaign=identifier)
        assert brake(session) == 2
        campaign = session.get_one(Campaign, identifier, populate_existing=True)
        assert campaign.status is CampaignStatus.PAUSED
        assert campaign.note == (
            "it paused itself: 5.00% of the mail went to addresses that do not exist (10 of 200); the limit is 5.00%"
        )
        event = session.exec(select(Event).where(col(Event.kind) == "campaign.paused")).one()
        assert (event.data or {})["note"] == campaign.note
        warning = campaigns.warned(session, [campaign])[identifier][0]
        assert (warning.measure, warning.state) == ("bounces", BrakeState.PAUSED)
        assert campaign.note.endswith(warning.reason)
        campaigns.resume(session, world.sender, identifier, world.context, NOW)
        halts.resume(session, P, NOW, tenant_id=campaign.tenant_id)
        for minute in (1, 2):
            assert brake(session, NOW + timedelta(minutes=minute)) == 0
        states = session.exec(select(col(Brake.state))).all()
        assert set(states) == {BrakeState.RESUMED}
        session.execute(delete(Campaign))
        assert brake(session, NOW + timedelta(days=91)) == 0
        assert session.exec(select(Brake)).all() == []

    await database.run(story)


async def test_complaints_that_are_heard_pause_their_tenant(database: Database) -> None:
    def story(session: Session) -> None:
        found = mails.add(session, 3, P, NOW, status=Status.SENT, attempts=1)
        count(session, "sent", 600)
        hear(session, [(SPAM, Proof("return_path", each)) for each in found], NOW)
        assert brake(session) == 1
        assert paused(session) == [(P, 1)]

    await database.run(story)


@pytest.mark.parametrize("text", ["", "0.1%", "3%,1%", "0%,1%", "1%,101%", "0.1,0.3"])
def test_limits_that_make_no_sense_stop_the_start(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"MAILER_BOUNCE_LIMITS must be two shares.* or off"):
        parse_limits(text, "MAILER_BOUNCE_LIMITS")
    assert Settings(bounce_limits="off").bounces is None
    assert Settings().complaints == Limits(0.001, 0.003)
