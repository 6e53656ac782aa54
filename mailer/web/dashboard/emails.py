"""Emails: found by whom they went to and what became of them; one email, and everything that happened to it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import NamedTuple, TypeVar

from sqlmodel import Session
from starlette.responses import Response

from mailer import campaigns, emails, people, uncertain
from mailer.audit import Act
from mailer.compose.templates import Urgency
from mailer.emails import Filter, Found, Shown
from mailer.errors import Invalid, NotFound, Problem
from mailer.models import Campaign, Email, Topic
from mailer.status import WAITING, Status
from mailer.uncertain import Decision, Resolution
from mailer.users.permissions import May
from mailer.web.dashboard import framing, helping, whom
from mailer.web.dashboard.asking import Asked, Screen
from suppression import entries
from suppression.entries import Entry
from suppression.rules import Ender, Stream

Chosen = TypeVar("Chosen", bound=StrEnum)
_PAGE = 50
#: How many campaigns the list to choose from has; any other is found from its own page.
_CAMPAIGNS = 50
_CHOICES = ("stream", "status", "topic", "campaign", "tag", "from", "to")
_HITS = ("email.opened", "email.clicked")
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


class _Listed(NamedTuple):
    found: Found
    shown: Mapping[int, Shown]
    topics: Sequence[Topic]
    campaigns: Sequence[Campaign]
    #: The address that was asked for, as its mail has it.
    address: str


async def show(asked: Asked) -> Response:
    """Show a page of emails, the newest first, and the form that looks for others."""
    chosen = {name: asked.form.one(name).strip() or asked.query(name) for name in _CHOICES}
    person, after = asked.query("person"), asked.query("after")
    listed = await asked.read(lambda session: _look(session, asked, chosen, person, after))
    kept = {**chosen, "person": person}
    return asked.page(
        "emails.html",
        {
            "emails": listed.found.emails,
            "shown": listed.shown,
            "topics": listed.topics,
            "campaigns": listed.campaigns,
            "statuses": list(Status),
            "chosen": chosen,
            "person": person,
            "address": listed.address,
            "asked_for": any(kept.values()),
            "looked_at": emails.LOOKED_AT,
            "newest": asked.at("/emails", **kept) if after else "",
            "older": asked.at("/emails", **kept, after=listed.found.after) if listed.found.after else "",
        },
    )


async def find(asked: Asked) -> Response:
    """Lead to what was asked for. It comes as a form, and its answer names nobody: addresses stay out of logs."""
    chosen = {name: asked.form.one(name).strip()[:200] for name in _CHOICES}
    if chosen["tag"] and "=" not in chosen["tag"]:
        raise Invalid(Problem("tag", "emails_wrong_tag"))
    who = asked.form.one("who").strip()
    if not who:
        return asked.to("/emails", **chosen)
    found = await asked.read(lambda session: whom.by_words(session, asked, who))
    if isinstance(found, Email):
        return asked.to(f"/emails/{found.id}")
    return asked.to("/emails", **chosen, person=whom.written(found))


def _look(session: Session, asked: Asked, chosen: Mapping[str, str], person: str, after: str) -> _Listed:
    known = people.topics(session, asked.tenant_id)
    named = campaigns.listing(session, asked.tenant_id, limit=_CAMPAIGNS).campaigns
    campaign = _campaign(session, asked, chosen["campaign"])
    if campaign is not None and all(each.id != campaign.id for each in named):
        named = [campaign, *named]
    somebody = _person(session, asked, person) if person else None
    wanted = Filter(
        prints=somebody.prints if somebody else (),
        stream=_one_of(Stream, chosen["stream"]),
        status=_one_of(Status, chosen["status"]),
        campaign_id=chosen["campaign"] or None,
        topic=chosen["topic"] or None,
        tag=chosen["tag"] if "=" in chosen["tag"] else None,
        accepted=_accepted(chosen, campaign),
    )
    found = emails.search(session, asked.tenant_id, wanted, limit=_PAGE, after=after or None)
    address = (somebody.address or "") if somebody else ""
    return _Listed(found, emails.versions_of(session, found.emails), known, named, address)


def _person(session: Session, asked: Asked, fingerprint: str) -> whom.Person:
    """Return whom a query names; who is not known here has no mail."""
    try:
        return whom.by_fingerprint(session, asked, fingerprint)
    except NotFound:
        return whom.Person(None, (whom.read(fingerprint) or b"",))


def _campaign(session: Session, asked: Asked, campaign_id: str) -> Campaign | None:
    try:
        return campaigns.get(session, asked.tenant_id, campaign_id) if campaign_id else None
    except NotFound:
        return None


def _one_of(kind: type[Chosen], text: str) -> Chosen | None:
    return next((each for each in kind if each == text), None)


def _accepted(chosen: Mapping[str, str], campaign: Campaign | None) -> tuple[datetime, datetime] | None:
    """Return between which moments to look: the days that were chosen, and those in which the campaign grew."""
    first, last = _day(chosen["from"]), _day(chosen["to"])
    begins = [each for each in (first, campaign.created_at if campaign else None) if each]
    ends = [
        each for each in (last + timedelta(days=1) if last else None, campaign.ended_at if campaign else None) if each
    ]
    return (max(begins, default=_FIRST), min(ends, default=_LAST)) if begins or ends else None


def _day(text: str) -> datetime | None:
    """Return the beginning of a day in UTC; what is no day asks for nothing."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return datetime(day.year, day.month, day.day, tzinfo=UTC) if 1970 <= day.year < 9998 else None


