"""What follows from what others tell us about our mail: one verb, `hear`."""

from mailer.feedback.hearing.keeping import KEPT, Page, forget, in_state, listing
from mailer.feedback.hearing.listening import give_up, hear, hear_again, refused, waiting
from mailer.feedback.hearing.matching import vouched
from mailer.feedback.hearing.policy import Fate, Heard

__all__ = [
    "KEPT",
    "Fate",
    "Heard",
    "Page",
    "forget",
    "give_up",
    "hear",
    "hear_again",
    "in_state",
    "listing",
    "refused",
    "vouched",
    "waiting",
]
