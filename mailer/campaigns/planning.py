"""A campaign before it runs: what it says, to which topic it belongs, and that it could be sent."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple, cast

from sqlmodel import Session, col, select

from mailer import catalogue, emails, ids, reports
from mailer.campaigns.drafts import CampaignChange, CampaignDraft
from mailer.catalogue import Edition
from mailer.compose.templates import Urgency
from mailer.compose.variables import Schema, Variable
from mailer.drafts import Draft, Mailbox, Tracking, parse
from mailer.errors import Conflict, Forbidden, Invalid, NotFound, Problem
from mailer.models import Campaign, CampaignStatus, Opens
from mailer.status import Status
from mailer.submission import Intake, Submitter
from mailer.submission.deciding import Desk, Frame, Writing, details_of, framed
from mailer.submission.parties import house_of
from suppression.rules import Stream

#: In `Campaign.details`: made with a key that only captures, so that nothing of it ever leaves the house.
CAPTURED = "captured"
_CHANGEABLE = (CampaignStatus.DRAFT, CampaignStatus.SCHEDULED, CampaignStatus.PAUSED)
#: What every recipient's row holds a copy of, or is counted under.
_COPIED = ("topic", "template", "locale", "tags")
_LITERAL = ("subject", "html", "text")
#: What may still change once the campaign has started: nothing that somebody has got already.
_ALWAYS = frozenset({"name", "expires_at"})


class Page(NamedTuple):
    """Some campaigns, the newest first, and whether more follow."""

    campaigns: Sequence[Campaign]
    has_more: bool


def desk_of(session: Session, sender: Submitter, context: Intake, now: datetime) -> Desk:
    """Return what is decided with in one call."""
    return Desk(session, sender, context, now, house_of(session, sender.tenant_id), Writing())


def get(session: Session, tenant_id: int, campaign_id: str) -> Campaign:
    """Return one campaign of a tenant; somebody else's is not found."""
    mine = select(Campaign).where(Campaign.id == campaign_id, Campaign.tenant_id == tenant_id)
    return _found(session.exec(mine).one_or_none())


def taken(session: Session, sender: Submitter, campaign_id: str) -> Campaign:
    """Return one campaign as it is now, and let nobody else change it or add to it until the transaction ends."""
    mine = select(Campaign).where(Campaign.id == campaign_id, Campaign.tenant_id == sender.tenant_id)
    campaign = _found(session.exec(mine.with_for_update().execution_options(populate_existing=True)).one_or_none())
    if sender.captures and not captured(campaign):
        raise Forbidden("the key only captures, and this campaign sends: use a key that was made without --inbox")
    return campaign


def _found(campaign: Campaign | None) -> Campaign:
    if campaign is None:
        raise NotFound("there is no such campaign")
    return campaign


def captured(campaign: Campaign) -> bool:
    """Return whether all mail of a campaign only goes to the inbox."""
    return bool((campaign.details or {}).get(CAPTURED))


def listing(
    session: Session, tenant_id: int, *, limit: int, after: str | None = None, status: CampaignStatus | None = None
) -> Page:
    """Return a page of campaigns, the newest first; `after` is the id of the last one of the page before."""
    statement = select(Campaign).where(Campaign.tenant_id == tenant_id)
    if status is not None:
        statement = statement.where(Campaign.status == status)
    if after is not None:
        statement = statement.where(col(Campaign.id) < after)
    found = session.exec(statement.order_by(col(Campaign.id).desc()).limit(limit + 1)).all()
    return Page(found[:limit], len(found) > limit)


def recipients(
    session: Session, campaign: Campaign, now: datetime, *, status: Status | None, limit: int, after: str | None
) -> emails.Page:
    """Return a page of a campaign's emails, the newest first."""
    # Ids tell when they were made, so only what was accepted in the campaign's days is looked at.
    days = (campaign.created_at - ids.SLACK, (campaign.ended_at or now) + ids.SLACK)
    wanted = emails.Filter(campaign_id=campaign.id, status=status, accepted=days)
    return emails.listing(session, campaign.tenant_id, wanted, limit=limit, after=after)


def create(session: Session, sender: Submitter, draft: CampaignDraft, context: Intake, now: datetime) -> Campaign:
    """Make a campaign nobody is in yet; with `scheduled_at` it starts by itself, else it is a draft."""
    desk = desk_of(session, sender, context, now)
    _check_end(draft.scheduled_at, draft.expires_at)
    campaign = Campaign(
        id=ids.new("ca", now),
        tenant_id=sender.tenant_id,
        status=CampaignStatus.SCHEDULED if draft.scheduled_at else CampaignStatus.DRAFT,
        created_at=now,
        scheduled_at=draft.scheduled_at,
        **_columns(desk, draft, captured=sender.captures),
    )
    session.add(campaign)
    session.flush()
    return campaign


