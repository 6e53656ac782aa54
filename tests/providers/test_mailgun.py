"""Mailgun: every row of its tables, and what a signature that covers no body is worth."""

from datetime import datetime, timedelta

import pytest

from mailer.errors import Forbidden
from mailer.feedback.inbound.providers import Batch, Unreadable, mailgun
from mailer.feedback.inbound.report import Category, Kind, Proof, Report
from tests.providers import payloads, signing
from tests.providers.payloads import ANN, MESSAGE_ID
from tests.providers.signing import MAILGUN_KEY, NOW, Json

C = Category
read = mailgun.reader([b"an older key", MAILGUN_KEY.encode()])
#: severity, reason, the receiver's words, its code -> kind, category, hard.
FAILURES = [
    ("permanent", "bounce", "5.1.1 The email account does not exist", "5.1.1", Kind.BOUNCED, C.INVALID_RECIPIENT, True),
    ("permanent", "bounce", "550 no such user", "", Kind.BOUNCED, C.INVALID_RECIPIENT, True),
    ("permanent", "bounce", "5.7.1 refused by policy", "5.7.1", Kind.BOUNCED, C.POLICY, False),
    ("permanent", "bounce", "", "", Kind.BOUNCED, C.UNKNOWN, False),
    ("permanent", "generic", "5.2.2 over quota", "5.2.2", Kind.BOUNCED, C.MAILBOX_FULL, False),
    (
        "permanent",
        "suppress-bounce",
        "Not delivering to previously bounced",
        "",
        Kind.BOUNCED,
        C.INVALID_RECIPIENT,
        False,
    ),
    ("permanent", "espblock", "", "", Kind.BOUNCED, C.SPAM_BLOCK, False),
    ("permanent", "greylisted", "", "", Kind.BOUNCED, C.TRANSIENT, False),
    ("permanent", "old", "", "", Kind.BOUNCED, C.EXPIRED, False),
    ("permanent", "something-new", "5.1.1 unknown", "5.1.1", Kind.BOUNCED, C.INVALID_RECIPIENT, True),
    ("temporary", "generic", "No MX for example.org", "", Kind.DEFERRED, C.ROUTING, False),
    ("temporary", "bounce", "5.1.1 unknown", "5.1.1", Kind.DEFERRED, C.INVALID_RECIPIENT, False),
    ("temporary", "generic", "", "", Kind.DEFERRED, C.TRANSIENT, False),
    ("temporary", "greylisted", "Greylisted", "", Kind.DEFERRED, C.TRANSIENT, False),
    ("", "", "", "", Kind.DEFERRED, C.TRANSIENT, False),
]


def reports(event: Json) -> list[Report]:
    return [report for report, _ in read(signing.packed(signing.mailgun(event)), NOW).told]


@pytest.mark.parametrize(
    ("severity", "reason", "said", "code", "kind", "category", "hard"), FAILURES, ids=range(len(FAILURES))
)
def test_a_failure(
    severity: str, reason: str, said: str, code: str, kind: Kind, category: Category, hard: bool
) -> None:
    (report,) = reports(payloads.mailgun_failed(severity, reason, said, **{"enhanced-code": code}))
    assert (report.kind, report.category, report.hard) == (kind, category, hard)


def test_every_row_of_the_table_is_looked_at() -> None:
    assert set(mailgun.FAILURES) - {reason for _, reason, *_ in FAILURES} == {
        "suppress-complaint",
        "suppress-unsubscribe",
    }


@pytest.mark.parametrize(
    ("reason", "category", "also"),
    [
        ("suppress-complaint", C.COMPLAINT, Kind.COMPLAINED),
        ("suppress-unsubscribe", C.UNSUBSCRIBE, Kind.UNSUBSCRIBED),
    ],
)
def test_what_a_person_had_said_to_mailgun_is_learnt_here(reason: str, category: Category, also: Kind) -> None:
    bounced, said = reports(payloads.mailgun_failed("permanent", reason))
    assert (bounced.kind, bounced.category, bounced.hard) == (Kind.BOUNCED, category, False)
    assert (said.kind, said.category) == (also, category)


