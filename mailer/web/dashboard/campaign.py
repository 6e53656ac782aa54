"""One campaign: where it stands, what is missing before it may start, and every step of its way."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, cast

from sqlmodel import Session
from starlette.responses import Response

from mailer import alarms, campaigns, catalogue, emails
from mailer.audit import Act
from mailer.campaigns import Preflight
from mailer.campaigns.drafts import Pausing, Timing, Trial
from mailer.campaigns.planning import captured
from mailer.drafts import parse
from mailer.errors import Invalid, Problem
from mailer.models import Alarm, Campaign, CampaignStatus, Email
from mailer.submission import Accepted, Submitter
from mailer.users.permissions import May
from mailer.web.dashboard import moments
from mailer.web.dashboard.asking import UNATTENDED, Asked, Screen
from mailer.web.dashboard.campaigns import SHARED, Line, lines

#: Seconds after which the page of a campaign that runs is asked for again.
REFRESH = 5
_UNSTARTED = (CampaignStatus.DRAFT, CampaignStatus.SCHEDULED, CampaignStatus.PAUSED)


class _Seen(NamedTuple):
    line: Line
    subject: str
    captured: bool
    alarms: list[Alarm]
    #: The tests that were sent just now.
    tested: list[Email]


async def show(asked: Asked) -> Response:
    """Show a campaign; while it runs the page asks for itself again, unless somebody wants it to stand still."""
    seen = await asked.read(partial(_look, asked))
    campaign = seen.line.campaign
    unstarted = campaign.started_at is None and campaign.status in _UNSTARTED
    preflight = await asked.read(partial(_check, asked)) if unstarted else None
    still = bool(asked.query("still")) or asked.request.method == "POST"
    moving = campaign.status is CampaignStatus.RUNNING
    live = moving and not still
    page = asked.page(
        "campaign.html",
        {
            **SHARED,
            "campaign": campaign,
            "line": seen.line,
            "preflight": preflight,
            "subject": seen.subject,
            "captured": seen.captured,
            "alarms": seen.alarms,
            "live": live,
            "seconds": str(REFRESH),
            "moving": moving,
            "ask": asked.query("ask", 20),
            "tested": seen.tested,
            "zones": moments.zones(),
            "zone": moments.USUAL[asked.say.language],
        },
    )
    if live:
        again = asked.at(f"/campaigns/{campaign.id}", **{UNATTENDED: "1"})
        page.headers["Refresh"] = f"{REFRESH}; url={again}"
    return page


def _look(asked: Asked, session: Session) -> _Seen:
    campaign = campaigns.get(session, asked.tenant_id, asked.param("id"))
    body = catalogue.kept(session, campaign.content_id).body
    return _Seen(
        lines(session, asked, [campaign])[0],
        body.parts[body.locale_of(campaign.locale)].subject,
        captured(campaign),
        [each for each in alarms.listing(session, asked.tenant_id, campaign_id=campaign.id) if not each.undone_at],
        [emails.get(session, asked.tenant_id, each) for each in cast("list[str]", asked.told.get("tested", []))],
    )


def _check(asked: Asked, session: Session) -> Preflight:
    campaign = campaigns.get(session, asked.tenant_id, asked.param("id"))
    return campaigns.preflight(session, Submitter.trusted(asked.tenant_id), campaign, asked.service.intake, asked.now)


async def act(asked: Asked) -> Response:
    """Take a step, send a test, or forget a draft."""
    do = asked.form.one("do")
    if do == "test":
        tested = await _test(asked)
        # The page that says so stands still: else it would say so for five seconds.
        return asked.tell(f"/campaigns/{asked.param('id')}", {"tested": tested}, still="1")
    if do == "delete":
        await asked.run(partial(_delete, asked))
        return asked.to("/campaigns", done="campaign_deleted")
    if (step := _STEPS.get(do)) is None:
        raise Invalid(Problem("do", f"must be one of test, delete, {', '.join(_STEPS)}"))
    # Whoever stops a campaign waits for no upload.
    campaign = await asked.run(partial(_take, asked, step), conclusive=do in ("pause", "cancel"))
    if campaign.status is CampaignStatus.RUNNING:
        asked.service.ring(campaign.stream)
    return asked.to(f"/campaigns/{campaign.id}", done=f"campaign_{do}")


class _Step(NamedTuple):
    act: Act
    verb: Callable[[Asked, Session, Submitter], Campaign]


def _take(asked: Asked, step: _Step, session: Session) -> Campaign:
    campaign = step.verb(asked, session, Submitter.trusted(asked.tenant_id))
    asked.log(session, step.act, campaign.id)
    return campaign


def _start(asked: Asked, session: Session, sender: Submitter) -> Campaign:
    return campaigns.start(session, sender, asked.param("id"), asked.service.intake, asked.now)


def _schedule(asked: Asked, session: Session, sender: Submitter) -> Campaign:
    at = moments.moment(asked.form.one("scheduled_at"), asked.form.one("zone"), "scheduled_at")
    if at is None:
        raise Invalid(Problem("scheduled_at", "is required: a day and a time"))
    timing = parse(Timing, {"scheduled_at": at})
    return campaigns.schedule(session, sender, asked.param("id"), timing.scheduled_at, asked.service.intake, asked.now)


def _pause(asked: Asked, session: Session, sender: Submitter) -> Campaign:
    note = parse(Pausing, {"note": asked.form.one("note").strip() or None}).note
    return campaigns.pause(session, sender, asked.param("id"), note, asked.now)


def _resume(asked: Asked, session: Session, sender: Submitter) -> Campaign:
    return campaigns.resume(session, sender, asked.param("id"), asked.service.intake, asked.now)


def _cancel(asked: Asked, session: Session, sender: Submitter) -> Campaign:
    return campaigns.cancel(session, sender, asked.param("id"), asked.now)


_STEPS: Mapping[str, _Step] = {
    "start": _Step(Act.CAMPAIGN_STARTED, _start),
    "schedule": _Step(Act.CAMPAIGN_SCHEDULED, _schedule),
    "pause": _Step(Act.CAMPAIGN_PAUSED, _pause),
    "resume": _Step(Act.CAMPAIGN_RESUMED, _resume),
    "cancel": _Step(Act.CAMPAIGN_CANCELLED, _cancel),
}


async def _test(asked: Asked) -> list[str]:
    """Send one mail of the campaign to a few addresses of the user's own, to all or to none; return their ids."""
    to = asked.form.one("to").replace(",", " ").replace(";", " ").split()
    trial = parse(Trial, {"to": to})

    def verb(session: Session) -> list[Accepted]:
        sender = Submitter.trusted(asked.tenant_id)
        results = campaigns.test(
            session, sender, asked.param("id"), trial.to, trial.variables, asked.service.intake, asked.now
        )
        accepted = [each for each in results if isinstance(each, Accepted)]
        if refused := [each for each in results if not isinstance(each, Accepted)]:
            raise Invalid(Problem("to", str(refused[0])))
        asked.log(session, Act.CAMPAIGN_TESTED, asked.param("id"), number=len(to))
        return accepted

    accepted = await asked.run(verb)
    for stream in {each.stream for each in accepted}:
        asked.service.ring(stream)
    return [each.id for each in accepted]


def _delete(asked: Asked, session: Session) -> None:
    campaigns.delete(session, Submitter.trusted(asked.tenant_id), asked.param("id"), asked.now)
    asked.log(session, Act.CAMPAIGN_DELETED, asked.param("id"))


SCREENS = (Screen("/campaigns/{id}", May.SEE_CAMPAIGNS, show, act, may_act=May.RUN_CAMPAIGNS),)
