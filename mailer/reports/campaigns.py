"""The numbers of campaigns: whole, of their first days, and how many read what can be seen to be read."""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session

from mailer.counters import CAMPAIGN_PROVIDER, SEPARATOR
from mailer.models import Campaign
from mailer.providers import PROVIDERS
from mailer.reports.estimating import Estimate, estimated
from mailer.reports.figures import Counted, Figure, figures, outstanding, reasons
from mailer.reports.numbers import Report
from mailer.reports.reading import sums_by, within
from mailer.reports.series import First, campaign_firsts
from mailer.reports.spans import Span


def campaign_sums(session: Session, campaigns: Sequence[Campaign], now: datetime) -> dict[str, Counted]:
    """Return for each of a tenant's campaigns what was counted of its emails, metric by metric."""
    if not campaigns:
        return {}
    begin, end = min(each.created_at for each in campaigns), max(each.ended_at or now for each in campaigns)
    streams = sorted({campaign.stream for campaign in campaigns})
    facts = within(campaigns[0].tenant_id, Span.of_life(begin, end), streams, "campaign").c
    found = sums_by(session, facts.value, facts.value.in_([campaign.id for campaign in campaigns]))
    return {campaign.id: found.get(campaign.id, Counted()) for campaign in campaigns}


def campaign_report(session: Session, campaign: Campaign, now: datetime) -> Report:
    """Return the numbers of one campaign since it was made; `held` is what no final status has yet."""
    sums = campaign_sums(session, [campaign], now)[campaign.id]
    held = Figure(
        "held",
        outstanding(sums),
        "requested - every final status: waits until the campaign runs, for its turn, or for another try",
    )
    worked_out = figures(sums, requested="recipients added, one email each")
    span = Span(campaign.created_at.date(), now.date())
    return Report(span, (*worked_out, held), reasons(sums), {}, {})


def firsts(session: Session, campaign: Campaign, now: datetime) -> tuple[First, ...]:
    """Return what happened in the first 24 hours, 3 days and 7 days of a campaign; nothing before it has started."""
    return campaign_firsts(session, campaign, now) if campaign.started_at is not None else ()


def estimate_of(session: Session, campaign: Campaign, now: datetime) -> Estimate:
    """Return how many are likely to have read a campaign, told from those whose opens can be trusted."""
    values = [f"{campaign.id}{SEPARATOR}{provider}" for provider in PROVIDERS]
    span = Span.of_life(campaign.created_at, campaign.ended_at or now)
    facts = within(campaign.tenant_id, span, [campaign.stream], CAMPAIGN_PROVIDER).c
    found = sums_by(session, facts.value, facts.value.in_(values))
    return estimated({value.partition(SEPARATOR)[2]: sums for value, sums in found.items()})
