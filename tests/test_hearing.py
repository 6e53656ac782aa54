"""What follows from reports: status, events, suppression, sums; on both engines."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import Session, col, select

from mailer.database import Database
from mailer.feedback.hearing import Fate, Heard, hear
from mailer.feedback.inbound.report import Category, Kind, Proof, Report
from mailer.models import Told, ToldState
from mailer.status import Status
from suppression.entries import Entry
from suppression.rules import Reason
from tests.delivery import mails
from tests.delivery.mails import NOW, P, T

HARD = Report(Kind.BOUNCED, Category.INVALID_RECIPIENT, hard=True, status="5.1.1", source="dsn")
FULL = Report(Kind.BOUNCED, Category.MAILBOX_FULL, status="4.2.2", source="dsn")
DELIVERED = Report(Kind.DELIVERED, source="dsn")
LATER = NOW + timedelta(hours=1)


def sent(session: Session, **fields: object) -> str:
    """Add one promotional email that a relay took."""
    (identifier,) = mails.add(session, 1, P, status=Status.SENT, attempts=1)
    mails.move(session, [identifier], sent_at=NOW, settled_at=NOW, **fields)
    return identifier


def told(session: Session, identifier: str, *reports: Report, now: datetime = LATER) -> list[Heard]:
    """Hear reports by the mail's own return path."""
    return hear(session, [(report, Proof("return_path", identifier)) for report in reports], now)


def reasons(session: Session) -> list[tuple[Reason, str]]:
    """Return every entry that stands."""
    found = session.exec(select(Entry).where(col(Entry.lifted_at).is_(None)))
    return sorted((entry.reason, entry.scope) for entry in found)


async def test_a_hard_bounce_an_hour_later_ends_all_mail_to_the_address(database: Database) -> None:
    def story(session: Session) -> None:
        identifier = sent(session)
        (waiting,) = mails.add(session, 1, T, prefix="p")
        assert [each.fate for each in told(session, identifier, HARD)] == [Fate.DONE]
        assert mails.email(session, identifier).status is Status.BOUNCED
        assert mails.kinds(session, identifier) == ["email.bounced"]
        assert reasons(session) == [(Reason.HARD_BOUNCE, "all")]
        assert mails.email(session, waiting).status is Status.SUPPRESSED
        sums = mails.sums(session)
        assert (sums["returned"], sums["hard_bounced"], sums.get("soft_bounced")) == (1, 1, None)

    await database.run(story)


async def test_the_same_report_twice_is_one_bounce(database: Database) -> None:
    def story(session: Session) -> None:
        identifier = sent(session)
        first, second = told(session, identifier, FULL, FULL)
        (third,) = told(session, identifier, FULL, now=LATER + timedelta(minutes=1))
        assert (first.fate, second.fate, third.fate) == (Fate.DONE, Fate.REPEATED, Fate.REPEATED)
        assert first.report_id == second.report_id == third.report_id
        assert mails.kinds(session, identifier) == ["email.bounced"]
        assert mails.sums(session)["returned"] == 1
        assert reasons(session) == []

    await database.run(story)


@pytest.mark.parametrize("proof", [Proof(""), Proof("dkim"), Proof("return_path")], ids=lambda proof: proof.by)
async def test_what_nobody_vouches_for_changes_nothing_and_says_nothing_of_a_person(
    database: Database, proof: Proof
) -> None:
    def story(session: Session) -> None:
        identifier = sent(session)
        forged = HARD._replace(
            message_id=f"<{identifier}@x.example>", recipient="p0@example.org", diagnostic="550 p0@example.org"
        )
        (heard,) = hear(session, [(forged, proof)], LATER)
        assert (heard.fate, heard.email_id) == (Fate.REFUSED, None)
        assert mails.email(session, identifier).status is Status.SENT
        assert reasons(session) == []
        kept = session.exec(select(Told)).one()
        assert (kept.state, kept.why) == (ToldState.UNMATCHED, "nobody vouches for it")
        assert (kept.recipient, kept.message_id, kept.diagnostic) == (None, None, None)

    await database.run(story)


async def test_a_delivery_is_told(database: Database) -> None:
    def story(session: Session) -> None:
        identifier = sent(session)
        assert [each.fate for each in told(session, identifier, DELIVERED)] == [Fate.DONE]
        assert mails.email(session, identifier).status is Status.DELIVERED
        assert mails.sums(session)["delivered"] == 1

    await database.run(story)
