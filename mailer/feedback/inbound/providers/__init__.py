"""What providers tell by HTTP: a file each, octets and headers in, `Report`s out, each with who vouches for it."""

from mailer.feedback.inbound.providers.accounts import Accounts, accounts
from mailer.feedback.inbound.providers.arriving import Arrival, Batch, Read, Told, Unreadable

__all__ = ["Accounts", "Arrival", "Batch", "Read", "Told", "Unreadable", "accounts"]
