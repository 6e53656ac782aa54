"""The dashboard: what marketers, support and operators see and do in a browser, below `/app`."""

from mailer.web.dashboard.routes import routes

__all__ = ["routes"]
