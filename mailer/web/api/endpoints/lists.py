"""Suppression lists in and out."""

from mailer.web.api import exchanging, queries, shapes
from mailer.web.api.endpoints.endpoint import SUPPRESSIONS, Endpoint

_TYPES = ("text/csv", "application/x-ndjson")

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="POST",
        path="/v1/suppressions/import",
        scopes=SUPPRESSIONS,
        handler=exchanging.import_,
        query=queries.ImportQuery,
        streamed=_TYPES,
        answers=(shapes.ImportedView,),
        files=("application/x-ndjson",),
    ),
    Endpoint(
        method="GET",
        path="/v1/suppressions/export",
        scopes=SUPPRESSIONS,
        handler=exchanging.export,
        query=queries.ExportQuery,
        answers=(),
        files=_TYPES,
    ),
)
