"""How much mail came to return paths that reports nothing."""

from datetime import datetime

from sqlmodel import Session

from mailer import counters
from mailer.models import Email


def count_dropped(session: Session, email_id: str, why: str, now: datetime) -> None:
    """Count one mail in the sums of its tenant's stream, by the day it came; that of an email that is gone in none."""
    email = session.get(Email, email_id)
    if email is None:
        return
    tally = counters.Tally()
    tally.add(email.tenant_id, now.date(), email.stream, f"not_a_report:{why}", [counters.ALL])
    tally.write(session)
