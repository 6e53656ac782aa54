"""A campaign's way from draft to its end, by people and by the clock."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from sqlmodel import Session, col, select

from mailer import campaigns
from mailer.campaigns.sweeping import MOST_ON_SQLITE
from mailer.counters import Tally, dimensions
from mailer.database import Database
from mailer.errors import Conflict, Forbidden, Invalid, NotFound
from mailer.models import CampaignStatus, Content, Email, Opens, Tenant
from mailer.settings import Settings
from mailer.status import Status
from tests.campaigns.world import NOW, SOON, TEMPLATE, World, asked, capturing, offer, people, world_of
from tests.test_api_world import SETTINGS

S = CampaignStatus
Verb = Callable[[World, str], Awaitable[object]]
VERBS: dict[str, Verb] = {
    "start": lambda world, campaign: world.start(campaign),
    "schedule": lambda world, campaign: world.schedule(campaign, SOON),
    "pause": lambda world, campaign: world.pause(campaign),
    "resume": lambda world, campaign: world.resume(campaign),
    "cancel": lambda world, campaign: world.cancel(campaign),
}
#: Status -> what each verb makes of it; what is not named is a conflict.
WAYS: dict[CampaignStatus, dict[str, CampaignStatus]] = {
    S.DRAFT: {"start": S.RUNNING, "schedule": S.SCHEDULED, "cancel": S.CANCELLED},
    S.SCHEDULED: {
        "start": S.RUNNING,
        "schedule": S.SCHEDULED,
        "pause": S.PAUSED,
        "resume": S.SCHEDULED,
        "cancel": S.CANCELLED,
    },
    S.RUNNING: {"start": S.RUNNING, "pause": S.PAUSED, "resume": S.RUNNING, "cancel": S.CANCELLED},
    S.PAUSED: {"pause": S.PAUSED, "resume": S.RUNNING, "cancel": S.CANCELLED},
    S.COMPLETED: {"start": S.COMPLETED, "resume": S.COMPLETED},
    S.CANCELLED: {"cancel": S.CANCELLED},
    S.EXPIRED: {},
}


async def bring(world: World, status: CampaignStatus) -> str:
    """Return a campaign that came to a status by the ways that lead there."""
    if status is S.EXPIRED:
        campaign = await world.create(**asked(expires_at=SOON.isoformat()))
        await world.start(campaign)
        world.now = SOON
        await world.sweep()
        world.now = NOW
        return campaign
    campaign = await world.create()
    if status is S.SCHEDULED:
        await world.schedule(campaign, SOON)
    elif status is S.CANCELLED:
        await world.cancel(campaign)
    elif status is not S.DRAFT:
        await world.start(campaign)
    if status is S.PAUSED:
        await world.pause(campaign)
    if status is S.COMPLETED:
        await world.add(campaign, people(1))
        await world.deliver(campaign, 1)
        await world.sweep()
    return campaign


@pytest.mark.parametrize("verb", sorted(VERBS))
@pytest.mark.parametrize("status", sorted(S))
async def test_every_verb_has_one_outcome_from_every_status(small: World, status: CampaignStatus, verb: str) -> None:
    campaign = await bring(small, status)
    assert (await small.get(campaign)).status is status
    wanted = WAYS[status].get(verb)
    if wanted is None:
        with pytest.raises(Conflict, match=str(status)):
            await VERBS[verb](small, campaign)
        wanted = status
    else:
        await VERBS[verb](small, campaign)
    assert (await small.get(campaign)).status is wanted


async def test_two_starts_at_once_are_one(world: World) -> None:
    campaign = await world.create()
    await asyncio.gather(*(world.start(campaign) for _ in range(5)))
    assert await world.told(campaign) == ["campaign.started"]


async def test_a_start_and_a_cancel_at_once_leave_it_cancelled(world: World) -> None:
    campaign = await world.create()
    await asyncio.gather(world.start(campaign), world.cancel(campaign), return_exceptions=True)
    assert (await world.get(campaign)).status is S.CANCELLED


async def test_a_start_never_ends_a_pause(small: World) -> None:
    campaign = await bring(small, S.PAUSED)
    with pytest.raises(Conflict, match="resume it"):
        await small.start(campaign)


async def test_a_pause_keeps_its_note_until_it_is_resumed(small: World) -> None:
    campaign = await bring(small, S.RUNNING)
    assert (await small.pause(campaign, "a typo")).note == "a typo"
    assert (await small.pause(campaign, "later")).note == "a typo"
    assert (await small.resume(campaign)).note is None
    assert await small.told(campaign) == ["campaign.started", "campaign.paused"]


async def test_the_start_freezes_the_newest_version(world: World) -> None:
    await world.template()
    campaign = await world.create(**offer())
    first = (await world.get(campaign)).content_id
    parts = {"en": {"subject": "Newer", "text": "Newer"}}
    await world.template(parts=parts)
    frozen = (await world.start(campaign)).content_id
    assert frozen != first
    await world.template(parts={"en": {"subject": "Newest", "text": "Newest"}})
    await world.pause(campaign)
    assert (await world.resume(campaign)).content_id == frozen


async def test_a_version_with_other_variables_cannot_start_once_recipients_were_checked(small: World) -> None:
    await small.template()
    campaign = await small.create(**offer())
    await small.add(campaign, [{"email": "ann@example.org", "variables": {"city": "Kyiv"}}])
    await small.template(variables={**dict(TEMPLATE["variables"]), "street": "string"})  # type: ignore[call-overload]
    with pytest.raises(Invalid, match="other variables"):
        await small.start(campaign)
    await small.template(parts={"en": {"subject": "Newer", "text": "Newer"}})
    assert (await small.start(campaign)).status is S.RUNNING


async def test_what_forbids_a_start_is_said(small: World) -> None:
    def without_address(session: Session) -> None:
        session.get_one(Tenant, small.sender.tenant_id).postal_address = ""

    campaign = await small.create(**asked(expires_at=SOON.isoformat()))
    await small.database.run(without_address)
    small.now = SOON
    with pytest.raises(Invalid) as caught:
        await small.start(campaign)
    assert [problem.path for problem in caught.value.problems] == ["expires_at", "topic"]


async def test_promotional_mail_to_a_real_relay_needs_https(sqlite: Database) -> None:
    relay = "smtp://relay.example?starttls=off"
    settings = Settings(
        from_=SETTINGS.from_,
        postal_address=SETTINGS.postal_address,
        transactional_relay=relay,
        promotional_relay=relay,
    )
    world = await world_of(sqlite, settings)
    with pytest.raises(Invalid, match="https"):
        await world.create()
    assert (await capturing(world).create()).startswith("ca_")


async def test_a_campaign_belongs_to_a_topic_and_its_stream(small: World) -> None:
    with pytest.raises(Invalid, match="topic"):
        await small.create(**asked(topic=None))
    with pytest.raises(Invalid, match="there is no topic nothing"):
        await small.create(**asked(topic="nothing"))
    with pytest.raises(Invalid, match="is promotional"):
        await small.create(**asked(subject=None, text=None, template="newsletter", topic="notifications"))
    notice = await small.get(await small.create(**asked(topic="notifications")))
    assert notice.stream == "transactional"


async def test_opens_are_lowered_and_never_raised(small: World) -> None:
    wanted = [asked(tracking={"opens": opens}) for opens in ("off", "aggregate", "individual")]
    seen = [(await small.get(await small.create(**each))).opens for each in wanted]
    assert seen == [Opens.OFF, Opens.AGGREGATE, Opens.AGGREGATE]


async def test_it_starts_by_itself_when_it_is_time(world: World) -> None:
    campaign = await world.create(**asked(scheduled_at=SOON.isoformat()))
    await world.add(campaign, people(2))
    assert await world.sweep() == 0
    world.now = SOON
    await asyncio.gather(*(world.sweep() for _ in range(3)))
    found = await world.get(campaign)
    assert (found.status, found.started_at) == (S.RUNNING, SOON)
    assert await world.told(campaign) == ["campaign.started"]


async def test_what_cannot_start_by_itself_is_paused_and_says_why(small: World) -> None:
    campaign = await small.create(**asked(scheduled_at=SOON.isoformat()))

    def without_address(session: Session) -> None:
        session.get_one(Tenant, small.sender.tenant_id).postal_address = ""

    await small.database.run(without_address)
    small.now = SOON
    await small.sweep()
    found = await small.get(campaign)
    assert found.status is S.PAUSED
    assert "postal address" in (found.note or "")


async def test_a_time_that_is_past_starts_at_once(small: World) -> None:
    campaign = await small.create()
    assert (await small.schedule(campaign, NOW - timedelta(days=1))).status is S.RUNNING


async def test_a_paused_schedule_waits_for_its_time_again(small: World) -> None:
    campaign = await bring(small, S.SCHEDULED)
    await small.pause(campaign)
    small.now = SOON
    assert await small.sweep() == 0
    small.now = NOW
    assert (await small.resume(campaign)).status is S.SCHEDULED
    await small.pause(campaign)
    small.now = SOON
    assert (await small.resume(campaign)).status is S.RUNNING


async def test_a_schedule_must_end_before_it_expires(small: World) -> None:
    campaign = await small.create(**asked(expires_at=SOON.isoformat()))
    with pytest.raises(Invalid, match="before expires_at"):
        await small.schedule(campaign, SOON)
    with pytest.raises(Invalid, match="after scheduled_at"):
        await small.create(**asked(expires_at=SOON.isoformat(), scheduled_at=SOON.isoformat()))
    planned = await small.create(**asked(scheduled_at=SOON.isoformat()))
    for more in ({}, {"subject": "Other"}):
        with pytest.raises(Invalid, match="after scheduled_at"):
            await small.update(planned, expires_at=SOON.isoformat(), **more)
    with pytest.raises(Invalid, match="has passed"):
        await small.update(campaign, expires_at=NOW.isoformat())


@pytest.mark.parametrize("how", ["cancel", "expire"])
async def test_the_held_mail_of_what_is_over_is_settled_and_counted(world: World, how: str) -> None:
    await world.suppress("p0@example.org")
    other = await world.create()
    await world.add(other, people(3))
    campaign = await world.create(**asked(expires_at=SOON.isoformat()))
    number = MOST_ON_SQLITE + 500
    await world.add(campaign, people(number))
    await world.start(campaign)
    await world.deliver(campaign, 10)
    if how == "cancel":
        await world.cancel(campaign)
    world.now = SOON
    await world.sweep()
    word = "cancelled" if how == "cancel" else "expired"
    assert await world.statuses(campaign) == {"suppressed": 1, "sent": 10, word: number - 11}
    await world.check_sums(campaign)
    assert await world.told(campaign) == ["campaign.started", f"campaign.{word}"]
    assert await world.statuses(other) == {"held": 2, "suppressed": 1}
    assert (await world.get(campaign)).ended_at is not None


async def test_a_campaign_is_complete_once_every_row_is_settled(world: World) -> None:
    campaign = await world.create()
    await world.start(campaign)
    assert await world.sweep() == 0, "nobody is in it yet"
    await world.suppress("p0@example.org")
    await world.add(campaign, people(5))
    await world.deliver(campaign, 3)
    assert await world.sweep() == 0
    await world.deliver(campaign, 1)
    await world.sweep()
    found = await world.get(campaign)
    assert (found.status, found.ended_at) == (S.COMPLETED, NOW)
    assert await world.told(campaign) == ["campaign.started", "campaign.completed"]
    await world.check_sums(campaign)


async def test_held_mail_of_a_completed_campaign_sets_it_going_again(world: World) -> None:
    campaign = await bring(world, S.COMPLETED)

    def again(session: Session) -> None:
        email = session.exec(select(Email).where(col(Email.campaign_id) == campaign)).one()
        email.status = Status.HELD
        tally = Tally()
        dims = dimensions(tags=None, topic="newsletter", template=None, campaign=campaign)
        tally.add(email.tenant_id, NOW.date(), email.stream, "sent", dims, -1)
        tally.write(session)

    await world.database.run(again)
    await world.sweep()
    assert (await world.get(campaign)).status is S.RUNNING
    await world.deliver(campaign, 1)
    await world.sweep()
    assert (await world.get(campaign)).status is S.COMPLETED
    await world.check_sums(campaign)


async def test_mail_on_its_way_keeps_a_campaign_running(small: World) -> None:
    campaign = await small.create()
    await small.add(campaign, people(1))
    await small.start(campaign)

    def sending(session: Session) -> None:
        session.exec(select(Email).where(col(Email.campaign_id) == campaign)).one().status = Status.SENDING

    await small.database.run(sending)
    assert await small.sweep() == 0


async def test_a_key_that_only_captures_never_sends_a_campaign(small: World) -> None:
    real, only = await small.create(), capturing(small)
    with pytest.raises(Forbidden, match="only captures"):
        await only.start(real)
    with pytest.raises(Forbidden):
        await only.add(real, people(1))
    shown = await only.create()
    await only.add(shown, people(1))
    await small.add(shown, people(1, 1))
    assert [email.captured for email in await small.emails(shown)] == [True, True]
    assert all("captured" not in (email.details or {}) for email in await small.emails(shown))
    assert (await only.start(shown)).status is S.RUNNING


async def test_what_it_says_changes_until_it_has_started(small: World) -> None:
    await small.template()
    campaign = await small.create()
    changed = await small.update(campaign, name="Summer", subject="Summer", tags={"season": "summer"})
    assert (changed.name, changed.tags) == ("Summer", {"season": "summer"})

    def said(session: Session) -> dict[str, object]:
        return session.get_one(Content, changed.content_id).data

    assert "Summer" in str(await small.database.read(said))
    changed = await small.update(campaign, template="offer", variables={"season": "Summer"}, topic="promotions")
    assert (changed.template, changed.variables, changed.topic) == ("offer", {"season": "Summer"}, "promotions")
    changed = await small.update(campaign, subject="Plain", text="again")
    assert (changed.template, changed.variables) == (None, None)
    with pytest.raises(Invalid, match="template"):
        await small.update(campaign, template="nothing")
    await small.start(campaign)
    with pytest.raises(Conflict, match="pause it first"):
        await small.update(campaign, name="Late")
    await small.pause(campaign)
    with pytest.raises(Conflict, match="has started"):
        await small.update(campaign, subject="Late")
    changed = await small.update(campaign, name="Late", expires_at=SOON.isoformat())
    assert (changed.name, changed.expires_at) == ("Late", SOON)


async def test_what_recipients_rows_hold_a_copy_of_stays(small: World) -> None:
    campaign = await small.create(**asked(reply_to="us@ringwise.example"))
    await small.add(campaign, people(1))
    for change in ({"topic": "events"}, {"tags": {"a": "b"}}, {"locale": "uk"}):
        with pytest.raises(Conflict, match="has recipients"):
            await small.update(campaign, **change)
    assert (await small.update(campaign, subject="Other", reply_to="us@ringwise.example")).topic == "newsletter"


async def test_only_an_empty_draft_is_deleted(small: World) -> None:
    campaign = await small.create()
    await small.delete(campaign)
    with pytest.raises(NotFound):
        await small.get(campaign)
    with pytest.raises(Conflict, match="only a draft"):
        await small.delete(await bring(small, S.RUNNING))
    full = await small.create()
    await small.add(full, people(2))
    with pytest.raises(Conflict, match="2 recipients"):
        await small.delete(full)


async def test_somebody_elses_campaign_is_not_found(small: World) -> None:
    campaign = await small.create()
    small.sender = type(small.sender).trusted(99)
    for verb in VERBS.values():
        with pytest.raises(NotFound):
            await verb(small, campaign)
    with pytest.raises(NotFound):
        await small.add(campaign, people(1))


async def test_lists_page_from_the_newest(small: World) -> None:
    made = [await small.create() for _ in range(3)]
    await small.start(made[1])

    def ids(limit: int, after: str | None = None, status: CampaignStatus | None = None) -> Callable[[Session], object]:
        def verb(session: Session) -> object:
            page = campaigns.listing(session, small.sender.tenant_id, limit=limit, after=after, status=status)
            return [campaign.id for campaign in page.campaigns], page.has_more

        return verb

    assert await small.database.read(ids(2)) == ([made[2], made[1]], True)
    assert await small.database.read(ids(2, made[1])) == ([made[0]], False)
    assert await small.database.read(ids(9, status=S.RUNNING)) == ([made[1]], False)


def test_every_status_of_a_campaign_is_in_the_table() -> None:
    assert set(WAYS) == set(S)
