"""Reports read field by field: who, why, when, and which mail of ours (RFC 3464, 5965, 6533)."""

import base64
from datetime import UTC, datetime

import pytest

from mailer.feedback.inbound import Category, Kind, Report
from mailer.feedback.inbound.parsing import read

OURS = """\
Return-Path: <b+tok@bounce.us.example>
Message-ID: <em1@us.example>
From: news@us.example
To: ann@dest.example
Subject: Hello
List-Unsubscribe: <https://us.example/u/tok>
"""


def notification(
    blocks: str, *, ours: str = OURS, kind: str = "message/delivery-status", said: str = "Sorry."
) -> bytes:
    return f"""\
From: MAILER-DAEMON@mx.example
To: b+tok@bounce.us.example
Subject: Undelivered Mail Returned to Sender
Message-ID: <r1@mx.example>
Content-Type: multipart/report; report-type=delivery-status; boundary="B"

--B
Content-Type: text/plain

{said}
--B
Content-Type: {kind}

Reporting-MTA: dns; mx.example
Original-Envelope-Id: em_01
Arrival-Date: Thu, 05 Nov 2026 10:00:00 +0200

{blocks}
--B
Content-Type: message/rfc822

{ours}
--B--
""".encode()


def only(raw: bytes) -> Report:
    reading = read(raw)
    assert reading.dropped is None
    assert len(reading.reports) == 1
    return reading.reports[0]


def test_a_failure_names_everything_that_finds_our_mail() -> None:
    report = only(
        notification(
            "Final-Recipient: rfc822; anna@elsewhere.example\nOriginal-Recipient: rfc822;ann@dest.example\n"
            "Action: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 User unknown\n"
            "Last-Attempt-Date: Thu, 05 Nov 2026 12:00:00 +0200"
        )
    )
    assert report == Report(
        Kind.BOUNCED,
        Category.INVALID_RECIPIENT,
        hard=True,
        recipient="ann@dest.example",
        status="5.1.1",
        diagnostic="550 5.1.1 User unknown",
        at=datetime(2026, 11, 5, 10, tzinfo=UTC),
        source="dsn",
        rule="code-unknown-recipient",
        return_path="b+tok@bounce.us.example",
        message_id="<em1@us.example>",
        envelope_id="em_01",
        event_id="<r1@mx.example>",
        reporter="mx.example",
        list_unsubscribe="<https://us.example/u/tok>",
    )


@pytest.mark.parametrize(
    ("action", "status", "kind", "category"),
    [
        ("failed", "4.4.7", Kind.BOUNCED, Category.EXPIRED),
        ("failed", "4.0.0", Kind.BOUNCED, Category.EXPIRED),
        ("failed", "4.2.2", Kind.BOUNCED, Category.MAILBOX_FULL),
        ("FAILED (gave up)", "5.0.0", Kind.BOUNCED, Category.UNKNOWN),
        ("delayed", "4.4.1", Kind.DEFERRED, Category.ROUTING),
        ("delayed", "5.1.1", Kind.DEFERRED, Category.INVALID_RECIPIENT),
        ("delivered", "2.0.0", Kind.DELIVERED, Category.UNKNOWN),
    ],
)
def test_action_and_status_are_read_together(action: str, status: str, kind: Kind, category: Category) -> None:
    report = only(notification(f"Final-Recipient: rfc822; ann@dest.example\nAction: {action}\nStatus: {status}"))
    assert (report.kind, report.category, report.hard) == (kind, category, False)


@pytest.mark.parametrize("action", ["relayed", "expanded"])
def test_mail_that_went_on_is_no_news(action: str) -> None:
    reading = read(notification(f"Final-Recipient: rfc822; ann@dest.example\nAction: {action}\nStatus: 2.0.0"))
    assert reading == ((), "passed_on")


def test_each_recipient_is_a_report_of_its_own() -> None:
    reading = read(
        notification(
            "Final-Recipient: rfc822; ann@dest.example\nAction: failed\nStatus: 5.1.1\n\n"
            "Final-Recipient: rfc822; bob@dest.example\nAction: delayed\nStatus: 4.4.1\n\n"
            "Final-Recipient: rfc822; eve@dest.example\nAction: failed\nStatus: 5.2.2"
        )
    )
    assert [(each.recipient, each.kind, each.hard) for each in reading.reports] == [
        ("ann@dest.example", Kind.BOUNCED, True),
        ("bob@dest.example", Kind.DEFERRED, False),
        ("eve@dest.example", Kind.BOUNCED, False),
    ]
    assert len({each.event_id for each in reading.reports}) == 3


@pytest.mark.parametrize(
    ("written", "recipient"),
    [
        ("rfc822; ann@dest.example", "ann@dest.example"),
        ("RFC822;<ann@dest.example>", "ann@dest.example"),
        ("LOCAL;<ann@dest.example>", "ann@dest.example"),
        ("<ann@dest.example>", "ann@dest.example"),
        ("rfc822; ann+2Bnews@dest.example", "ann+news@dest.example"),
        ("rfc822; ann+AB@dest.example", "ann+AB@dest.example"),
        (r"utf-8; b\x{FC}cher@dest.example", "bücher@dest.example"),
        ("utf-8; пошта@приклад.example", "пошта@приклад.example"),
    ],
)
def test_addresses_are_read_as_they_are_written(written: str, recipient: str) -> None:
    raw = notification(
        f"Final-Recipient: {written}\nAction: failed\nStatus: 5.1.1", kind="message/global-delivery-status"
    )
    assert only(raw).recipient == recipient