@pytest.mark.parametrize(
    ("event", "kind", "category"),
    [
        ("delivered", Kind.DELIVERED, C.UNKNOWN),
        ("complained", Kind.COMPLAINED, C.COMPLAINT),
        ("unsubscribed", Kind.UNSUBSCRIBED, C.UNSUBSCRIBE),
        ("rejected", Kind.BOUNCED, C.POLICY),
    ],
)
def test_the_other_events(event: str, kind: Kind, category: Category) -> None:
    (report,) = reports(payloads.mailgun(event, reject={"reason": "a reason"}))
    assert (report.kind, report.category, report.hard) == (kind, category, False)


@pytest.mark.parametrize("event", ["accepted", "opened", "clicked", "stored", "list_member_uploaded", ""])
def test_what_is_not_recorded_is_ignored_and_its_token_is_used_up(event: str) -> None:
    batch = read(signing.packed(signing.mailgun(payloads.mailgun(event), token="t")), NOW)
    assert batch._replace(token=None) == Batch(ignored=1)
    assert batch.token == f"mailgun:{int(NOW.timestamp())}:t".encode()


def test_what_an_event_says_of_its_mail() -> None:
    event = payloads.mailgun(
        "delivered", **{"delivery-status": {"code": 250, "message": "OK", "mx-host": "mx.example.org"}}
    )
    (told,) = read(signing.packed(signing.mailgun(event)), NOW).told
    report, proof = told
    assert proof == Proof("provider:mailgun")
    assert (report.recipient, report.message_id) == (ANN, f"<{MESSAGE_ID}>")
    assert (report.return_path, report.reporter) == ("b+token@bounce.example", "mx.example.org")
    assert report.event_id == f"hTWCTD81RtiDN-abc:{payloads.SECONDS}.250000"


@pytest.mark.parametrize(
    "changed",
    [
        {"recipient": ""},
        {"recipient": None},
        {"message": {}},
        {"message": {"headers": {"message-id": "20180812211713.1.DF5966851B4BAA99@example.org"}}},
        {"message": {"headers": {"message-id": "em_short@example.org"}}},
    ],
    ids=range(5),
)
def test_what_names_no_mail_of_ours_is_not_recorded(changed: Json) -> None:
    assert reports({**payloads.mailgun("complained"), **changed}) == []


@pytest.mark.parametrize("name", ["timestamp", "token", "signature"])
def test_a_signature_that_was_changed_is_refused(name: str) -> None:
    body = signing.mailgun(payloads.mailgun("delivered"))
    signature = body["signature"]
    assert isinstance(signature, dict)
    signature[name] = str(signature[name])[:-1] + ("0" if not str(signature[name]).endswith("0") else "1")
    with pytest.raises(Forbidden, match="signature"):
        read(signing.packed(body), NOW)


def test_another_key_is_refused() -> None:
    with pytest.raises(Forbidden, match="signing key"):
        read(signing.packed(signing.mailgun(payloads.mailgun("delivered"), key="another")), NOW)


@pytest.mark.parametrize(
    ("at", "taken"),
    [
        (NOW - timedelta(hours=11), True),
        (NOW - timedelta(hours=13), False),
        (NOW + timedelta(minutes=4), True),
        (NOW + timedelta(minutes=6), False),
    ],
    ids=range(4),
)
def test_clocks_may_differ_a_little(at: datetime, taken: bool) -> None:
    arrival = signing.packed(signing.mailgun(payloads.mailgun("delivered"), at))
    if taken:
        assert read(arrival, NOW).told
    else:
        with pytest.raises(Forbidden, match="clocks"):
            read(arrival, NOW)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"null", b"a=b&c=d", b"[" * 3000, {"signature": 1}, {"signature": {"timestamp": 1777896000}}),
        signing.mailgun(None),
        signing.mailgun([]),
        signing.mailgun({"event": 1}),
    ],
    ids=range(10),
)
def test_what_is_no_webhook_of_mailgun_is_a_sentence(body: object) -> None:
    with pytest.raises(Unreadable):
        read(signing.packed(body), NOW)