def update(
    session: Session, sender: Submitter, campaign_id: str, change: CampaignChange, context: Intake, now: datetime
) -> Campaign:
    """Change a campaign that does not run; what it says only before it has started.

    Each recipient's row has a copy of topic, template, locale and tags, so these stay from the first recipient on.
    """
    campaign, desk = taken(session, sender, campaign_id), desk_of(session, sender, context, now)
    if campaign.status not in _CHANGEABLE:
        raise Conflict(f"the campaign is {campaign.status}: " + _way_out(campaign.status))
    asked = change.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if campaign.started_at is not None and (late := asked.keys() - _ALWAYS):
        raise Conflict(f"the campaign has started, so {', '.join(sorted(late))} cannot change any more")
    if asked.keys() <= _ALWAYS:
        return _renamed(session, campaign, change, now)
    draft = parse(CampaignDraft, _merged(described(session, campaign), asked))
    _check_end(campaign.scheduled_at, draft.expires_at)
    columns = _columns(desk, draft, captured=captured(campaign))
    if reports.campaign_sums(session, [campaign], now)[campaign.id]["requested"]:
        if fixed := [name for name in _COPIED if columns[name] != getattr(campaign, name)]:
            raise Conflict(
                f"the campaign has recipients, who were added with its {', '.join(fixed)}: make a new campaign"
            )
        _check_same_variables(session, campaign, catalogue.kept(session, cast("int", columns["content_id"])))
    for name, value in columns.items():
        setattr(campaign, name, value)
    session.flush()
    return campaign


def _way_out(status: CampaignStatus) -> str:
    return "pause it first" if status is CampaignStatus.RUNNING else "make a new one"


def _check_end(begin: datetime | None, end: datetime | None) -> None:
    if begin is not None and end is not None and end <= begin:
        raise Invalid(Problem("expires_at", "must be after scheduled_at"))


def _renamed(session: Session, campaign: Campaign, change: CampaignChange, now: datetime) -> Campaign:
    if "expires_at" in change.model_fields_set:
        _check_end(campaign.scheduled_at, change.expires_at)
        if change.expires_at is not None and change.expires_at <= now:
            raise Invalid(Problem("expires_at", "has passed already"))
        campaign.expires_at = change.expires_at
    campaign.name = change.name or campaign.name
    session.flush()
    return campaign


def delete(session: Session, sender: Submitter, campaign_id: str, now: datetime) -> None:
    """Forget a draft that has no recipients; one that has some is cancelled instead, since accepted mail is counted."""
    campaign = taken(session, sender, campaign_id)
    if campaign.status is not CampaignStatus.DRAFT:
        raise Conflict(f"the campaign is {campaign.status}: only a draft can be deleted")
    if number := reports.campaign_sums(session, [campaign], now)[campaign.id]["requested"]:
        raise Conflict(f"the campaign has {number} recipients: cancel it, so that each has an honest end")
    session.delete(campaign)
    session.flush()


def ready(desk: Desk, campaign: Campaign) -> Frame:
    """Return a campaign with the newest version of its content, or raise `Invalid` with all that forbids its start."""
    draft = parse(CampaignDraft, described(desk.session, campaign))
    frame = _framed(desk, draft, captured=captured(campaign))
    if reports.campaign_sums(desk.session, [campaign], desk.now)[campaign.id]["requested"]:
        _check_same_variables(desk.session, campaign, frame.edition)
    return frame


def described(session: Session, campaign: Campaign) -> dict[str, object]:
    """Return a campaign in the words in which it could be asked for."""
    details = campaign.details or {}
    said: dict[str, object] = {
        "name": campaign.name,
        "topic": campaign.topic,
        "template": campaign.template,
        "variables": campaign.variables,
        "locale": campaign.locale,
        "from": {"email": campaign.from_address, "name": campaign.from_name},
        "reply_to": [
            {"email": email, "name": name}
            for email, name in cast("list[tuple[str, str]]", details.get("reply_to") or [])
        ],
        "headers": details.get("headers"),
        "tags": campaign.tags,
        "tracking": {"opens": campaign.opens, "clicks": campaign.clicks},
        "utm": campaign.utm,
        "expires_at": campaign.expires_at,
    }
    if campaign.template is None:
        parts = catalogue.kept(session, campaign.content_id).body
        part = parts.parts[parts.locale_of(campaign.locale)]
        said |= {"subject": part.subject, "html": part.html, "text": part.text}
    return {name: value for name, value in said.items() if value is not None}


