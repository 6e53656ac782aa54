"""Mails that come back, read: bounces (standard or not), complaints, and what only looks like them. Pure."""

from mailer.feedback.inbound.parsing.mime import LONGEST
from mailer.feedback.inbound.parsing.reading import read

__all__ = ["LONGEST", "read"]
