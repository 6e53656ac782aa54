"""What others told about our mail."""

from mailer.web.api import listening
from mailer.web.api.endpoints.endpoint import ADMIN, Endpoint
from mailer.web.api.shapes.reports import ToldPage

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/v1/inbound/reports",
        scopes=ADMIN,
        handler=listening.listing,
        query=listening.ToldQuery,
        answers=(ToldPage,),
    ),
)
