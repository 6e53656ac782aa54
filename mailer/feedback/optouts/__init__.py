"""Somebody leaves, chooses anew, or takes it back: entries, what waits, events and counters in one transaction."""

from mailer.feedback.optouts.acts import How, Kind, Outcome, begin, email_of, leaves_topic_only
from mailer.feedback.optouts.choosing import Chosen, choose
from mailer.feedback.optouts.complaining import complained
from mailer.feedback.optouts.leaving import left_only, opted_out
from mailer.feedback.optouts.marking import SOON
from mailer.feedback.optouts.telling import tell_each
from mailer.feedback.optouts.undoing import UNDO_FOR, undo, undoable

__all__ = [
    "SOON",
    "UNDO_FOR",
    "Chosen",
    "How",
    "Kind",
    "Outcome",
    "begin",
    "choose",
    "complained",
    "email_of",
    "leaves_topic_only",
    "left_only",
    "opted_out",
    "tell_each",
    "undo",
    "undoable",
]
