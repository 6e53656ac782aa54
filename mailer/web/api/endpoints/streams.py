"""How the streams stand."""

from mailer.web.api import operating, shapes
from mailer.web.api.endpoints.endpoint import READ, Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(method="GET", path="/v1/streams", scopes=READ, handler=operating.listing, answers=(shapes.StreamPage,)),
)
