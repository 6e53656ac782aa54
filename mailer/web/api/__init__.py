"""The HTTP API of product code."""

from mailer.web.api.routing import routes

__all__ = ["routes"]