def _merged(before: Mapping[str, object], asked: Mapping[str, object]) -> dict[str, object]:
    """Return what is wanted now; a template takes the place of a literal body, and the other way round."""
    merged = {**before, **asked}
    if asked.get("template") is not None:
        merged |= {name: asked.get(name) for name in _LITERAL}
    elif any(asked.get(name) is not None for name in _LITERAL):
        merged |= {"template": None, "variables": asked.get("variables")}
    return {name: value for name, value in merged.items() if value is not None}


def _columns(desk: Desk, draft: CampaignDraft, *, captured: bool) -> dict[str, Any]:
    """Return the columns of a campaign that is in order."""
    frame = _framed(desk, draft, captured=captured)
    details = details_of(_as_mail(draft, frame.edition.body.stream))
    if captured:
        details[CAPTURED] = True
    same = ("stream", "content_id", "template", "locale", "variables", "topic", "from_address", "from_name", "tags")
    return {
        "name": draft.name,
        **{name: frame.shared[name] for name in same},
        "details": details or None,
        "opens": frame.shared["opens"],
        "clicks": frame.shared["clicks"],
        "utm": draft.utm or None,
        "expires_at": draft.expires_at,
    }


def _framed(desk: Desk, draft: CampaignDraft, *, captured: bool) -> Frame:
    key, edition = draft.topic, None
    if key is None and draft.template is not None:
        key = desk.edition(_as_mail(draft, None)).body.topic
    if key is None:
        raise Invalid(Problem("topic", "is required: a campaign belongs to a topic"))
    if (topic := desk.house.topics.get(key)) is None:
        raise Invalid(Problem("topic", f"there is no topic {key}"))
    mail = _as_mail(draft, topic.stream)
    edition = desk.edition(mail)
    checked = _lenient(edition.body.schema).check(draft.variables) if draft.template else []
    try:
        return framed(desk, mail, edition, Urgency.BULK, variables=checked, captured=captured)
    except Invalid as error:
        # The stream is the topic's: no field of a campaign is called so.
        raise Invalid(
            *(each._replace(path="topic") if each.path == "stream" else each for each in error.problems)
        ) from None


def _as_mail(draft: CampaignDraft, stream: Stream | None) -> Draft:
    """Return the mail that everybody gets, without anybody who gets it."""
    said = {name: getattr(draft, name) for name in CampaignDraft.model_fields if name in Draft.model_fields}
    said["from"] = said.pop("from_")
    return Draft.model_construct(**{**said, "scheduled_at": None}, stream=cast("Stream", stream), to=[])


def _lenient(schema: Schema) -> Schema:
    """Return the same variables, none of them required: what is absent comes with each recipient."""
    variables = {name: replace(each, required=False) for name, each in schema.variables.items()}
    return Schema(variables, schema.declared)


def _check_same_variables(session: Session, campaign: Campaign, edition: Edition) -> None:
    """Refuse a version of the template by whose declarations the recipients were not checked."""
    if edition.id == campaign.content_id:
        return
    checked = catalogue.kept(session, campaign.content_id)
    if _shape(edition.body.schema.variables) != _shape(checked.body.schema.variables):
        sentence = (
            f"version {edition.version} declares other variables than version {checked.version}, by which the"
            " recipients were checked: save a version with the same variables, or make a new campaign"
        )
        raise Invalid(Problem("template", sentence))


def _shape(variables: Mapping[str, Variable]) -> dict[str, object]:
    return {
        name: (each.type, each.required, _shape({"": each.items}) if each.items else None, _shape(each.fields))
        for name, each in variables.items()
    }


def tested(desk: Desk, campaign: Campaign, whom: Mailbox, own: Mapping[str, object]) -> Draft:
    """Return one mail of a campaign to look at; the template's examples stand for variables that nobody gave."""
    edition = catalogue.kept(desk.session, campaign.content_id)
    if campaign.started_at is not None and edition.name is not None:
        # What was frozen is shown, though a newer version may be there.
        desk.editions[edition.name] = edition
    draft = parse(CampaignDraft, described(desk.session, campaign))
    schema = desk.edition(_as_mail(draft, campaign.stream)).body.schema
    required = {name: value for name, value in schema.example().items() if schema.variables[name].required}
    draft.variables = {**required, **draft.variables, **own}
    draft.tags = {**draft.tags, "test": "true"}
    mail = _as_mail(draft, campaign.stream)
    mail.to = [whom]
    # Whoever looks at it is no reader: nothing of it is in a report (`counters.dimensions`).
    mail.tracking = Tracking(opens=Opens.OFF, clicks=Opens.OFF)
    return mail
