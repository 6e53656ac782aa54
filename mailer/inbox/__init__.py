"""The capture mailbox: a relay that keeps what it gets, so that a person can read it."""

from mailer.inbox.captured import Captured, Summary, capture
from mailer.inbox.listener import Listener
from mailer.inbox.reading import Attachment, Defect, Header, Reading, read
from mailer.inbox.store import Store

__all__ = [
    "Attachment",
    "Captured",
    "Defect",
    "Header",
    "Listener",
    "Reading",
    "Store",
    "Summary",
    "capture",
    "read",
]
