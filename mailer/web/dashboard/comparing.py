"""Two campaigns side by side, and who did what with one of them."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from sqlmodel import Session
from starlette.responses import Response, StreamingResponse

from mailer import campaigns, reports
from mailer.errors import Conflict, Invalid, Problem
from mailer.models import Campaign
from mailer.reports import Comparison, Did, Difference, Doers
from mailer.reports.comparing import LEVEL
from mailer.users.permissions import May
from mailer.web.dashboard.asking import Asked, Screen
from mailer.web.dashboard.campaign_report import mine, others
from mailer.web.dashboard.campaigns import SHARED, Line, lines
from mailer.web.dashboard.pages import HEADERS
from mailer.web.dashboard.sheets import spreadsheet
from mailer.web.reporting import comparison_sheet, doers_csv

_PAGE, _PAGE_OF_FILE = 50, 1000


class _Pair(NamedTuple):
    first: Line
    #: None until one is chosen.
    second: Line | None
    found: Comparison | None
    others: Sequence[Campaign]


async def show(asked: Asked) -> Response:
    """Show each rate of two campaigns, and whether their difference can be chance."""
    pair = await asked.read(partial(_compare, asked))
    return asked.page(
        "campaign-compare.html",
        {
            **SHARED,
            "campaign": pair.first.campaign,
            "first": pair.first,
            "second": pair.second,
            "differences": pair.found.differences if pair.found else (),
            "verdict": verdict,
            "points": partial(points, asked),
            "others": pair.others,
            "level": asked.figures.share(LEVEL, 0),
        },
    )


def _compare(asked: Asked, session: Session) -> _Pair:
    campaign, other = mine(asked, session), asked.query("with", 40)
    choice = others(asked, campaign, session)
    if not other:
        return _Pair(lines(session, asked, [campaign])[0], None, None, choice)
    second = campaigns.get(session, asked.tenant_id, other)
    sums = reports.campaign_sums(session, [campaign, second], asked.now)
    found = reports.compared(sums[campaign.id], sums[second.id])
    one, two = lines(session, asked, [campaign, second])
    return _Pair(one, two, found, choice)


def verdict(each: Difference) -> str:
    """Return in a word what a difference means: nothing, few, same, higher or lower."""
    if each.difference is None:
        return "nothing"
    if each.chance is None:
        return "few"
    if each.chance >= LEVEL:
        return "same"
    return "higher" if each.difference > 0 else "lower"


def points(asked: Asked, value: float | None) -> str:
    """Return a difference of two shares in percentage points, with its sign: +1.2 or -0.3."""
    if value is None:
        return asked.figures.number(None)
    text = f"{value * 100:+.2f}".replace("-", "\u2212")
    return text if asked.say.language == "en" else text.replace(".", ",")


async def download(asked: Asked) -> Response:
    """Return the comparison for a spreadsheet."""
    pair = await asked.read(partial(_compare, asked))
    if pair.second is None or pair.found is None:
        raise Invalid(Problem("with", "is required: the id of the other campaign"))
    return spreadsheet("comparison", comparison_sheet(pair.first.campaign.id, pair.second.campaign.id, pair.found))


class _Who(NamedTuple):
    campaign: Campaign
    doers: Doers | None
    #: Why nobody may know.
    hidden: str


async def show_who(asked: Asked) -> Response:
    """Show who opened, clicked, bounced or left, a page at a time; what is measured in sums names nobody."""
    did, after = _did(asked), asked.query("after", 40)
    who = await asked.read(partial(_look, asked, did))
    doers = who.doers
    return asked.page(
        "campaign-who.html",
        {
            "campaign": who.campaign,
            "did": did,
            "ways": list(Did),
            "doers": doers,
            "hidden": who.hidden,
            "newest": asked.at(f"/campaigns/{who.campaign.id}/who", did=did) if after else "",
            "older": asked.at(f"/campaigns/{who.campaign.id}/who", did=did, after=doers.after)
            if doers and doers.has_more and doers.after
            else "",
        },
    )


async def download_who(asked: Asked) -> Response:
    """Return all of them for a spreadsheet, page after page as it is read."""
    did = _did(asked)
    # Whether anybody may know is said before the file begins.
    first = await asked.read(lambda session: _page(asked, did, None, session))
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{did}.csv"'}
    lines = doers_csv(first, lambda after: asked.read(partial(_page, asked, did, after)))
    return StreamingResponse(lines, headers=headers, media_type="text/csv; charset=utf-8")


def _page(asked: Asked, did: Did, after: str | None, session: Session) -> Doers:
    return reports.doers(session, mine(asked, session), did, limit=_PAGE_OF_FILE, after=after)


def _look(asked: Asked, did: Did, session: Session) -> _Who:
    campaign = mine(asked, session)
    try:
        found = reports.doers(session, campaign, did, limit=_PAGE, after=asked.query("after", 40) or None)
    except Conflict as error:
        return _Who(campaign, None, str(error))
    return _Who(campaign, found, "")


def _did(asked: Asked) -> Did:
    did = asked.query("did", 20)
    return Did(did) if did in set(Did) else Did.OPENED


SCREENS = (
    Screen("/campaigns/{id}/compare", May.SEE_REPORTS, show),
    Screen("/campaigns/{id}/compare.csv", May.SEE_REPORTS, download),
    Screen("/campaigns/{id}/who", May.SEE_WHO, show_who),
    Screen("/campaigns/{id}/who.csv", May.SEE_WHO, download_who),
)
