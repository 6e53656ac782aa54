"""Campaigns: all of them, the newest first, each with how far it is and how it went."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlmodel import Session
from starlette.responses import Response

from mailer import campaigns, reports
from mailer.models import Campaign, CampaignStatus
from mailer.reports.figures import RATES
from mailer.users.permissions import May
from mailer.web.dashboard.asking import Asked, Screen

_PAGE = 25
#: State -> how it is shown.
KINDS: Mapping[CampaignStatus, str] = {
    CampaignStatus.RUNNING: "good",
    CampaignStatus.SCHEDULED: "warn",
    CampaignStatus.PAUSED: "warn",
    CampaignStatus.EXPIRED: "bad",
}
#: What every screen with figures shows them by.
SHARED: Mapping[str, object] = {"kinds": KINDS, "rates": RATES}


class Line(NamedTuple):
    """One campaign of the list."""

    campaign: Campaign
    #: As `reports.progress`.
    progress: Mapping[str, int]
    numbers: Mapping[str, float | None]
    formulas: Mapping[str, str]

    @property
    def ended(self) -> int:
        """Return how many of its emails have come to an end."""
        return self.progress["requested"] - self.progress["held"]


def lines(session: Session, asked: Asked, some: Sequence[Campaign]) -> list[Line]:
    """Return campaigns with their numbers; sums only, nothing is counted here."""
    sums = reports.campaign_sums(session, some, asked.now)
    found = []
    for each in some:
        figures = reports.figures(sums[each.id])
        numbers = {figure.name: figure.value for figure in figures}
        formulas = {figure.name: figure.formula for figure in figures}
        found.append(Line(each, reports.progress(sums[each.id]), numbers, formulas))
    return found


async def show(asked: Asked) -> Response:
    """Show a page of campaigns, those of one state where that is asked for."""
    status = _status(asked.query("status", 20))
    after = asked.query("after", 40)

    def look(session: Session) -> tuple[list[Line], bool]:
        page = campaigns.listing(session, asked.tenant_id, limit=_PAGE, after=after or None, status=status)
        return lines(session, asked, page.campaigns), page.has_more

    found, more = await asked.read(look)
    kept = {"status": status or ""}
    return asked.page(
        "campaigns.html",
        {
            "lines": found,
            **SHARED,
            "statuses": list(CampaignStatus),
            "chosen": status,
            "newest": asked.at("/campaigns", **kept) if after else "",
            "older": asked.at("/campaigns", **kept, after=found[-1].campaign.id) if more else "",
        },
    )


def _status(text: str) -> CampaignStatus | None:
    return CampaignStatus(text) if text in set(CampaignStatus) else None


SCREENS = (Screen("/campaigns", May.SEE_CAMPAIGNS, show),)
