"""Bounces and complaints: the week against its limits, each mail that came back and what followed, and lost reports."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlmodel import Session
from starlette.responses import Response

from mailer import campaigns, reports, tenancy
from mailer.causes import Category
from mailer.errors import NotFound
from mailer.feedback import hearing
from mailer.models import Campaign, ToldState
from mailer.providers import PROVIDERS
from mailer.reports import Returns, Wanted
from mailer.reports.figures import Figure
from mailer.users.permissions import May
from mailer.web.dashboard import whom
from mailer.web.dashboard.asking import Asked, Screen
from mailer.web.dashboard.home import Rate, Week, week_of
from suppression.rules import Stream

_PAGE = 50
_CAMPAIGNS = 50
_CHOICES = ("kind", "category", "provider", "stream", "campaign")
#: What can be chosen, and what it asks for.
KINDS: Mapping[str, tuple[str, bool | None]] = {
    "hard": ("email.bounced", True),
    "soft": ("email.bounced", False),
    "complaint": ("email.complained", None),
}
#: The numbers on top: how many, the share that is limited, and by which limits.
_NUMBERS = (
    ("hard_bounced", "hard_bounce_rate"),
    ("soft_bounced", "soft_bounce_rate"),
    ("complained", "complaint_rate"),
)


class Number(NamedTuple):
    """One number of the week: how many, which share of what, and how near the limits."""

    name: str
    amount: Figure
    share: Figure
    rate: Rate


class _Listed(NamedTuple):
    returns: Returns
    campaigns: Sequence[Campaign]
    week: Mapping[Stream, Week]
    operator: bool


async def show(asked: Asked) -> Response:
    """Show the numbers of the week, and a page of what came back, the newest first."""
    chosen, after = {name: asked.query(name, 60) for name in _CHOICES}, asked.query("after", 40)
    listed = await asked.read(lambda session: _look(session, asked, chosen, after))
    older = listed.returns.after
    return asked.page(
        "bounces.html",
        {
            "returns": listed.returns.returns,
            "week": {stream: _numbers(asked, week.figures) for stream, week in listed.week.items()},
            "campaigns": listed.campaigns,
            "kinds": list(KINDS),
            "categories": list(Category),
            "providers": PROVIDERS,
            "chosen": chosen,
            "operator": listed.operator,
            "person_of": whom.written,
            "looked_at": reports.LOOKED_AT,
            "newest": asked.at("/bounces", **chosen) if after else "",
            "older": asked.at("/bounces", **chosen, after=older) if older else "",
        },
    )


def _look(session: Session, asked: Asked, chosen: Mapping[str, str], after: str) -> _Listed:
    tenant_id = asked.tenant_id
    kind, hard = KINDS.get(chosen["kind"], (None, None))
    wanted = Wanted(
        kind=kind,
        hard=hard,
        category=chosen["category"] or None,
        provider=chosen["provider"] or None,
        stream=next((each for each in Stream if each == chosen["stream"]), None),
        campaign_id=chosen["campaign"] or None,
    )
    return _Listed(
        reports.returned(session, tenant_id, wanted, asked.now, limit=_PAGE, after=after or None),
        campaigns.listing(session, tenant_id, limit=_CAMPAIGNS).campaigns,
        week_of(session, tenant_id, asked.now.date()),
        tenancy.is_operator(session, tenant_id),
    )


def _numbers(asked: Asked, figures: Mapping[str, Figure]) -> Sequence[Number]:
    settings = asked.service.settings
    limits = {"hard_bounced": settings.bounces, "complained": settings.complaints}
    return [
        Number(name, figures[name], figures[share], Rate(figures[share].value, limits.get(name)))
        for name, share in _NUMBERS
    ]


async def show_unmatched(asked: Asked) -> Response:
    """Show the reports that name no mail of ours: they belong to no tenant, so the operator alone sees them."""
    after = asked.query("after", 40)

    def look(session: Session) -> hearing.Page:
        if not tenancy.is_operator(session, asked.tenant_id):
            raise NotFound("there is nothing at this address")
        return hearing.listing(session, ToldState.UNMATCHED, limit=_PAGE, after=after or None)

    page = await asked.read(look)
    return asked.page(
        "bounces-unmatched.html",
        {
            "reports": page.reports,
            "kept": hearing.KEPT.days,
            "newest": asked.at("/bounces/unmatched") if after else "",
            "older": asked.at("/bounces/unmatched", after=page.reports[-1].id) if page.has_more else "",
        },
    )


SCREENS = (
    Screen("/bounces", May.SEE_BOUNCES, show),
    Screen("/bounces/unmatched", May.SEE_BOUNCES, show_unmatched),
)
