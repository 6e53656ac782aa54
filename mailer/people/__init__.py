"""What a person has chosen: which topics to get, when, in which language, and whether opens may be measured."""

from mailer.people.choices import (
    Choice,
    Preferences,
    Rejoined,
    kin,
    may_leave,
    preferences,
    rejoin,
    snooze,
    topics,
    wake,
)
from mailer.people.consents import TRACKING, choose_tracking, tracking_choice, tracking_choices
from mailer.people.languages import choose_language, chosen_languages
from mailer.people.permitting import Permission, answers_of, permit, permitted
from mailer.people.stopping import Leaving, Left, leave, lift, suppress
from mailer.people.telling import EventKind, News, tell

__all__ = [
    "TRACKING",
    "Choice",
    "EventKind",
    "Leaving",
    "Left",
    "News",
    "Permission",
    "Preferences",
    "Rejoined",
    "answers_of",
    "choose_language",
    "choose_tracking",
    "chosen_languages",
    "kin",
    "leave",
    "lift",
    "may_leave",
    "permit",
    "permitted",
    "preferences",
    "rejoin",
    "snooze",
    "suppress",
    "tell",
    "topics",
    "tracking_choice",
    "tracking_choices",
    "wake",
]
