"""Whatever a provider, or somebody in its name, sends: a batch or one clear sentence, never another exception."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.errors import MailerError
from mailer.feedback.inbound.providers import Arrival, Batch, mailgun, postmark, sendgrid, ses, sns
from mailer.feedback.inbound.providers.signatures import sns_key
from tests.providers import payloads, signing
from tests.providers.signing import NOW, Json
from tests.providers.test_generic import EVENT
from tests.providers.test_generic import read as read_generic
from tests.providers.test_mailgun import read as read_mailgun
from tests.providers.test_postmark import read as read_postmark
from tests.providers.test_sendgrid import read as read_sendgrid

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.sampled_from(
        ["Bounce", "Permanent", "5.1.1", "a@b.example", "\x00", "2026-05-04", "9999-12-31T23:59:59+14:00"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
TEMPLATES: list[tuple[str, Json]] = [
    *(("ses", payloads.ses_bounce(kind, subtype)) for kind, subtype in sorted(ses.BOUNCES)),
    ("ses", payloads.ses("Complaint", complainedRecipients=[{"emailAddress": "a@b.example"}])),
    ("ses", payloads.ses("Delivery", recipients=["a@b.example"])),
    ("ses", payloads.ses("DeliveryDelay", delayedRecipients=[{"emailAddress": "a@b.example"}], delayType="General")),
    ("ses", payloads.ses("Subscription", newTopicPreferences={"topicSubscriptionStatus": [{"topicName": "t"}]})),
    *(("sendgrid", payloads.sendgrid(name, type="bounce", status="5.1.1")) for name in sorted(sendgrid.EVENTS)),
    *(("mailgun", payloads.mailgun_failed("permanent", reason)) for reason in sorted(mailgun.FAILURES)),
    ("mailgun", payloads.mailgun("delivered")),
    *(("postmark", payloads.postmark(name)) for name in sorted(postmark.TYPES)),
    ("postmark", payloads.postmark_other("Delivery", DeliveredAt="2026-05-04T11:58:00Z")),
    ("postmark", payloads.postmark_other("SubscriptionChange", SuppressSending=True)),
    ("generic", EVENT),
]
READ: dict[str, Callable[[object], Batch]] = {
    "ses": lambda body: ses.read(json.dumps(body)),
    "sendgrid": lambda body: read_sendgrid(signing.sendgrid([body]), NOW),
    "mailgun": lambda body: read_mailgun(signing.packed(signing.mailgun(body)), NOW),
    "postmark": lambda body: read_postmark(signing.postmark(body), NOW),
    "generic": lambda body: read_generic(signing.generic([body]), NOW),
}


def check(batch: Batch) -> None:
    """Check that what is handed on is of its types, short, and can be kept by every database."""
    for report, proof in batch.told:
        assert isinstance(report.hard, bool)
        assert report.at is None or report.at.tzinfo is not None
        for value in (*report, *proof):
            if isinstance(value, str):
                assert len(value) <= 500
                assert "\x00" not in value
                value.encode()


def changed(draw: st.DrawFn, value: object) -> object:
    """Return plain data in which something, somewhere, is something else."""
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        name = draw(st.sampled_from(sorted(value)))
        if draw(st.integers(0, 9)) == 0:
            return {key: each for key, each in value.items() if key != name}
        return {**value, name: changed(draw, value[name])}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        return [changed(draw, value[0]), *value[1:]]
    return draw(JSON)


@st.composite
def events(draw: st.DrawFn) -> tuple[str, object]:
    provider, body = draw(st.sampled_from(TEMPLATES))
    for _ in range(draw(st.integers(1, 3))):
        body = cast("Json", changed(draw, body))
    return provider, body


@settings(max_examples=200, deadline=None)
@given(events())
def test_an_event_that_was_bent_is_read_or_refused_with_a_sentence(event: tuple[str, object]) -> None:
    provider, body = event
    with suppress(MailerError):
        check(READ[provider](body))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(READ)), JSON)
def test_any_json_at_all(provider: str, body: object) -> None:
    with suppress(MailerError):
        check(READ[provider](body))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.dictionaries(st.text(max_size=30), st.text(max_size=60), max_size=5))
def test_any_octets_at_all(body: bytes, headers: dict[str, str]) -> None:
    arrival = Arrival(headers, body)
    with suppress(MailerError):
        sns.read(arrival, [signing.TOPIC])
    for read in (read_sendgrid, read_mailgun, read_postmark, read_generic):
        with pytest.raises(MailerError):
            read(arrival, NOW)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_message_of_sns_that_was_bent(data: st.DataObject) -> None:
    body = data.draw(st.sampled_from([signing.sns("hello", Subject="s"), signing.confirmation()]))
    bent = {**body, data.draw(st.sampled_from(sorted(body))): data.draw(JSON)}
    with suppress(MailerError):
        sns.verify(sns.read(signing.packed(bent), [signing.TOPIC]), signing.certificate(), NOW)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300) | st.just(signing.certificate()).map(lambda pem: pem[:-60] + pem[-40:]))
def test_any_certificate_at_all(pem: bytes) -> None:
    with pytest.raises(MailerError):
        sns_key(pem, NOW)
