"""The HTTP API of product code."""

from mailer.web.api.routing import Direct, routes

__all__ = ["Direct", "routes"]
