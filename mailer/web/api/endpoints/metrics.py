"""Numbers."""

from mailer.web.api import queries, shapes, showing
from mailer.web.api.endpoints.endpoint import READ, Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/v1/metrics",
        scopes=READ,
        handler=showing.metrics,
        query=queries.MetricsQuery,
        answers=(shapes.MetricsView,),
    ),
)
