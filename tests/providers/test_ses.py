"""Amazon SES: every row of its tables, both of its formats, several recipients an event."""

import json

import pytest

from mailer.feedback.inbound.providers import Batch, Unreadable, ses
from mailer.feedback.inbound.report import Category, Kind, Proof, Report
from tests.providers import payloads
from tests.providers.payloads import ANN, AT, MESSAGE_ID
from tests.providers.signing import Json

C = Category
#: bounceType, bounceSubType, the receiver's status and words -> category, hard.
BOUNCES = [
    ("Permanent", "General", "5.1.1", "550 5.1.1 user unknown", C.INVALID_RECIPIENT, True),
    ("Permanent", "General", "5.1.2", "550 5.1.2 no such domain", C.BAD_DOMAIN, True),
    ("Permanent", "General", "5.7.1", "554 5.7.1 blocked by policy", C.SPAM_BLOCK, False),
    ("Permanent", "General", "5.7.26", "550 5.7.26 unauthenticated", C.POLICY, False),
    ("Permanent", "General", "5.2.2", "552 5.2.2 mailbox full", C.MAILBOX_FULL, False),
    ("Permanent", "General", "5.2.1", "550 5.2.1 account is disabled", C.INACTIVE_MAILBOX, True),
    ("Permanent", "General", "5.2.1", "550 5.2.1 receiving mail at a rate", C.TRANSIENT, False),
    ("Permanent", "General", "5.1.1", "550 5.1.1 listed at spamhaus", C.SPAM_BLOCK, False),
    ("Permanent", "General", "", "550 No such user here", C.INVALID_RECIPIENT, True),
    ("Permanent", "General", "5.0.0", "550 rejected", C.UNKNOWN, False),
    ("Permanent", "General", "", "", C.UNKNOWN, False),
    ("Permanent", "NoEmail", "", "", C.INVALID_RECIPIENT, True),
    ("Permanent", "Suppressed", "5.1.1", "Amazon SES has suppressed", C.INVALID_RECIPIENT, False),
    ("Permanent", "OnAccountSuppressionList", "", "", C.POLICY, False),
    ("Permanent", "AtSomeLaterTime", "5.1.1", "", C.INVALID_RECIPIENT, True),
    ("Transient", "General", "4.4.7", "450 4.4.7 expired", C.EXPIRED, False),
    ("Transient", "General", "5.1.1", "550 5.1.1 user unknown", C.INVALID_RECIPIENT, False),
    ("Transient", "MailboxFull", "5.2.2", "", C.MAILBOX_FULL, False),
    ("Transient", "MessageTooLarge", "5.3.4", "", C.TOO_LARGE, False),
    ("Transient", "ContentRejected", "5.6.1", "", C.CONTENT, False),
    ("Transient", "AttachmentRejected", "", "", C.CONTENT, False),
    ("Transient", "CustomTimeoutExceeded", "", "", C.EXPIRED, False),
    ("Undetermined", "Undetermined", "", "", C.UNKNOWN, False),
    ("Undetermined", "Undetermined", "5.1.1", "", C.INVALID_RECIPIENT, False),
]


def reports(event: object) -> list[Report]:
    return [report for report, _ in ses.read(json.dumps(event)).told]


def row(status: str = "", said: str = "") -> Json:
    return {"emailAddress": ANN, "action": "failed", "status": status, "diagnosticCode": said}


@pytest.mark.parametrize("name", ["eventType", "notificationType"])
@pytest.mark.parametrize(
    ("kind", "subtype", "status", "said", "category", "hard"),
    BOUNCES,
    ids=[f"{place}" for place in range(len(BOUNCES))],
)
def test_a_bounce(name: str, kind: str, subtype: str, status: str, said: str, category: Category, hard: bool) -> None:
    (report,) = reports(payloads.ses_bounce(kind, subtype, row(status, said), name=name))
    assert (report.kind, report.category, report.hard) == (Kind.BOUNCED, category, hard)


def test_every_row_of_the_table_of_bounces_is_looked_at() -> None:
    assert set(ses.BOUNCES) <= {(kind, subtype) for kind, subtype, *_ in BOUNCES} | {
        ("Permanent", "UnsubscribedRecipient")
    }


def test_what_a_bounce_says_of_its_mail() -> None:
    (told,) = ses.read(json.dumps(payloads.ses_bounce("Permanent", "General"))).told
    report, proof = told
    assert proof == Proof("provider:ses")
    assert report.message_id == f"<{MESSAGE_ID}>"
    assert (report.recipient, report.return_path) == (ANN, "b+token@bounce.example")
    assert (report.status, report.diagnostic) == ("5.1.1", "smtp; 550 5.1.1 unknown")
    assert report.at is not None
    assert report.at.isoformat() == "2026-05-04T11:58:00.250000+00:00"
    assert (report.source, report.rule, report.reporter) == ("ses", "ses:Permanent/General", "mx.example.org")
    assert report.event_id == "0102018f-feedback:0"


