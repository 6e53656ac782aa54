"""The table of endpoints: it drives the routes, the keys' scopes and the OpenAPI document."""

from mailer.web.api.endpoints.endpoint import Endpoint, Handler
from mailer.web.api.endpoints.table import ENDPOINTS

__all__ = ["ENDPOINTS", "Endpoint", "Handler"]
