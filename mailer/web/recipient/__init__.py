"""The links in sent mail, as recipients and their mail providers meet them."""

from mailer.web.recipient.asking import Service
from mailer.web.recipient.routes import routes

__all__ = ["Service", "routes"]
