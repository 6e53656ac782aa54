"""Claim, intend, settle: the guarded bulk updates that a worker makes, and what becomes of a dead worker's mail."""

from mailer.delivery.claims.recovering import LAPSE, expire, give_back, recover, void
from mailer.delivery.claims.rows import Ask, Job, Outcome, Step, Worker
from mailer.delivery.claims.settling import commit, refuse
from mailer.delivery.claims.taking import beat, claim, due, job, oldest_due, open_lease

__all__ = [
    "LAPSE",
    "Ask",
    "Job",
    "Outcome",
    "Step",
    "Worker",
    "beat",
    "claim",
    "commit",
    "due",
    "expire",
    "give_back",
    "job",
    "oldest_due",
    "open_lease",
    "recover",
    "refuse",
    "void",
]
