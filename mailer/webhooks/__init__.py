"""Webhooks out: product code hears what happened (spec section 11), by Standard Webhooks."""

from mailer.webhooks.delivering import Deliverer
from mailer.webhooks.endpoints import Hooks

__all__ = ["Deliverer", "Hooks"]