def test_several_recipients_are_several_reports_with_ids_of_their_own() -> None:
    others = [{**row("5.1.1"), "emailAddress": f"Person <p{place}@example.org>"} for place in range(3)]
    found = reports(payloads.ses_bounce("Permanent", "General", *others))
    assert [report.recipient for report in found] == ["p0@example.org", "p1@example.org", "p2@example.org"]
    assert len({report.event_id for report in found}) == 3


def test_an_automatic_answer_is_no_bounce() -> None:
    batch = ses.read(json.dumps(payloads.ses_bounce("Transient", "General", {"emailAddress": ANN})))
    assert batch == Batch(ignored=1)


def test_who_had_unsubscribed_at_ses_is_unsubscribed_here() -> None:
    bounced, left = reports(payloads.ses_bounce("Permanent", "UnsubscribedRecipient", row()))
    assert (bounced.kind, bounced.category, bounced.hard) == (Kind.BOUNCED, C.UNSUBSCRIBE, False)
    assert (left.kind, left.recipient) == (Kind.UNSUBSCRIBED, ANN)


@pytest.mark.parametrize(
    ("feedback", "counts"),
    [
        *(("abuse", True), ("ABUSE", True), ("fraud", True), ("other", True), (None, True)),
        *(("virus", False), ("not-spam", False), ("auth-failure", False), ("something-new", False)),
    ],
    ids=str,
)
def test_a_complaint(feedback: str | None, counts: bool) -> None:
    about = {"complainedRecipients": [{"emailAddress": ANN}], "feedbackId": "f-1", "complaintFeedbackType": feedback}
    found = reports(payloads.ses("Complaint", **about))
    assert [(report.kind, report.category) for report in found] == [(Kind.COMPLAINED, C.COMPLAINT)] * counts


def test_a_delivery() -> None:
    (report,) = reports(
        payloads.ses("Delivery", recipients=[ANN], smtpResponse="250 2.6.0 received", reportingMTA="a8-70")
    )
    assert (report.kind, report.recipient, report.reporter) == (Kind.DELIVERED, ANN, "a8-70")
    assert report.event_id == f"0102018f-7c191be45:Delivery:{AT}:0"


@pytest.mark.parametrize(("kind", "category"), [*ses.DELAYS.items(), ("New", C.TRANSIENT)], ids=str)
def test_a_delay(kind: str, category: Category) -> None:
    waiting = [{"emailAddress": ANN, "status": "4.2.2", "diagnosticCode": "452 full"}]
    (report,) = reports(payloads.ses("DeliveryDelay", delayType=kind, delayedRecipients=waiting))
    assert (report.kind, report.category, report.hard, report.status) == (Kind.DEFERRED, category, False, "4.2.2")


def test_a_virus_found_by_ses() -> None:
    (report,) = reports(payloads.ses("Reject", reason="Bad content"))
    assert (report.kind, report.category, report.hard) == (Kind.BOUNCED, C.VIRUS, False)


@pytest.mark.parametrize(
    ("old", "new", "left"),
    [
        ({"unsubscribeAll": False}, {"unsubscribeAll": True}, True),
        ({"unsubscribeAll": True}, {"unsubscribeAll": False}, False),
        ("OptIn", "OptOut", True),
        ("OptOut", "OptOut", False),
        ("OptOut", "OptIn", False),
    ],
    ids=str,
)
def test_a_subscription(old: Json | str, new: Json | str, left: bool) -> None:
    def preferences(value: Json | str) -> Json:
        topics = [{"topicName": "news", "subscriptionStatus": value}]
        return value if isinstance(value, dict) else {"unsubscribeAll": False, "topicSubscriptionStatus": topics}

    about = {"contactList": "list", "source": "UnsubscribeHeader"}
    ages = {"newTopicPreferences": preferences(new), "oldTopicPreferences": preferences(old)}
    found = reports(payloads.ses("Subscription", **about, **ages))
    assert [report.kind for report in found] == [Kind.UNSUBSCRIBED] * left


@pytest.mark.parametrize("kind", ["Send", "Open", "Click", "Rendering Failure", "Something New"])
def test_what_is_not_recorded_is_ignored(kind: str) -> None:
    assert ses.read(json.dumps(payloads.ses(kind))) == Batch(ignored=1)


@pytest.mark.parametrize("text", ["Successfully validated SNS topic for Amazon SES event publishing.", "[]", "{}", "1"])
def test_what_is_no_event_of_ses_is_a_sentence(text: str) -> None:
    with pytest.raises(Unreadable):
        ses.read(text)
