"""What only the mailbox itself can begin: opting in, and the link that changes everything."""

from mailer.subscribing.asking import (
    CONFIRM_FOR,
    FORGET_AFTER,
    LIMITS,
    Request,
    Standing,
    State,
    ask,
    askable,
    confirm,
    forget_unanswered,
    look,
)
from mailer.subscribing.linking import EDIT_FOR, EDIT_TEMPLATE, MOST_LINKS, mail_link

__all__ = [
    "CONFIRM_FOR",
    "EDIT_FOR",
    "EDIT_TEMPLATE",
    "FORGET_AFTER",
    "LIMITS",
    "MOST_LINKS",
    "Request",
    "Standing",
    "State",
    "ask",
    "askable",
    "confirm",
    "forget_unanswered",
    "look",
    "mail_link",
]
