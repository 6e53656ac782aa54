"""Campaigns: one mail to many people, who are added as a stream."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import cast

from sqlmodel import Session
from starlette.responses import Response

from mailer import campaigns, catalogue, reports
from mailer.audit import Act
from mailer.campaigns import Added, Format, Upload
from mailer.campaigns.drafts import CampaignChange, CampaignDraft, Pausing, Recipients, Timing, Trial
from mailer.campaigns.planning import captured
from mailer.drafts import parse
from mailer.errors import Invalid, Problem
from mailer.models import Campaign, CampaignStatus
from mailer.submission import Accepted, Refused
from mailer.web import problems
from mailer.web.api.calls import URGENT, USUAL, Answer, Call, body_of
from mailer.web.api.once import Work, asked_by, once
from mailer.web.api.queries import CampaignQuery, RecipientQuery
from mailer.web.api.showing import captures_of, page_view
from mailer.web.api.uploads import arriving, media_type
from mailer.web.explaining import entry_view
from mailer.web.working import written_down
from suppression.rules import Stream

_FORMATS: Mapping[str, Format] = {
    "application/x-ndjson": Format.NDJSON,
    "application/ndjson": Format.NDJSON,
    "application/jsonl": Format.NDJSON,
    "text/csv": Format.CSV,
}

#: What is told of complaints or bounces that are too many.
_WARNED = ("measure", "state", "reason", "at")

_Shown = dict[str, object]
_Verb = Callable[[Session], Campaign]


def views(session: Session, some: Sequence[Campaign], now: datetime) -> list[_Shown]:
    """Return campaigns of one tenant as JSON shows them."""
    sums, warned = reports.campaign_sums(session, some, now), campaigns.warned(session, some)
    return [
        {
            **_view(session, each),
            "progress": reports.progress(sums[each.id]),
            "warnings": [{name: getattr(brake, name) for name in _WARNED} for brake in warned[each.id]],
        }
        for each in some
    ]


def view(session: Session, campaign: Campaign, now: datetime) -> _Shown:
    """Return one campaign as JSON shows it."""
    return views(session, [campaign], now)[0]


def _view(session: Session, campaign: Campaign) -> _Shown:
    content, details = catalogue.kept(session, campaign.content_id), campaign.details or {}
    part = content.body.parts[content.body.locale_of(campaign.locale)]
    replies = cast("Sequence[tuple[str, str]]", details.get("reply_to") or [])
    return {
        "id": campaign.id,
        "name": campaign.name,
        "status": campaign.status,
        "stream": campaign.stream,
        "topic": campaign.topic,
        "template": campaign.template,
        "template_version": content.version,
        "subject": part.subject if campaign.template is None else None,
        "variables": campaign.variables or {},
        "locale": campaign.locale,
        "from": _written(campaign.from_address, campaign.from_name),
        "reply_to": [_written(address, name) for address, name in replies],
        "headers": details.get("headers") or {},
        "tags": campaign.tags or {},
        "opens": campaign.opens,
        "clicks": campaign.clicks,
        "utm": campaign.utm or {},
        "captured": captured(campaign),
        "note": campaign.note,
        "created_at": campaign.created_at,
        "scheduled_at": campaign.scheduled_at,
        "expires_at": campaign.expires_at,
        "started_at": campaign.started_at,
        "ended_at": campaign.ended_at,
    }


def _written(address: str, name: str) -> str:
    return f"{name} <{address}>" if name else address


def added_view(added: Added) -> _Shown:
    """Return what became of an upload as JSON shows it."""
    lines = [refusal._asdict() for refusal in added.lines]
    return {
        "new": added.new,
        "duplicates": added.duplicates,
        "suppressed": added.suppressed,
        "refused": added.refused,
        "lines": lines,
    }


async def create(call: Call) -> Answer | Response:
    """Make a campaign that nobody is in yet."""
    draft = call.draft(CampaignDraft)
    return await _changed(
        call,
        Act.CAMPAIGN_CREATED,
        lambda session: campaigns.create(session, call.submitter, draft, call.service.intake, call.now),
        status=HTTPStatus.CREATED,
    )


async def listing(call: Call) -> Answer:
    """List campaigns, the newest first."""
    asked = call.query(CampaignQuery)

    def verb(session: Session) -> _Shown:
        page = campaigns.listing(session, call.tenant_id, limit=asked.limit, after=asked.after, status=asked.status)
        return {"data": views(session, page.campaigns, call.now), "has_more": page.has_more}

    return Answer(await call.read(verb))


async def show(call: Call) -> Answer:
    """Show a campaign and how far it is."""
    return Answer(await call.read(lambda session: view(session, mine(session, call), call.now)))


async def change(call: Call) -> Answer:
    """Change a campaign that does not run; what it says only before it has started."""
    asked, who = call.draft(CampaignChange), call.submitter

    def verb(session: Session) -> _Shown:
        changed = campaigns.update(session, who, call.path("id"), asked, call.service.intake, call.now)
        call.log(session, Act.CAMPAIGN_CHANGED, changed.id)
        return view(session, changed, call.now)

    return Answer(await call.run(verb))


async def delete(call: Call) -> Answer:
    """Delete a draft that has no recipients."""

    def verb(session: Session) -> None:
        campaigns.delete(session, call.submitter, call.path("id"), call.now)
        call.log(session, Act.CAMPAIGN_DELETED, call.path("id"))

    await call.run(verb)
    return Answer({"id": call.path("id"), "deleted": True})


async def start(call: Call) -> Answer | Response:
    """Let a campaign run from now on; starting twice is starting once."""
    return await _changed(
        call,
        Act.CAMPAIGN_STARTED,
        lambda session: campaigns.start(session, call.submitter, call.path("id"), call.service.intake, call.now),
    )


async def schedule(call: Call) -> Answer | Response:
    """Let a campaign start by itself at a time."""
    at = call.draft(Timing).scheduled_at
    return await _changed(
        call,
        Act.CAMPAIGN_SCHEDULED,
        lambda session: campaigns.schedule(session, call.submitter, call.path("id"), at, call.service.intake, call.now),
    )


async def pause(call: Call) -> Answer | Response:
    """Stop a campaign at once; whoever has not got its mail waits."""
    note = parse(Pausing, call.json() if call.raw.strip() else {}).note
    return await _changed(
        call,
        Act.CAMPAIGN_PAUSED,
        lambda session: campaigns.pause(session, call.submitter, call.path("id"), note, call.now),
    )


async def resume(call: Call) -> Answer | Response:
    """Let a paused campaign go on."""
    return await _changed(
        call,
        Act.CAMPAIGN_RESUMED,
        lambda session: campaigns.resume(session, call.submitter, call.path("id"), call.service.intake, call.now),
    )


async def cancel(call: Call) -> Answer | Response:
    """End a campaign at once; whoever has not got its mail does not get it."""
    return await _changed(
        call,
        Act.CAMPAIGN_CANCELLED,
        lambda session: campaigns.cancel(session, call.submitter, call.path("id"), call.now),
    )


async def _changed(call: Call, act: Act, verb: _Verb, *, status: HTTPStatus = HTTPStatus.OK) -> Answer | Response:
    """Take a step and show the campaign; ring its stream where it runs."""

    def step(session: Session) -> _Shown:
        campaign = verb(session)
        call.log(session, act, campaign.id)
        return view(session, campaign, call.now)

    def rung(shown: _Shown) -> list[Stream]:
        return [Stream(str(shown["stream"]))] if shown["status"] is CampaignStatus.RUNNING else []

    # Whoever stops a campaign waits for no upload.
    return await once(call, Work(step, lambda shown: Answer(shown, status), rung, URGENT), asked_by(call))


async def add(call: Call) -> Answer:
    """Add recipients: NDJSON or CSV of any length, or a JSON object with a list of them; each is added once."""
    upload = Upload(
        database=call.service.database,
        intake=call.service.intake,
        sender=call.submitter,
        campaign_id=call.path("id"),
        now=call.service.now,
    )
    await call.read(lambda session: mine(session, call))
    work = _upload(call, upload)
    added = await written_down(call, Act.CAMPAIGN_FILLED, upload.campaign_id, work, lambda done: done.counts)
    campaign = await call.read(lambda session: mine(session, call))
    if added.new and campaign.status is CampaignStatus.RUNNING:
        call.service.ring(campaign.stream)
    return Answer(added_view(added))


async def _upload(call: Call, upload: Upload) -> Added:
    kind = media_type(call.request)
    if kind == "application/json":
        call.raw = await body_of(call.request)
        return await upload.people(call.draft(Recipients).recipients)
    async with arriving(call.request) as pieces:
        if (form := _FORMATS.get(kind)) is None:
            sentence = f"must be application/json, or for a stream {' or '.join(_FORMATS)}"
            raise Invalid(Problem("Content-Type", sentence))
        return await upload.lines(pieces, form)


async def recipients(call: Call) -> Answer:
    """List the emails of a campaign, the newest first."""
    asked, captures = call.query(RecipientQuery), captures_of(call)

    def verb(session: Session) -> _Shown:
        page = campaigns.recipients(
            session, mine(session, call), call.now, status=asked.status, limit=asked.limit, after=asked.after
        )
        return page_view(session, page, captures)

    return Answer(await call.read(verb))


async def test(call: Call) -> Answer | Response:
    """Send one mail of a campaign to a few people, to look at; they do not become part of it."""
    trial = call.draft(Trial)

    def verb(session: Session) -> list[Accepted | Refused]:
        call.log(session, Act.CAMPAIGN_TESTED, call.path("id"))
        return campaigns.test(
            session, call.submitter, call.path("id"), trial.to, trial.variables, call.service.intake, call.now
        )

    def told(results: list[Accepted | Refused]) -> Answer:
        return Answer({"data": [_tested(result) for result in results]}, HTTPStatus.ACCEPTED)

    def rung(results: list[Accepted | Refused]) -> set[Stream]:
        return {result.stream for result in results if isinstance(result, Accepted)}

    return await once(call, Work(verb, told, rung, USUAL), asked_by(call))


def _tested(result: Accepted | Refused) -> _Shown:
    if not isinstance(result, Accepted):
        return problems.describe(result)
    placed = result.emails[0]
    told: _Shown = {"id": placed.id, "to": placed.to, "status": placed.status}
    return told | ({"suppression": entry_view(placed.suppression)} if placed.suppression else {})


def mine(session: Session, call: Call) -> Campaign:
    """Return the campaign that the path names."""
    return campaigns.get(session, call.tenant_id, call.path("id"))
