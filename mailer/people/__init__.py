"""What a person has chosen: which topics to get, and whether opens may be measured."""

from mailer.people.choices import Choice, Preferences, Rejoined, may_leave, preferences, rejoin, topics
from mailer.people.consents import TRACKING, choose_tracking, tracking_choice, tracking_choices
from mailer.people.stopping import Leaving, Left, leave, lift, suppress
from mailer.people.telling import EventKind, News, tell

__all__ = [
    "TRACKING",
    "Choice",
    "EventKind",
    "Leaving",
    "Left",
    "News",
    "Preferences",
    "Rejoined",
    "choose_tracking",
    "leave",
    "lift",
    "may_leave",
    "preferences",
    "rejoin",
    "suppress",
    "tell",
    "topics",
    "tracking_choice",
    "tracking_choices",
]
