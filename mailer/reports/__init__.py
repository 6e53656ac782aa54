"""Counters -> numbers, each with its formula; no report counts a big table."""

from mailer.reports.campaigns import campaign_report, campaign_sums, estimate_of, firsts
from mailer.reports.comparing import Comparison, Difference, compared
from mailer.reports.estimating import Estimate, Judged, estimated
from mailer.reports.figures import Figure, added, figures, outstanding, progress, reached
from mailer.reports.numbers import Report, daily_sums, report, stream_sums, totals
from mailer.reports.people import Did, Doer, Doers, doers
from mailer.reports.recounting import recount
from mailer.reports.returns import LOOKED_AT, Return, Returns, Wanted, returned
from mailer.reports.series import (
    FIRSTS,
    IN_SERIES,
    First,
    Point,
    Series,
    Step,
    campaign_beginning,
    campaign_series,
    stream_series,
    zone_of,
)
from mailer.reports.sheets import sheet
from mailer.reports.spans import Span
from mailer.reports.tables import By, Row, Table, campaign_table, table

__all__ = [
    "FIRSTS",
    "IN_SERIES",
    "LOOKED_AT",
    "By",
    "Comparison",
    "Did",
    "Difference",
    "Doer",
    "Doers",
    "Estimate",
    "Figure",
    "First",
    "Judged",
    "Point",
    "Report",
    "Return",
    "Returns",
    "Row",
    "Series",
    "Span",
    "Step",
    "Table",
    "Wanted",
    "added",
    "campaign_beginning",
    "campaign_report",
    "campaign_series",
    "campaign_sums",
    "campaign_table",
    "compared",
    "daily_sums",
    "doers",
    "estimate_of",
    "estimated",
    "figures",
    "firsts",
    "outstanding",
    "progress",
    "reached",
    "recount",
    "report",
    "returned",
    "sheet",
    "stream_series",
    "stream_sums",
    "table",
    "totals",
    "zone_of",
]
