"""The verbs of product code: may this be sent, and then it waits for its turn."""

from mailer.submission.deciding import stays_inside
from mailer.submission.parties import Accepted, Asking, Intake, Placed, Refused, Submitter
from mailer.submission.placing import submit, submit_many, submit_together

__all__ = [
    "Accepted",
    "Asking",
    "Intake",
    "Placed",
    "Refused",
    "Submitter",
    "stays_inside",
    "submit",
    "submit_many",
    "submit_together",
]
