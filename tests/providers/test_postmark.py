"""Postmark: every type of bounce that it names, and the secret in both its places."""

import base64

import pytest

from mailer.errors import Unauthorized
from mailer.feedback.inbound.providers import Batch, Unreadable, postmark
from mailer.feedback.inbound.report import Category, Kind, Proof, Report
from tests.providers import payloads, signing
from tests.providers.payloads import ANN, EMAIL
from tests.providers.signing import NOW, POSTMARK_SECRET, Json

C = Category
read = postmark.reader(POSTMARK_SECRET)
#: Type, the receiver's words -> kind (None: no report), category, hard.
TYPES: list[tuple[str, str, Kind | None, Category, bool]] = [
    ("HardBounce", "smtp;550 5.1.1 The account does not exist", Kind.BOUNCED, C.INVALID_RECIPIENT, True),
    ("HardBounce", "", Kind.BOUNCED, C.INVALID_RECIPIENT, True),
    ("HardBounce", "smtp;550 5.1.2 no such host", Kind.BOUNCED, C.BAD_DOMAIN, True),
    ("HardBounce", "smtp;550 5.7.1 blocked", Kind.BOUNCED, C.POLICY, False),
    ("Transient", "smtp;451 4.7.1 greylisted", Kind.DEFERRED, C.TRANSIENT, False),
    ("Transient", "", Kind.DEFERRED, C.TRANSIENT, False),
    ("Unsubscribe", "", Kind.UNSUBSCRIBED, C.UNSUBSCRIBE, False),
    ("Subscribe", "", None, C.UNKNOWN, False),
    ("AutoResponder", "", None, C.UNKNOWN, False),
    ("AddressChange", "", None, C.UNKNOWN, False),
    ("DnsError", "", Kind.BOUNCED, C.DNS, False),
    ("SpamNotification", "", Kind.BOUNCED, C.SPAM_BLOCK, False),
    ("OpenRelayTest", "", Kind.BOUNCED, C.RELAY_DENIED, False),
    ("Unknown", "5.1.1", Kind.BOUNCED, C.INVALID_RECIPIENT, False),
    ("Unknown", "", Kind.BOUNCED, C.UNKNOWN, False),
    ("SoftBounce", "smtp;552 5.2.2 full", Kind.BOUNCED, C.MAILBOX_FULL, False),
    ("SoftBounce", "smtp;550 5.1.1 unknown", Kind.BOUNCED, C.INVALID_RECIPIENT, False),
    ("SoftBounce", "", Kind.BOUNCED, C.TRANSIENT, False),
    ("VirusNotification", "", Kind.BOUNCED, C.VIRUS, False),
    ("ChallengeVerification", "", None, C.UNKNOWN, False),
    ("BadEmailAddress", "", Kind.BOUNCED, C.INVALID_RECIPIENT, True),
    ("SpamComplaint", "", Kind.COMPLAINED, C.COMPLAINT, False),
    ("ManuallyDeactivated", "", Kind.BOUNCED, C.POLICY, False),
    ("Unconfirmed", "", Kind.BOUNCED, C.POLICY, False),
    ("Blocked", "", Kind.BOUNCED, C.SPAM_BLOCK, False),
    ("SMTPApiError", "", Kind.BOUNCED, C.PROTOCOL, False),
    ("InboundError", "", None, C.UNKNOWN, False),
    ("DMARCPolicy", "", Kind.BOUNCED, C.AUTH, False),
    ("TemplateRenderingFailed", "", Kind.BOUNCED, C.CONTENT, False),
    ("SomethingNew", "", Kind.BOUNCED, C.UNKNOWN, False),
]


def reports(event: Json) -> list[Report]:
    return [report for report, _ in read(signing.postmark(event), NOW).told]


@pytest.mark.parametrize(("name", "said", "kind", "category", "hard"), TYPES, ids=range(len(TYPES)))
def test_a_type_of_bounce(name: str, said: str, kind: Kind | None, category: Category, hard: bool) -> None:
    found = [(each.kind, each.category, each.hard) for each in reports(payloads.postmark(name, Details=said))]
    assert found == ([(kind, category, hard)] if kind else [])


def test_every_type_is_looked_at() -> None:
    assert set(postmark.TYPES) == {name for name, *_ in TYPES} - {"SomethingNew"}


def test_what_a_bounce_says_of_its_mail() -> None:
    (told,) = read(signing.postmark(payloads.postmark(Details="smtp;550 5.1.1 unknown")), NOW).told
    report, proof = told
    assert proof == Proof("provider:postmark", EMAIL)
    assert (report.recipient, report.status, report.event_id) == (ANN, "5.1.1", "bounce:692560173")
    assert report.at is not None
    assert report.at.isoformat() == "2026-05-04T11:58:00.250000+00:00"


