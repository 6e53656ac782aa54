"""A campaign's way from draft to its end: start, schedule, pause, resume, cancel; doing one twice is doing it once."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from sqlmodel import Session

from mailer import events
from mailer.campaigns.planning import desk_of, ready, taken, tested
from mailer.drafts import Mailbox
from mailer.errors import Conflict, Invalid, Problem
from mailer.models import Campaign, CampaignStatus, Opens
from mailer.submission import Accepted, Asking, Intake, Refused, Submitter, submit_together
from mailer.submission.deciding import Desk

_DRAFT, _SCHEDULED, _RUNNING = CampaignStatus.DRAFT, CampaignStatus.SCHEDULED, CampaignStatus.RUNNING
_PAUSED, _COMPLETED, _CANCELLED = CampaignStatus.PAUSED, CampaignStatus.COMPLETED, CampaignStatus.CANCELLED


class _Step(NamedTuple):
    """From where a step leads on, and where it was taken already."""

    open: frozenset[CampaignStatus]
    done: frozenset[CampaignStatus] = frozenset()


#: A start never ends a pause: whoever repeats a start must not undo what somebody stopped meanwhile.
_STEPS: Mapping[str, _Step] = {
    "started": _Step(frozenset({_DRAFT, _SCHEDULED}), frozenset({_RUNNING, _COMPLETED})),
    "scheduled": _Step(frozenset({_DRAFT, _SCHEDULED})),
    "paused": _Step(frozenset({_SCHEDULED, _RUNNING}), frozenset({_PAUSED})),
    "resumed": _Step(frozenset({_PAUSED}), frozenset({_SCHEDULED, _RUNNING, _COMPLETED})),
    "cancelled": _Step(frozenset({_DRAFT, _SCHEDULED, _RUNNING, _PAUSED}), frozenset({_CANCELLED})),
}


def start(session: Session, sender: Submitter, campaign_id: str, context: Intake, now: datetime) -> Campaign:
    """Let a campaign run, with the newest version of its template from now on; ring its stream after the commit."""
    campaign, fresh = _taken(session, sender, campaign_id, "started")
    if fresh:
        begin(desk_of(session, sender, context, now), campaign)
    return campaign


def begin(desk: Desk, campaign: Campaign) -> None:
    """Freeze a campaign and let it run, or raise `Invalid`; its row is the caller's alone."""
    frame = ready(desk, campaign)
    campaign.content_id = frame.edition.id
    campaign.opens, campaign.clicks = (Opens(str(frame.shared[name])) for name in ("opens", "clicks"))
    campaign.status, campaign.started_at, campaign.note = _RUNNING, desk.now, None
    tell(desk.session, campaign, "started", desk.now)


def schedule(
    session: Session, sender: Submitter, campaign_id: str, at: datetime, context: Intake, now: datetime
) -> Campaign:
    """Let a campaign start by itself at a time; a time that is past means now."""
    campaign, _ = _taken(session, sender, campaign_id, "scheduled")
    if campaign.expires_at is not None and campaign.expires_at <= at:
        raise Invalid(Problem("scheduled_at", "must be before expires_at"))
    desk, campaign.scheduled_at = desk_of(session, sender, context, now), at
    if at <= now:
        begin(desk, campaign)
        return campaign
    # Asked now, while somebody hears the answer; the start itself asks again.
    ready(desk, campaign)
    campaign.status = _SCHEDULED
    session.flush()
    return campaign


def pause(session: Session, sender: Submitter, campaign_id: str, note: str | None, now: datetime) -> Campaign:
    """Stop a campaign: from the commit on no further mail of it is sent; what waits is kept."""
    campaign, fresh = _taken(session, sender, campaign_id, "paused")
    if fresh:
        halt(session, campaign, note, now)
    return campaign


def halt(session: Session, campaign: Campaign, note: str | None, now: datetime) -> None:
    """Write down that a campaign is paused, and why."""
    campaign.status, campaign.note = _PAUSED, note
    tell(session, campaign, "paused", now, note=note)


def resume(session: Session, sender: Submitter, campaign_id: str, context: Intake, now: datetime) -> Campaign:
    """Let a paused campaign go on; one that had not started starts, or waits for its time again."""
    campaign, fresh = _taken(session, sender, campaign_id, "resumed")
    if not fresh:
        return campaign
    if campaign.started_at is not None:
        campaign.status, campaign.note = _RUNNING, None
    elif campaign.scheduled_at is not None and campaign.scheduled_at > now:
        campaign.status, campaign.note = _SCHEDULED, None
    else:
        begin(desk_of(session, sender, context, now), campaign)
    session.flush()
    return campaign


def cancel(session: Session, sender: Submitter, campaign_id: str, now: datetime) -> Campaign:
    """End a campaign: from the commit on no further mail of it is sent; the clock settles what was held."""
    campaign, fresh = _taken(session, sender, campaign_id, "cancelled")
    if fresh:
        end(session, campaign, _CANCELLED, now)
    return campaign


def end(session: Session, campaign: Campaign, status: CampaignStatus, now: datetime) -> None:
    """Write down that a campaign is over."""
    campaign.status, campaign.ended_at = status, now
    tell(session, campaign, status.value, now)


def test(
    session: Session,
    sender: Submitter,
    campaign_id: str,
    to: list[Mailbox],
    own: Mapping[str, object],
    context: Intake,
    now: datetime,
) -> list[Accepted | Refused]:
    """Send one mail of a campaign to each of a few people, now, outside of the campaign and its numbers."""
    campaign = taken(session, sender, campaign_id)
    # Who may run campaigns may send what is in them.
    trusted = Submitter(sender.tenant_id, Submitter.trusted(sender.tenant_id).scopes, sender.captures)
    desk = desk_of(session, trusted, context, now)
    asked = [Asking(trusted, tested(desk, campaign, whom, own)) for whom in to]
    return submit_together(session, asked, context, now)


def tell(session: Session, campaign: Campaign, kind: str, now: datetime, *, note: str | None = None) -> None:
    """Note an event of a campaign, and write the campaign with it."""
    data: dict[str, object] = {"campaign_id": campaign.id}
    if note:
        data["note"] = note
    session.flush()
    events.write(session, [events.row(campaign.tenant_id, f"campaign.{kind}", data, now)])


def _taken(session: Session, sender: Submitter, campaign_id: str, step: str) -> tuple[Campaign, bool]:
    """Return a campaign for a step, and whether the step is still to be taken; raises `Conflict` where it cannot be."""
    campaign, allowed = taken(session, sender, campaign_id), _STEPS[step]
    if campaign.status in allowed.open:
        return campaign, True
    if campaign.status in allowed.done:
        return campaign, False
    way = ": resume it" if campaign.status is _PAUSED else ""
    raise Conflict(f"the campaign is {campaign.status} and cannot be {step}{way}")
