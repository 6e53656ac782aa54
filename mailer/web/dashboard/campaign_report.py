"""The report of a campaign: each number with its formula, people and machines apart, in time, by provider and link."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlmodel import Session
from starlette.responses import Response

from mailer import alarms, campaigns, reports
from mailer.errors import NotFound
from mailer.models import Alarm, Campaign
from mailer.reports import FIRSTS, By, Estimate, First, Report, Series, Span, Step, Table
from mailer.reports.estimating import FEWEST
from mailer.users.permissions import May
from mailer.web.dashboard import drawing
from mailer.web.dashboard.asking import Asked, Screen
from mailer.web.dashboard.campaigns import SHARED
from mailer.web.dashboard.home import Rate
from mailer.web.dashboard.sheets import spreadsheet
from mailer.web.reporting import Sheet, campaign_sheet, series_sheet, table_sheet

#: How a campaign is looked at in time: its beginning hour by hour, or all its days.
VIEWS = (*FIRSTS, "days")
#: The most days that a series has; who reads mail after a year does so once.
_LONGEST = 366
_UTC = ZoneInfo("UTC")
_OTHERS = 50
#: What stands above everything else: a rate, and the number that it is the share of.
HEADLINES = (
    ("opened", "open_rate"),
    ("clicked", "click_rate"),
    ("left", "unsubscribe_rate"),
    ("bounced", "bounce_rate"),
    ("complained", "complaint_rate"),
)
OVER_TIME = ("opened", "clicked", "left")
IN_FIRST = ("sent", "opened", "clicked", "left", "bounced", "complained")
PROVIDER_COLUMNS = ("sent", "bounce_rate", "opened", "open_rate", "opens_machine", "clicked", "click_rate", "left")
LINK_COLUMNS = ("clicks_human", "clicks_total", "clicks_proxy", "clicks_machine", "clicks_unknown")


class _Seen(NamedTuple):
    campaign: Campaign
    report: Report
    firsts: Sequence[First]
    estimate: Estimate
    series: Series
    providers: Table
    links: Table
    alarms: Sequence[Alarm]
    others: Sequence[Campaign]


async def show(asked: Asked) -> Response:
    """Show the report; nothing on it is counted, all of it is read from sums."""
    view = _view(asked)
    seen = await asked.read(partial(_look, asked, view))
    numbers = {figure.name: figure.value for figure in seen.report.figures}
    limits = asked.service.settings
    kinds = {
        "bounce_rate": Rate(numbers["hard_bounce_rate"], limits.bounces).kind,
        "complaint_rate": Rate(numbers["complaint_rate"], limits.complaints).kind,
    }
    return asked.page(
        "campaign-report.html",
        {
            **SHARED,
            "campaign": seen.campaign,
            "numbers": numbers,
            "figures_all": seen.report.figures,
            "written": partial(drawing.written, asked),
            "headlines": HEADLINES,
            "rate_kinds": kinds,
            "suppressed": _suppressed(asked, seen.report.suppressed_by),
            "firsts": seen.firsts,
            "in_first": IN_FIRST,
            "estimate": seen.estimate,
            "fewest": str(FEWEST),
            "view": view,
            "views": VIEWS,
            "over_time": drawing.over_time(asked, seen.series.points, OVER_TIME, seen.series.step),
            "classes": drawing.by_class(asked, numbers),
            "steps": drawing.steps(asked, numbers),
            "providers": drawing.table(asked, seen.providers, PROVIDER_COLUMNS),
            "provider_columns": PROVIDER_COLUMNS,
            "links": drawing.table(asked, seen.links, LINK_COLUMNS),
            "link_columns": LINK_COLUMNS,
            "alarms": seen.alarms,
            "others": seen.others,
        },
    )


def _look(asked: Asked, view: str, session: Session) -> _Seen:
    campaign, now = mine(asked, session), asked.now
    return _Seen(
        campaign,
        reports.campaign_report(session, campaign, now),
        reports.firsts(session, campaign, now),
        reports.estimate_of(session, campaign, now),
        _series(session, campaign, view, asked, OVER_TIME),
        reports.campaign_table(session, campaign, By.PROVIDER, now),
        reports.campaign_table(session, campaign, By.LINK, now),
        [each for each in alarms.listing(session, asked.tenant_id, campaign_id=campaign.id) if not each.undone_at],
        others(asked, campaign, session),
    )


def mine(asked: Asked, session: Session) -> Campaign:
    """Return the campaign that the path names."""
    return campaigns.get(session, asked.tenant_id, asked.param("id"))


def others(asked: Asked, campaign: Campaign, session: Session) -> Sequence[Campaign]:
    """Return the newest campaigns that another one may be compared with."""
    page = campaigns.listing(session, asked.tenant_id, limit=_OTHERS)
    return [each for each in page.campaigns if each.id != campaign.id and each.started_at is not None]


def _view(asked: Asked) -> str:
    view = asked.query("view", 10)
    return view if view in VIEWS else VIEWS[0]


def _series(session: Session, campaign: Campaign, view: str, asked: Asked, names: Collection[str]) -> Series:
    if view in FIRSTS:
        return reports.campaign_beginning(session, campaign, view, asked.now)
    begin = (campaign.started_at or campaign.created_at).date()
    last = max(begin, min(asked.now.date(), begin + timedelta(days=_LONGEST - 1)))
    return reports.campaign_series(session, campaign, Span(begin, last), Step.DAY, _UTC, names)


def _suppressed(asked: Asked, found: Mapping[str, int]) -> list[tuple[str, str]]:
    return [
        (asked.say.or_else(f"suppressed_by_{reason}", reason), asked.figures.number(amount))
        for reason, amount in sorted(found.items(), key=lambda each: -each[1])
    ]


async def download(asked: Asked) -> Response:
    """Return a table of the report for a spreadsheet, whole, as the API has it."""
    what = asked.param("what")
    if (verb := _SHEETS.get(what)) is None:
        raise NotFound("there is no such table")
    return spreadsheet(f"campaign-{what}", await asked.read(partial(verb, asked)))


def _numbers(asked: Asked, session: Session) -> Sheet:
    campaign, now = mine(asked, session), asked.now
    report = reports.campaign_report(session, campaign, now)
    return campaign_sheet(report, reports.firsts(session, campaign, now), reports.estimate_of(session, campaign, now))


def _table(by: By, asked: Asked, session: Session) -> Sheet:
    return table_sheet(reports.campaign_table(session, mine(asked, session), by, asked.now))


def _in_time(asked: Asked, session: Session) -> Sheet:
    return series_sheet(_series(session, mine(asked, session), _view(asked), asked, reports.IN_SERIES))


_SHEETS: Mapping[str, Callable[[Asked, Session], Sheet]] = {
    "numbers": _numbers,
    "provider": partial(_table, By.PROVIDER),
    "link": partial(_table, By.LINK),
    "time": _in_time,
}

SCREENS = (
    Screen("/campaigns/{id}/report", May.SEE_REPORTS, show),
    Screen("/campaigns/{id}/report/{what}.csv", May.SEE_REPORTS, download),
)
