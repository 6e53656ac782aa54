"""Amazon SNS: whose message it is, and which addresses of Amazon may be asked."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mailer.errors import Forbidden
from mailer.feedback.inbound.providers import Unreadable, sns
from tests.providers import signing
from tests.providers.signing import CERTIFICATE, HOST, NOW, TOPIC, Json

TOPICS = frozenset({TOPIC})


def verified(body: Json, pem: bytes | None = None, moment: timedelta = timedelta(0)) -> sns.Notice:
    notice = sns.read(signing.packed(body), TOPICS)
    sns.verify(notice, pem or signing.certificate(), NOW + moment)
    return notice


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize(
    "body",
    [
        lambda version: signing.sns("hello", version=version),
        lambda version: signing.sns("hello", version=version, Subject="Amazon SES Email Event Notification"),
        lambda version: signing.confirmation(version=version),
        lambda version: signing.confirmation("UnsubscribeConfirmation", version=version),
    ],
    ids=["notification", "with a subject", "subscription", "unsubscription"],
)
def test_what_sns_signed_is_believed(body: object, version: str) -> None:
    assert callable(body)
    assert verified(body(version)).topic == TOPIC


@pytest.mark.parametrize("name", ["Message", "MessageId", "Subject", "Timestamp", "Signature"])
def test_a_message_that_was_changed_is_not(name: str) -> None:
    body = signing.sns("hello", Subject="A subject")
    changed = {"Timestamp": "2026-05-04T11:59:59.123Z", "Signature": str(body["Signature"])[:-8] + "AAAAAAA="}
    with pytest.raises(Forbidden, match="signature is not Amazon SNS's"):
        verified({**body, name: changed.get(name, "changed")})


def test_a_subject_that_was_added_or_taken_away_is_seen() -> None:
    with pytest.raises(Forbidden, match="signature"):
        verified({**signing.sns("hello"), "Subject": "added"})
    body = signing.sns("hello", Subject="A subject")
    del body["Subject"]
    with pytest.raises(Forbidden, match="signature"):
        verified(body)


def test_a_signature_of_one_version_is_none_of_the_other() -> None:
    with pytest.raises(Forbidden, match="signature"):
        verified({**signing.sns("hello"), "SignatureVersion": "2"})


@pytest.mark.parametrize("moment", [timedelta(hours=25), timedelta(hours=-1)], ids=str)
def test_an_old_message_is_refused_and_one_from_the_future(moment: timedelta) -> None:
    with pytest.raises(Forbidden, match="minutes old"):
        verified(signing.sns("hello"), moment=moment)


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        (lambda: signing.certificate("evil.example"), "not of Amazon SNS"),
        (lambda: signing.certificate("sns.amazonaws.com.evil.example"), "not of Amazon SNS"),
        (lambda: signing.certificate(ends=NOW - timedelta(days=1)), "not valid at this time"),
        (lambda: signing.certificate(begins=NOW + timedelta(days=1)), "not valid at this time"),
        (lambda: signing.certificate(key=rsa.generate_private_key(65537, 2048)), "signature"),
        (lambda: signing.certificate(key=rsa.generate_private_key(65537, 1024)), "2,048"),
        (lambda: signing.certificate(key=ec.generate_private_key(ec.SECP256R1())), "RSA"),
        (lambda: b"no certificate", "cannot be read"),
    ],
    ids=["another name", "a longer name", "ended", "to come", "another key", "a short key", "another kind", "none"],
)
def test_another_certificate_is_refused(pem: object, why: str) -> None:
    assert callable(pem)
    with pytest.raises(Forbidden, match=why):
        verified(signing.sns("hello"), pem())


@pytest.mark.parametrize("name", ["sns.eu-west-1.amazonaws.com", "sns-signing.eu-west-1.amazonaws.com"])
def test_certificates_of_a_region_are_taken(name: str) -> None:
    verified(signing.sns("hello"), signing.certificate(name))


@pytest.mark.parametrize(
    "url",
    [
        CERTIFICATE.replace("https", "http"),
        CERTIFICATE.replace("eu-west-1", "us-east-1"),
        CERTIFICATE.replace("sns.", "s3."),
        CERTIFICATE.replace("amazonaws.com", "amazonaws.com.evil.example"),
        CERTIFICATE.replace("amazonaws.com", "amazonaws.com.cn"),
        CERTIFICATE.replace("https://", "https://user@"),
        CERTIFICATE.replace("https://", "https://evil.example/"),
        CERTIFICATE.replace(".com/", ".com:8443/"),
        CERTIFICATE.replace(".com/", ".com/evil/"),
        CERTIFICATE.replace(".com/", ".com/../"),
        CERTIFICATE + "?x=1",
        CERTIFICATE + "#x",
        CERTIFICATE + "\n",
        CERTIFICATE.replace(".pem", ".txt"),
        "https://169.254.169.254/SimpleNotificationService-1.pem",
        "",
        7,
        None,
    ],
    ids=str,
)
def test_a_certificate_is_asked_for_at_sns_alone(url: object) -> None:
    with pytest.raises(Forbidden, match="SigningCertURL"):
        sns.read(signing.packed(signing.sns("hello", SigningCertURL=url)), TOPICS)


@pytest.mark.parametrize(
    "url",
    [
        f"{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}x&Token=t",
        f"{HOST}/?Action=DeleteTopic&TopicArn={TOPIC}&Token=t",
        f"{HOST}/?Action=ConfirmSubscription&Action=DeleteTopic&TopicArn={TOPIC}",
        f"{HOST}/path?Action=ConfirmSubscription&TopicArn={TOPIC}",
        f"https://evil.example/?Action=ConfirmSubscription&TopicArn={TOPIC}",
        f"http://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}",
        f"{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=" + "t" * 2000,
    ],
    ids=range(7),
)
def test_only_a_subscription_of_that_topic_is_confirmed(url: str) -> None:
    with pytest.raises(Forbidden, match="SubscribeURL"):
        sns.read(signing.packed(signing.confirmation(SubscribeURL=url)), TOPICS)


def test_a_topic_of_china_has_hosts_of_china() -> None:
    assert sns.region_host("arn:aws-cn:sns:cn-north-1:123456789012:t") == "sns.cn-north-1.amazonaws.com.cn"
    assert sns.region_host("arn:aws-us-gov:sns:us-gov-west-1:123456789012:t.fifo") == "sns.us-gov-west-1.amazonaws.com"
    assert sns.region_host("arn:aws:sqs:eu-west-1:123456789012:t") is None
    assert sns.region_host("arn:aws:sns:evil.example/:123456789012:t") is None


def test_somebody_elses_topic_is_refused_before_anything_is_fetched() -> None:
    with pytest.raises(Forbidden, match="MAILER_SES_TOPICS"):
        sns.read(signing.packed(signing.sns("hello", TopicArn=TOPIC + "-of-another")), TOPICS)


def test_raw_delivery_is_refused_with_the_way_out() -> None:
    with pytest.raises(Forbidden, match="turn it off"):
        sns.read(signing.packed({}, x_amz_sns_rawdelivery="true"), TOPICS)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"null", b"{", b"\xff", b"[" * 5000, {"Type": "Other"}, {"Type": ["Notification"]}),
        *({"Type": "Notification", "TopicArn": TOPIC}, signing.sns("m", SignatureVersion="3")),
        signing.sns("m", Timestamp="yesterday"),
    ],
    ids=range(11),
)
def test_what_is_no_message_of_sns_is_a_sentence(body: object) -> None:
    with pytest.raises(Unreadable):
        sns.read(signing.packed(body), TOPICS)
