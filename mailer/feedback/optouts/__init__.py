"""Somebody leaves, chooses anew, or takes it back: entries, what waits, events and counters in one transaction."""

from mailer.feedback.optouts.acts import How, Kind, Outcome, email_of, leaves_topic_only
from mailer.feedback.optouts.choosing import SNOOZE_FOR, Chosen, choose, snooze, stop
from mailer.feedback.optouts.leaving import left_only, opted_out
from mailer.feedback.optouts.undoing import BY_API, BY_EDIT, BY_LINK, UNDO_FOR, say_why, undo, undoable

__all__ = [
    "BY_API",
    "BY_EDIT",
    "BY_LINK",
    "SNOOZE_FOR",
    "UNDO_FOR",
    "Chosen",
    "How",
    "Kind",
    "Outcome",
    "choose",
    "email_of",
    "leaves_topic_only",
    "left_only",
    "opted_out",
    "say_why",
    "snooze",
    "stop",
    "undo",
    "undoable",
]
