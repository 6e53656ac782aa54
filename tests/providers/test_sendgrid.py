"""SendGrid: every row of its tables, the signature over the raw octets, batches."""

import base64
from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mailer.errors import Forbidden
from mailer.feedback.inbound.providers import Arrival, Batch, Unreadable, sendgrid
from mailer.feedback.inbound.report import Category, Kind, Proof, Report
from tests.providers import payloads, signing
from tests.providers.payloads import ANN, EMAIL, MESSAGE_ID
from tests.providers.signing import NOW, Json

C = Category
KEYS = (ec.generate_private_key(ec.SECP256R1()).public_key(), signing.sendgrid_key().public_key())
read = sendgrid.reader(KEYS)
#: Event, what it says more -> category, hard.
BOUNCES: list[tuple[str, Json, Category, bool]] = [
    ("bounce", {"type": "bounce", "status": "5.1.1", "reason": "550 5.1.1 unknown"}, C.INVALID_RECIPIENT, True),
    ("bounce", {"type": "bounce", "bounce_classification": "Invalid Address"}, C.INVALID_RECIPIENT, True),
    ("bounce", {"type": "bounce", "bounce_classification": "Invalid"}, C.INVALID_RECIPIENT, True),
    ("bounce", {"type": "blocked", "bounce_classification": "Invalid Address"}, C.INVALID_RECIPIENT, False),
    ("bounce", {"type": "blocked", "status": "5.1.1"}, C.INVALID_RECIPIENT, False),
    ("bounce", {"type": "blocked", "reason": "554 5.7.1 blocked"}, C.POLICY, False),
    ("bounce", {"bounce_classification": "Invalid Address", "status": "5.2.2"}, C.MAILBOX_FULL, False),
    ("bounce", {"bounce_classification": "Technical"}, C.TRANSIENT, False),
    ("bounce", {"bounce_classification": "Content"}, C.CONTENT, False),
    ("bounce", {"bounce_classification": "Reputation"}, C.SPAM_BLOCK, False),
    ("bounce", {"bounce_classification": "Frequency or Volume Too High"}, C.TRANSIENT, False),
    ("bounce", {"bounce_classification": "Mailbox Unavailable"}, C.INACTIVE_MAILBOX, False),
    ("bounce", {"bounce_classification": "Unclassified"}, C.UNKNOWN, False),
    ("bounce", {"bounce_classification": "A new one"}, C.UNKNOWN, False),
    ("bounce", {"status": "", "reason": ""}, C.UNKNOWN, False),
    ("blocked", {"status": "5.1.1"}, C.INVALID_RECIPIENT, False),
    ("dropped", {"reason": "Bounced Address"}, C.INVALID_RECIPIENT, False),
    ("dropped", {"reason": "Invalid"}, C.INVALID_RECIPIENT, True),
    ("dropped", {"reason": "Spam Content"}, C.CONTENT, False),
    ("dropped", {"reason": "Invalid SMTPAPI header"}, C.PROTOCOL, False),
    ("dropped", {"reason": "Recipient List over Package Quota"}, C.POLICY, False),
    ("dropped", {"reason": "Something new"}, C.UNKNOWN, False),
]


def reports(*events: Json) -> list[Report]:
    return [report for report, _ in read(signing.sendgrid(list(events)), NOW).told]


@pytest.mark.parametrize(("event", "more", "category", "hard"), BOUNCES, ids=range(len(BOUNCES)))
def test_a_bounce(event: str, more: Json, category: Category, hard: bool) -> None:
    (report,) = reports(payloads.sendgrid(event, **more))
    assert (report.kind, report.category, report.hard) == (Kind.BOUNCED, category, hard)


def test_every_row_of_the_tables_is_looked_at() -> None:
    said = {str(value).lower() for _, more, *_ in BOUNCES for value in more.values()}
    assert set(sendgrid.CLASSES) <= said
    assert set(sendgrid.DROPS) - said == {"unsubscribed address", "spam reporting address"}


@pytest.mark.parametrize(
    ("reason", "category", "also"),
    [
        ("Unsubscribed Address", C.UNSUBSCRIBE, Kind.UNSUBSCRIBED),
        ("Spam Reporting Address", C.COMPLAINT, Kind.COMPLAINED),
    ],
)
def test_what_a_person_had_said_to_sendgrid_is_learnt_here(reason: str, category: Category, also: Kind) -> None:
    bounced, said = reports(payloads.sendgrid("dropped", reason=reason))
    assert (bounced.kind, bounced.category, bounced.hard) == (Kind.BOUNCED, category, False)
    assert (said.kind, said.category, said.hard, said.recipient) == (also, category, False, ANN)


