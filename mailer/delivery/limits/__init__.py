"""Limits that hold across workers: connections, mails a second, at once and a day, by relay and by group."""

from mailer.delivery.limits.admission import Limits
from mailer.delivery.limits.local import LocalStore
from mailer.delivery.limits.quota import Quota, Schedule, is_rate_reply
from mailer.delivery.limits.shared import RedisStore
from mailer.delivery.limits.stores import Store, StoreAway

__all__ = [
    "Limits",
    "LocalStore",
    "Quota",
    "RedisStore",
    "Schedule",
    "Store",
    "StoreAway",
    "is_rate_reply",
]
