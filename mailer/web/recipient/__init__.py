"""The links in sent mail, as recipients and their mail providers meet them."""

from mailer.web.recipient.routes import Service, routes

__all__ = ["Service", "routes"]
