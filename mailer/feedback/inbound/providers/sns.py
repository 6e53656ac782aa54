"""Amazon SNS: the envelope in which Amazon SES's events come, its signature, and the addresses that may be asked."""

import re
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from mailer.errors import Forbidden
from mailer.feedback.inbound.providers import plain, signatures
from mailer.feedback.inbound.providers.arriving import Arrival, Unreadable

#: SNS gives up after an hour at most (its delivery policy); what comes a day later is a replay.
_OLDEST = timedelta(hours=24)
#: `arn:partition:sns:region:account:name`.
_ARN = re.compile(r"arn:(aws|aws-cn|aws-us-gov):sns:([a-z]{2}(?:-[a-z]+)+-\d):\d{12}:[A-Za-z0-9_-]{1,256}(?:\.fifo)?")
_CERTIFICATE = re.compile(r"/SimpleNotificationService-[0-9A-Za-z]{1,64}\.pem")
NOTIFICATION, SUBSCRIBE, UNSUBSCRIBE = "Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"
_CONFIRMING = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
#: What is signed, in this order; a Subject only where there is one (Amazon SNS, "Verifying the signatures").
_SIGNED = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    SUBSCRIBE: _CONFIRMING,
    UNSUBSCRIBE: _CONFIRMING,
}


class Notice(NamedTuple):
    """One message of SNS about a topic that is ours; its signature is not checked yet."""

    kind: str
    id: str
    message: str
    #: Where the certificate lies that signed it, on a host of SNS in the topic's own region.
    certificate_url: str
    signature: bytes
    #: The octets that are signed.
    signed: bytes
    sha256: bool
    at: datetime
    topic: str
    #: What a GET of which confirms a subscription, "" where nothing is to be confirmed.
    subscribe_url: str


def region_host(topic: str) -> str | None:
    """Return the host of SNS in a topic's region; None where the text is no ARN of a topic."""
    found = _ARN.fullmatch(topic)
    return None if found is None else f"sns.{found[2]}.amazonaws.com{'.cn' if found[1] == 'aws-cn' else ''}"


def read(arrival: Arrival, topics: Collection[str]) -> Notice:
    """Return the message of a request; raises `Unreadable`, and `Forbidden` for a topic that is not ours.

    Anybody's own topic has a valid signature, so the topic is looked at first and nothing is fetched for others.
    """
    if arrival.headers.get("x-amz-sns-rawdelivery", "").lower() == "true":
        raise Forbidden("raw message delivery has no signature: turn it off for this subscription of the topic")
    found = plain.table(plain.load(arrival.body))
    kind, topic = (found.get(name) for name in ("Type", "TopicArn"))
    if not isinstance(kind, str) or kind not in _SIGNED:
        raise Unreadable("the body is no message of Amazon SNS: its Type must be Notification or a confirmation")
    if not isinstance(topic, str) or topic not in topics:
        raise Forbidden("the topic is not one of MAILER_SES_TOPICS")
    texts = {name: value for name in (*_CONFIRMING, "Subject") if isinstance(value := found.get(name), str)}
    if missing := [name for name in _SIGNED[kind] if name not in texts and name != "Subject"]:
        raise Unreadable(f"{missing[0]} is missing: send what Amazon SNS sent, unchanged")
    version, signature = found.get("SignatureVersion"), found.get("Signature")
    if version not in ("1", "2"):
        raise Unreadable("SignatureVersion must be 1 or 2")
    if (at := plain.moment(texts["Timestamp"])) is None:
        raise Unreadable("Timestamp must be a time such as 2026-05-04T12:00:00.000Z")
    return Notice(
        kind=kind,
        id=texts["MessageId"],
        message=texts["Message"],
        certificate_url=_certificate_url(found.get("SigningCertURL"), topic),
        signature=(signatures.unbase64(signature) if isinstance(signature, str) else None) or b"",
        signed="".join(f"{name}\n{texts[name]}\n" for name in _SIGNED[kind] if name in texts).encode(),
        sha256=version == "2",
        at=at,
        topic=topic,
        subscribe_url=_subscribe_url(texts["SubscribeURL"], topic) if kind == SUBSCRIBE else "",
    )


def verify(notice: Notice, certificate: bytes, now: datetime) -> None:
    """Raise `Forbidden` where the certificate did not sign this message, or long ago."""
    key = signatures.sns_key(certificate, now)
    if not signatures.rsa_signed(key, notice.signature, notice.signed, sha256=notice.sha256):
        raise Forbidden("the signature is not Amazon SNS's")
    signatures.fresh(notice.at, now, _OLDEST)


def _certificate_url(url: object, topic: str) -> str:
    if isinstance(url, str) and len(url) <= 500 and _on_sns(url, topic):
        parts = urlsplit(url)
        if _CERTIFICATE.fullmatch(parts.path) and not parts.query:
            return url
    raise Forbidden("SigningCertURL is not a certificate of Amazon SNS in the topic's region")


def _subscribe_url(url: str, topic: str) -> str:
    if len(url) <= 2000 and _on_sns(url, topic):
        parts = urlsplit(url)
        asked = parse_qs(parts.query)
        if parts.path == "/" and asked.get("Action") == ["ConfirmSubscription"] and asked.get("TopicArn") == [topic]:
            return url
    raise Forbidden("SubscribeURL does not confirm a subscription of this topic with Amazon SNS")


def _on_sns(url: str, topic: str) -> bool:
    """Return whether a URL is on the host of SNS, exactly: no user, no port, no fragment, nothing but ASCII."""
    return re.match(rf"https://{re.escape(region_host(topic) or '/')}/[!-~]*\Z", url) is not None and "#" not in url