class _Seen(NamedTuple):
    """One email, and what its page tells of it."""

    email: Email
    told: Mapping[str, object]
    #: What forbade it.
    entry: Entry | None
    campaign: Campaign | None
    #: The person said no to being measured: what they did stays unseen, also what was written down before.
    refused: bool
    #: Whom its events name, by `operator:us_…`.
    users: Mapping[str, str]


async def show_one(asked: Asked) -> Response:
    """Show one email: its way, step by step, to whom and from whom it goes, and what may be done about it."""
    seen = await asked.read(lambda session: _see(session, asked))
    email, who = seen.email, asked.may(May.SEE_WHO) and not seen.refused
    told = seen.told["events"]
    assert isinstance(told, list)
    return asked.page(
        "email.html",
        {
            "email": email,
            "told": seen.told,
            "steps": [each for each in told if who or each["type"] not in _HITS],
            "unseen": not who and any(each["type"] in _HITS for each in told),
            "entry": seen.entry,
            "campaign": seen.campaign,
            "person": whom.written(email.fingerprint) if email.fingerprint else "",
            "message_id": emails.message_id(email),
            "details": email.details or {},
            "preview": _previewed(asked, email),
            "cancellable": email.status in WAITING,
            "users": seen.users,
            "resolutions": list(Resolution) if email.status is Status.UNCERTAIN else [],
        },
    )


def _see(session: Session, asked: Asked) -> _Seen:
    email = emails.get(session, asked.tenant_id, asked.param("id"))
    captures = [stream for stream in Stream if asked.service.settings.captures(stream)]
    told = emails.view(email, emails.events_of(session, email), emails.shown_of(session, email), captures=captures)
    entry = entries.by_ids(session, asked.tenant_id, [email.suppression_id]) if email.suppression_id else {}
    refused = (
        email.fingerprint is not None and people.tracking_choice(session, asked.tenant_id, email.fingerprint) is False
    )
    campaign = _campaign(session, asked, email.campaign_id or "")
    happened = told["events"]
    assert isinstance(happened, list)
    users = whom.operators(session, [str(each.get("resolved_by")) for each in happened])
    return _Seen(email, told, entry.get(email.suppression_id or ""), campaign, refused, users)


def _previewed(asked: Asked, email: Email) -> bool:
    """Return whether this user may read this mail: what may hold a code or a link into an account, nobody may.

    Product code that writes a mail out by itself may put one into any: only its templates say what is urgent.
    """
    if email.address is None:
        return False
    if email.stream is Stream.PROMOTIONAL:
        return True
    return asked.may(May.SEE_PEOPLE) and email.template is not None and email.urgency != Urgency.URGENT


async def body(asked: Asked) -> Response:
    """Show the HTML of the mail for the frame in its page."""
    email = await asked.read(lambda session: emails.get(session, asked.tenant_id, asked.param("id")))
    html = await asked.service.view(email.id) if _previewed(asked, email) else None
    if html is None:
        raise NotFound("there is nothing to read of this email")
    return framing.mail(html)


async def act_on_one(asked: Asked) -> Response:
    """Take an email back, or say what became of one that a crash left in doubt."""
    do = asked.form.one("do")
    if do == "cancel":
        await asked.run(partial(_cancel, asked))
    elif do in list(Resolution):
        email = await asked.run(partial(_resolve, asked, Resolution(do)))
        if email.status is Status.QUEUED:
            asked.service.ring(email.stream)
    else:
        raise Invalid(Problem("do", f"must be one of cancel, {', '.join(Resolution)}"))
    return asked.to(f"/emails/{asked.param('id')}", done=f"email_{do}")


def _cancel(asked: Asked, session: Session) -> None:
    email = emails.cancel(session, asked.tenant_id, asked.param("id"), asked.now)
    asked.log(session, Act.EMAIL_CANCELLED, email.id)


def _resolve(asked: Asked, resolution: Resolution, session: Session) -> Email:
    note = helping.note(asked, "email")
    email = emails.get(session, asked.tenant_id, asked.param("id"))
    decision = Decision(resolution, f"{Ender.OPERATOR}:{asked.visit.user.id}", note)
    uncertain.resolve_one(session, email, decision, asked.now)
    asked.log(session, Act.EMAIL_RESOLVED, email.id, resolution=resolution.value)
    return email


SCREENS = (
    Screen("/emails", May.SEE_EMAILS, show, find),
    Screen("/emails/{id}", May.SEE_EMAILS, show_one, act_on_one, may_act=May.STEER_EMAILS),
    Screen("/emails/{id}/body", May.SEE_EMAILS, body),
)