@pytest.mark.parametrize(
    ("event", "more", "kind", "category"),
    [
        ("deferred", {"response": "452 4.2.2 full", "attempt": "5"}, Kind.DEFERRED, C.MAILBOX_FULL),
        ("deferred", {"response": "400 try again later"}, Kind.DEFERRED, C.TRANSIENT),
        ("delivered", {"response": "250 OK"}, Kind.DELIVERED, C.UNKNOWN),
        ("spamreport", {}, Kind.COMPLAINED, C.COMPLAINT),
        ("unsubscribe", {}, Kind.UNSUBSCRIBED, C.UNSUBSCRIBE),
        ("group_unsubscribe", {"asm_group_id": 10}, Kind.UNSUBSCRIBED, C.UNSUBSCRIBE),
    ],
)
def test_the_other_events(event: str, more: Json, kind: Kind, category: Category) -> None:
    (report,) = reports(payloads.sendgrid(event, **more))
    assert (report.kind, report.category, report.hard) == (kind, category, False)


@pytest.mark.parametrize("event", ["processed", "open", "click", "group_resubscribe", "account_status_change", ""])
def test_what_is_not_recorded_is_ignored(event: str) -> None:
    assert read(signing.sendgrid([payloads.sendgrid(event)]), NOW) == Batch(ignored=1)


def test_what_an_event_says_of_its_mail() -> None:
    (told,) = read(signing.sendgrid([payloads.sendgrid("delivered", response="250 2.0.0 OK")]), NOW).told
    report, proof = told
    assert proof == Proof("provider:sendgrid")
    assert (report.recipient, report.message_id, report.event_id) == (ANN, f"<{MESSAGE_ID}>", "c2dfZXZlbnQ")
    assert report.at is not None
    assert int(report.at.timestamp()) == payloads.SECONDS
    assert (report.source, report.rule) == ("sendgrid", "sendgrid:delivered")


def test_our_id_that_was_echoed_names_the_mail_where_no_message_id_is_told() -> None:
    event = payloads.sendgrid("spamreport", **{sendgrid.ECHO: EMAIL})
    del event["smtp-id"]
    (told,) = read(signing.sendgrid([event]), NOW).told
    assert told[1] == Proof("provider:sendgrid", EMAIL)
    assert told[0].message_id is None


def test_one_event_that_cannot_be_read_does_not_lose_the_others() -> None:
    good = payloads.sendgrid("delivered")
    batch = read(signing.sendgrid([7, good, {"email": ANN}, None, {"event": 1}, good, payloads.sendgrid("open")]), NOW)
    assert (len(batch.told), batch.ignored) == (2, 1)
    assert [flaw.split()[0] for flaw in batch.flaws] == ["[0]", "[2]", "[3]", "[4]"]


def test_the_raw_octets_are_signed_and_not_what_they_mean() -> None:
    arrival = signing.sendgrid([payloads.sendgrid("delivered")])
    assert len(read(arrival, NOW).told) == 1
    with pytest.raises(Forbidden, match="signature"):
        read(arrival._replace(body=arrival.body.replace(b": ", b":")), NOW)


@pytest.mark.parametrize("place", range(0, 60, 7))
def test_a_request_that_was_changed_is_refused(place: int) -> None:
    arrival = signing.sendgrid([payloads.sendgrid("delivered")])
    body = bytearray(arrival.body)
    body[place] ^= 1
    with pytest.raises(Forbidden):
        read(arrival._replace(body=bytes(body)), NOW)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"timestamp": ""},
        {"timestamp": "1777896001"},
        {"timestamp": "9" * 30},
        {"signature": ""},
        {"signature": "AAAA"},
        {"signature": "nonsense!"},
        {"signature": base64.b64encode(b"\x30\x06\x02\x01\x01\x02\x01\x01").decode()},
    ],
    ids=range(8),
)
def test_a_request_without_a_good_signature_is_refused(headers: dict[str, str]) -> None:
    arrival = signing.sendgrid([payloads.sendgrid("delivered")])
    changed = {f"x-twilio-email-event-webhook-{name}": value for name, value in headers.items()}
    with pytest.raises(Forbidden):
        read(Arrival({**arrival.headers, **changed} if headers else {}, arrival.body), NOW)


@pytest.mark.parametrize(
    ("at", "taken"),
    [
        (NOW - timedelta(hours=24), True),
        (NOW - timedelta(hours=26), False),
        (NOW + timedelta(minutes=4), True),
        (NOW + timedelta(minutes=6), False),
    ],
    ids=range(4),
)
def test_clocks_may_differ_a_little(at: datetime, taken: bool) -> None:
    arrival = signing.sendgrid([payloads.sendgrid("delivered")], at)
    if taken:
        assert read(arrival, NOW).told
    else:
        with pytest.raises(Forbidden, match="clocks"):
            read(arrival, NOW)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[", b"\xff\xfe", b"[" * 3000, b"null", b"[" + b"1," * 5001 + b"1]"], ids=range(7)
)
def test_a_signed_body_that_is_no_list_of_events_is_a_sentence(body: bytes) -> None:
    with pytest.raises(Unreadable):
        read(signing.sendgrid(body), NOW)
