"""Opting in."""

from mailer.status import Status
from mailer.web.api.shapes.problems import Shape


class AskedView(Shape):
    """The mail that asks for the yes; suppressed where the mailbox is known not to take mail."""

    id: str
    status: Status
