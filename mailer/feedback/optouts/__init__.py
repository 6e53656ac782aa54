"""Somebody leaves, chooses anew, or takes it back: entries, what waits, events and counters in one transaction."""

from mailer.feedback.optouts.acts import How, Kind, Outcome, begin, email_of, leaves_topic_only
from mailer.feedback.optouts.choosing import SNOOZE_FOR, Chosen, choose, snooze, stop
from mailer.feedback.optouts.complaining import complained
from mailer.feedback.optouts.leaving import left_only, opted_out
from mailer.feedback.optouts.marking import SOON
from mailer.feedback.optouts.supporting import OnBehalf, leave_on_behalf
from mailer.feedback.optouts.telling import tell_each
from mailer.feedback.optouts.undoing import BY_API, BY_EDIT, BY_LINK, BY_MAIL, UNDO_FOR, say_why, undo, undoable

__all__ = [
    "BY_API",
    "BY_EDIT",
    "BY_LINK",
    "BY_MAIL",
    "SNOOZE_FOR",
    "SOON",
    "UNDO_FOR",
    "Chosen",
    "How",
    "Kind",
    "OnBehalf",
    "Outcome",
    "begin",
    "choose",
    "complained",
    "email_of",
    "leave_on_behalf",
    "leaves_topic_only",
    "left_only",
    "opted_out",
    "say_why",
    "snooze",
    "stop",
    "tell_each",
    "undo",
    "undoable",
]
