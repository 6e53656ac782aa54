"""What may stand in the query of a GET."""

from mailer.web.api.queries.campaigns import CampaignQuery, RecipientQuery
from mailer.web.api.queries.emails import EmailQuery
from mailer.web.api.queries.lists import ExportQuery, ImportQuery
from mailer.web.api.queries.metrics import (
    CampaignSeriesQuery,
    CampaignTableQuery,
    ComparisonQuery,
    DoersQuery,
    MetricsQuery,
    SeriesQuery,
    Spanned,
    TableQuery,
)
from mailer.web.api.queries.paging import Cursor, EmailCursor, Nothing, Paged, Query, Tag
from mailer.web.api.queries.receiving import RawMailQuery
from mailer.web.api.queries.suppressions import CheckQuery, LiftQuery, SuppressionQuery
from mailer.web.api.queries.webhooks import DeliveryQuery

__all__ = [
    "CampaignQuery",
    "CampaignSeriesQuery",
    "CampaignTableQuery",
    "CheckQuery",
    "ComparisonQuery",
    "Cursor",
    "DeliveryQuery",
    "DoersQuery",
    "EmailCursor",
    "EmailQuery",
    "ExportQuery",
    "ImportQuery",
    "LiftQuery",
    "MetricsQuery",
    "Nothing",
    "Paged",
    "Query",
    "RawMailQuery",
    "RecipientQuery",
    "SeriesQuery",
    "Spanned",
    "SuppressionQuery",
    "TableQuery",
    "Tag",
]
