"""The verbs of product code: may this be sent, and then it waits for its turn."""

from mailer.submission.parties import Accepted, Intake, Placed, Refused, Submitter
from mailer.submission.placing import submit, submit_many

__all__ = ["Accepted", "Intake", "Placed", "Refused", "Submitter", "submit", "submit_many"]
