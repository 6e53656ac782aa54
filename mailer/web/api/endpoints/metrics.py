"""Numbers: whole, side by side, in time, and of campaigns."""

from pydantic import BaseModel

from mailer.models import Scope
from mailer.web.api import queries, reporting, shapes
from mailer.web.api.endpoints.endpoint import CAMPAIGNS, PEOPLE, READ, Endpoint, Handler

_REPORT = "/v1/campaigns/{id}/report"


def _report(
    path: str, handler: Handler, query: type[BaseModel] | None, shape: type[BaseModel], scopes: frozenset[Scope]
) -> Endpoint:
    """Return an endpoint that answers as JSON or, where that is accepted, as CSV."""
    return Endpoint(
        method="GET", path=path, scopes=scopes, handler=handler, query=query, answers=(shape,), files=(reporting.CSV,)
    )


ENDPOINTS: tuple[Endpoint, ...] = (
    _report("/v1/metrics", reporting.metrics, queries.MetricsQuery, shapes.MetricsView, READ),
    _report("/v1/metrics/table", reporting.table, queries.TableQuery, shapes.TableView, READ),
    _report("/v1/metrics/series", reporting.series, queries.SeriesQuery, shapes.SeriesView, READ),
    _report(_REPORT, reporting.campaign, None, shapes.CampaignReportView, CAMPAIGNS),
    _report(f"{_REPORT}/table", reporting.campaign_table, queries.CampaignTableQuery, shapes.TableView, CAMPAIGNS),
    _report(f"{_REPORT}/series", reporting.campaign_series, queries.CampaignSeriesQuery, shapes.SeriesView, CAMPAIGNS),
    _report(f"{_REPORT}/comparison", reporting.comparison, queries.ComparisonQuery, shapes.ComparisonView, CAMPAIGNS),
    # Who did what is about people: a key that sends and steers campaigns does not read it.
    _report(f"{_REPORT}/people", reporting.doers, queries.DoersQuery, shapes.DoersPage, PEOPLE),
)