@pytest.mark.parametrize("name", ["mailer-email-id", "Mailer-Email-Id"])
def test_our_id_is_found_however_its_name_is_written(name: str) -> None:
    (told,) = read(signing.postmark(payloads.postmark(Metadata={"other": 1, name: EMAIL})), NOW).told
    assert told[1].email_id == EMAIL


@pytest.mark.parametrize("metadata", [None, {}, [], {"mailer-email-id": "em_1"}, {"mailer-email-id": 7}], ids=str)
def test_an_event_without_our_id_names_no_mail(metadata: object) -> None:
    (told,) = read(signing.postmark(payloads.postmark(Metadata=metadata)), NOW).told
    assert told[1].email_id is None


def test_a_spam_complaint_has_a_record_of_its_own() -> None:
    (report,) = reports(payloads.postmark("SpamComplaint", RecordType="SpamComplaint"))
    assert (report.kind, report.category) == (Kind.COMPLAINED, C.COMPLAINT)


def test_a_delivery() -> None:
    (report,) = reports(payloads.postmark_other("Delivery", DeliveredAt="2026-05-04T11:58:00Z", Details="250 2.0.0 OK"))
    assert (report.kind, report.recipient, report.status) == (Kind.DELIVERED, ANN, "2.0.0")
    assert report.event_id == "delivery:2c1b63fe-43f2-4db5-91b0-8bdfa44a9316:2026-05-04T11:58:00Z"


@pytest.mark.parametrize(
    ("suppress", "reason", "origin", "left"),
    [
        (True, "ManualSuppression", "Recipient", True),
        (True, "ManualSuppression", "Customer", False),
        (True, "ManualSuppression", "Admin", False),
        (True, "HardBounce", "Recipient", False),
        (True, "SpamComplaint", "Recipient", False),
        (False, None, "Recipient", False),
        (False, "ManualSuppression", "Recipient", False),
    ],
)
def test_a_change_of_subscription(suppress: bool, reason: str | None, origin: str, left: bool) -> None:
    event = {"SuppressSending": suppress, "SuppressionReason": reason, "Origin": origin, "ChangedAt": payloads.AT}
    found = reports(payloads.postmark_other("SubscriptionChange", **event))
    assert [report.kind for report in found] == [Kind.UNSUBSCRIBED] * left


@pytest.mark.parametrize("record", ["Open", "Click", "Inbound", "SMTPApiError", ""])
def test_what_is_not_recorded_is_ignored(record: str) -> None:
    assert read(signing.postmark(payloads.postmark_other(record)), NOW) == Batch(ignored=1)


def basic(secret: str, user: str = "mailer") -> str:
    return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()


@pytest.mark.parametrize(
    "value",
    [
        basic(POSTMARK_SECRET),
        basic(POSTMARK_SECRET, ""),
        basic(POSTMARK_SECRET).lower()[:5] + basic(POSTMARK_SECRET)[5:],
    ],
    ids=range(3),
)
def test_the_secret_may_be_the_password_of_a_sign_in(value: str) -> None:
    assert read(signing.packed(payloads.postmark(), authorization=value), NOW).told


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Basic",
        "Basic !",
        "Basic AAAA",
        basic(""),
        basic("another"),
        basic(POSTMARK_SECRET + "x"),
        f"Bearer {POSTMARK_SECRET}",
    ],
    ids=range(8),
)
def test_another_password_is_refused(value: str) -> None:
    with pytest.raises(Unauthorized, match="MAILER_POSTMARK_SECRET"):
        read(signing.packed(payloads.postmark(), authorization=value), NOW)


@pytest.mark.parametrize(
    "secret",
    ["", "x", POSTMARK_SECRET[:-1], POSTMARK_SECRET.upper(), POSTMARK_SECRET + "\x00", "ü", "\udc80"],
    ids=range(7),
)
def test_another_secret_in_the_path_is_refused(secret: str) -> None:
    with pytest.raises(Unauthorized):
        read(signing.postmark(payloads.postmark(), secret), NOW)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"[" * 3000, {}, {"RecordType": 1}, [{"RecordType": "Bounce"}]], ids=range(7)
)
def test_what_is_no_event_of_postmark_is_a_sentence(body: object) -> None:
    with pytest.raises(Unreadable):
        read(signing.postmark(body), NOW)
