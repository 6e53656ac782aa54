"""Reports: numbers side by side, in time, of two campaigns, and who did what; each as JSON or as CSV."""

from collections.abc import Callable
from datetime import datetime

from sqlmodel import Session
from starlette.responses import Response

from mailer import alarms, campaigns, reports
from mailer.models import Campaign
from mailer.reports import By, Span
from mailer.web.api.alarming import alarm_view
from mailer.web.api.calls import NO_STORE, Answer, Call
from mailer.web.api.campaigning import mine
from mailer.web.api.queries import (
    CampaignSeriesQuery,
    CampaignTableQuery,
    ComparisonQuery,
    DoersQuery,
    MetricsQuery,
    SeriesQuery,
    Spanned,
    TableQuery,
)
from mailer.web.reporting import (
    Sheet,
    campaign_sheet,
    comparison_sheet,
    doers_sheet,
    numbers_sheet,
    series_sheet,
    table_sheet,
)

#: In which every report is answered to whoever accepts it.
CSV = "text/csv"


async def metrics(call: Call) -> Answer | Response:
    """Show the numbers of the emails that were accepted in some days, each with its formula."""
    asked = call.query(MetricsQuery)
    span = _span(call, asked)

    def verb(session: Session) -> Sheet:
        return numbers_sheet(reports.report(session, call.tenant_id, span, stream=asked.stream, tag=asked.tag))

    return await _told(call, "report", verb)


async def table(call: Call) -> Answer | Response:
    """Show the numbers of each stream, topic, template, campaign, tag, mailbox provider or link side by side."""
    asked = call.query(TableQuery)
    span = _span(call, asked)

    def verb(session: Session) -> Sheet:
        found = reports.table(session, call.tenant_id, span, asked.by, stream=asked.stream, limit=asked.limit)
        return table_sheet(found)

    return await _told(call, f"by-{asked.by}", verb)


async def series(call: Call) -> Answer | Response:
    """Show what happened in each hour or day, whenever the emails were accepted."""
    asked = call.query(SeriesQuery)
    span, zone = _span(call, asked), reports.zone_of(asked.tz)

    def verb(session: Session) -> Sheet:
        found = reports.stream_series(session, call.tenant_id, span, asked.step, stream=asked.stream, zone=zone)
        return series_sheet(found)

    return await _told(call, f"by-{asked.step}", verb)


async def campaign(call: Call) -> Answer | Response:
    """Show the numbers of a campaign, each with its formula, of its first days, and how many are likely to read it."""
    return await _told(call, "campaign", lambda session: campaign_report(session, mine(session, call), call.now))


def campaign_report(session: Session, campaign: Campaign, now: datetime) -> Sheet:
    """Return the report of a campaign as JSON and tables show it."""
    told = reports.campaign_report(session, campaign, now)
    firsts, estimate = reports.firsts(session, campaign, now), reports.estimate_of(session, campaign, now)
    sheet = campaign_sheet(told, firsts, estimate)
    found = alarms.listing(session, campaign.tenant_id, campaign_id=campaign.id)
    about = {"id": campaign.id, "status": campaign.status, "alarms": [alarm_view(alarm) for alarm in found]}
    return sheet._replace(data={**about, **sheet.data})


async def campaign_table(call: Call) -> Answer | Response:
    """Show the numbers of a campaign by mailbox provider or by link."""
    asked = call.query(CampaignTableQuery)

    def verb(session: Session) -> Sheet:
        return table_sheet(reports.campaign_table(session, mine(session, call), By(asked.by), call.now))

    return await _told(call, f"campaign-by-{asked.by}", verb)


async def campaign_series(call: Call) -> Answer | Response:
    """Show what happened to a campaign in each hour or day."""
    asked = call.query(CampaignSeriesQuery)
    span, zone = _span(call, asked), reports.zone_of(asked.tz)

    def verb(session: Session) -> Sheet:
        return series_sheet(reports.campaign_series(session, mine(session, call), span, asked.step, zone))

    return await _told(call, f"campaign-by-{asked.step}", verb)


async def comparison(call: Call) -> Answer | Response:
    """Compare a campaign with another: which rates differ, by how much, and whether that can be chance."""
    other = call.query(ComparisonQuery).with_

    def verb(session: Session) -> Sheet:
        first, second = mine(session, call), campaigns.get(session, call.tenant_id, other)
        sums = reports.campaign_sums(session, [first, second], call.now)
        return comparison_sheet(first.id, second.id, reports.compared(sums[first.id], sums[second.id]))

    return await _told(call, "comparison", verb)


async def doers(call: Call) -> Answer | Response:
    """Show who opened, clicked, bounced or unsubscribed; opens and clicks only where they are measured individually."""
    asked = call.query(DoersQuery)

    def verb(session: Session) -> Sheet:
        found = reports.doers(session, mine(session, call), asked.did, limit=asked.limit, after=asked.after)
        return doers_sheet(found)

    return await _told(call, asked.did, verb)


def _span(call: Call, asked: Spanned) -> Span:
    return Span.of(call.now, days=asked.days, first=asked.from_, last=asked.to)


async def _told(call: Call, name: str, verb: Callable[[Session], Sheet]) -> Answer | Response:
    """Answer with JSON, or with the table as a file where CSV is accepted."""
    sheet = await call.read(verb)
    if CSV not in call.request.headers.get("accept", ""):
        return Answer(sheet.data)
    headers = {**NO_STORE, "Content-Disposition": f'attachment; filename="{name}.csv"'}
    if isinstance(more := sheet.data.get("after"), str):
        # A table has no place for it, and whoever asks page by page needs it.
        headers["X-After"] = more
    return Response(sheet.csv, headers=headers, media_type=f"{CSV}; charset=utf-8")
