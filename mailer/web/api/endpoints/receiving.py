"""Inbound mail, handed in over HTTP."""

from mailer.web.api import queries, receiving, shapes
from mailer.web.api.endpoints.endpoint import ADMIN, Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="POST",
        path="/v1/inbound/raw",
        scopes=ADMIN,
        handler=receiving.raw,
        query=queries.RawMailQuery,
        streamed=("message/rfc822",),
        answers=(shapes.TakenView,),
    ),
)
