"""What a person has chosen: which topics to get, when, in which language, and whether opens may be measured."""

from mailer.people.barring import NOT_OPTED_IN, Barred, asking, barred, lacks_yes, opted_in, purpose_of
from mailer.people.choices import (
    Choice,
    Preferences,
    Rejoined,
    may_leave,
    preferences,
    rejoin,
    snooze,
    topics,
    wake,
)
from mailer.people.consents import TRACKING, choose_tracking, tracking_choice, tracking_choices
from mailer.people.finding import Found, find
from mailer.people.forbidding import Book, forbid
from mailer.people.languages import choose_language, chosen_languages
from mailer.people.opening import LastOpen, keep_last_opens, last_opens, quiet
from mailer.people.permitting import Permission, answers_of, permit
from mailer.people.stopping import Leaving, Left, enforce, key_of, keys_of, leave, lift, suppress, suppress_many
from mailer.people.telling import EventKind, News, tell

__all__ = [
    "NOT_OPTED_IN",
    "TRACKING",
    "Barred",
    "Book",
    "Choice",
    "EventKind",
    "Found",
    "LastOpen",
    "Leaving",
    "Left",
    "News",
    "Permission",
    "Preferences",
    "Rejoined",
    "answers_of",
    "asking",
    "barred",
    "choose_language",
    "choose_tracking",
    "chosen_languages",
    "enforce",
    "find",
    "forbid",
    "keep_last_opens",
    "key_of",
    "keys_of",
    "lacks_yes",
    "last_opens",
    "leave",
    "lift",
    "may_leave",
    "opted_in",
    "permit",
    "preferences",
    "purpose_of",
    "quiet",
    "rejoin",
    "snooze",
    "suppress",
    "suppress_many",
    "tell",
    "topics",
    "tracking_choice",
    "tracking_choices",
    "wake",
]