def test_what_mail_servers_do_to_the_form_is_forgiven() -> None:
    fields = "Final-Recipient: rfc822; ann@dest.example\nAction: failed\nStatus: 5.1.1"
    plain = notification(fields)
    found = only(plain)
    assert only(plain.replace(b"; report-type=delivery-status", b"")) == found
    assert only(plain.replace(b' boundary="B"', b"")) == found
    assert only(plain.replace(b"Content-Type: text/plain", b"Content-Type: text/plain; charset=no-such")) == found
    remarked = only(plain.replace(b"Status: 5.1.1", b"Status: 5.1.1 (bad address)"))
    assert remarked == found._replace(diagnostic="bad address")
    head, _, rest = plain.partition(b"Content-Type: message/delivery-status\n\n")
    body, _, tail = rest.partition(b"\n--B")
    encoded = b"Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n" + base64.encodebytes(body)
    assert only(head + encoded + b"\n--B" + tail) == found


def test_a_report_that_a_gateway_wrapped_is_read() -> None:
    inner = notification("Final-Recipient: rfc822; ann@dest.example\nAction: failed\nStatus: 5.1.1")
    wrapped = b"From: postmaster@x.example\nSubject: Notification\nContent-Type: message/rfc822\n\n" + inner
    assert only(wrapped).recipient == "ann@dest.example"
    by_a_person = wrapped.replace(b"postmaster@x.example", b"ann@dest.example")
    assert read(by_a_person) == ((), "ordinary")


def test_a_bounce_of_a_bounce_is_dropped() -> None:
    ours = 'From: MAILER-DAEMON@us.example\nContent-Type: multipart/report; boundary="C"\nSubject: Returned mail\n'
    raw = notification("Final-Recipient: rfc822; ann@dest.example\nAction: failed\nStatus: 5.1.1", ours=ours)
    assert read(raw) == ((), "bounce_of_bounce")


def test_words_may_take_back_what_a_code_says() -> None:
    fields = "Final-Recipient: rfc822; ann@dest.example\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; "
    listed = only(notification(fields + "550 5.1.1 192.0.2.1 is listed at zen.spamhaus.org"))
    assert (listed.category, listed.hard) == (Category.SPAM_BLOCK, False)
    full = only(notification(fields + "550 5.1.1 mailbox full"))
    assert (full.category, full.hard) == (Category.MAILBOX_FULL, False)


def test_what_people_read_counts_where_the_fields_say_nothing() -> None:
    fields = "Final-Recipient: rfc822; ann@dest.example\nAction: failed\nStatus: 5.0.0"
    report = only(notification(fields, said="<ann@dest.example>: 550 No such user here (in reply to RCPT TO command)"))
    assert (report.category, report.hard) == (Category.INVALID_RECIPIENT, True)


def complaint(fields: str, part3: str = OURS) -> bytes:
    return f"""\
From: feedback@arf.mail.yahoo.com
Subject: FW: Hello
Content-Type: multipart/report; report-type=feedback-report; boundary="B"

--B
Content-Type: text/plain

This is a complaint.
--B
Content-Type: message/feedback-report

{fields}
--B
Content-Type: message/rfc822

{part3}
--B--
""".encode()


def test_a_complaint_names_the_mail_by_its_copy_and_never_by_to() -> None:
    report = only(
        complaint(
            "Feedback-Type: abuse\nUser-Agent: Y/2\nVersion: 0.1\nOriginal-Rcpt-To: redacted@yahoo.com\n"
            "Received-Date: Thu, 05 Nov 2026 10:00:00 +0000"
        )
    )
    assert (report.kind, report.category, report.hard) == (Kind.COMPLAINED, Category.COMPLAINT, False)
    assert report.recipient is None
    assert report.return_path == "b+tok@bounce.us.example"
    assert report.message_id == "<em1@us.example>"
    assert report.list_unsubscribe == "<https://us.example/u/tok>"
    assert report.at == datetime(2026, 11, 5, 10, tzinfo=UTC)
    assert report.reporter == "arf.mail.yahoo.com"


def test_a_complaint_of_several_recipients_is_several() -> None:
    reading = read(complaint("Feedback-Type: abuse\nOriginal-Rcpt-To: <a@x.example>\nOriginal-Rcpt-To: b@x.example"))
    assert [each.recipient for each in reading.reports] == ["a@x.example", "b@x.example"]


@pytest.mark.parametrize("kind", ["not-spam", "auth-failure", "dmarc", "virus", "other", "something-new"])
def test_other_feedback_means_nothing_for_the_person(kind: str) -> None:
    reading = read(complaint(f"Feedback-Type: {kind}\nOriginal-Rcpt-To: a@x.example"))
    assert reading.reports == ()
    assert reading.dropped is not None
    assert reading.dropped.startswith("feedback_")
