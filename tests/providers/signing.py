"""Providers as they sign: keys made here, requests as their documents describe them."""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from mailer.feedback.inbound.providers import Arrival
from mailer.outside import Answer, Unreachable

Json = dict[str, object]

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
TOPIC = "arn:aws:sns:eu-west-1:123456789012:ses-events"
HOST = "https://sns.eu-west-1.amazonaws.com"
CERTIFICATE = f"{HOST}/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
MAILGUN_KEY, POSTMARK_SECRET = "mailgun-signing-key", "0123456789abcdef-postmark"
SECRET = "whsec_" + base64.b64encode(b"a secret of 32 octets, of which.").decode()


@cache
def sns_key() -> rsa.RSAPrivateKey:
    """Return the key by which SNS signs here."""
    return rsa.generate_private_key(65537, 2048)


@cache
def sendgrid_key() -> ec.EllipticCurvePrivateKey:
    """Return the key by which SendGrid signs here."""
    return ec.generate_private_key(ec.SECP256R1())


def public(key: ec.EllipticCurvePrivateKey) -> str:
    """Return a verification key as SendGrid shows it."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return base64.b64encode(key.public_key().public_bytes(serialization.Encoding.DER, form)).decode()


def certificate(
    name: str = "sns.amazonaws.com",
    *,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None,
    begins: datetime = NOW - timedelta(days=30),
    ends: datetime = NOW + timedelta(days=300),
) -> bytes:
    """Return a certificate of SNS's key, or of another, as PEM."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key((key or sns_key()).public_key())
        .serial_number(7)
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    return made.sign(sns_key(), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def sns(message: object, *, version: str = "1", **more: object) -> Json:
    """Return a message of SNS, signed; `more` is put in before that."""
    body: Json = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Message": message if isinstance(message, str) else json.dumps(message),
        "Timestamp": "2026-05-04T11:59:58.123Z",
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE,
        "UnsubscribeURL": f"{HOST}/?Action=Unsubscribe&SubscriptionArn={TOPIC}:c9135db0",
        **more,
    }
    return {**body, "Signature": sns_signature(body, version)}


def confirmation(kind: str = "SubscriptionConfirmation", *, version: str = "1", **more: object) -> Json:
    """Return what SNS asks when somebody subscribes us to a topic, or unsubscribes us."""
    wanted = {
        "Type": kind,
        "Token": "2336412f37fb687f5d51e6e241d09c805a5a57b30d712f794cc5f6a988666d92",
        "SubscribeURL": f"{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37fb",
        **more,
    }
    return sns(f"You have chosen to subscribe to the topic {TOPIC}.", version=version, **wanted)


def sns_signature(body: Mapping[str, object], version: str) -> str:
    """Return the signature of a message of SNS."""
    subject = ["Subject"] if "Subject" in body else []
    names = ["Message", "MessageId", *subject, "Timestamp", "TopicArn", "Type"]
    if body["Type"] != "Notification":
        names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    text = "".join(f"{name}\n{body[name]}\n" for name in names)
    algorithm = hashes.SHA256() if version == "2" else hashes.SHA1()
    return base64.b64encode(sns_key().sign(text.encode(), padding.PKCS1v15(), algorithm)).decode()


def packed(body: object, **headers: str) -> Arrival:
    """Return a request of a body, JSON unless it is octets already."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Arrival({name.replace("_", "-"): value for name, value in headers.items()}, raw)


def sendgrid(body: object, at: datetime = NOW) -> Arrival:
    """Return a signed request of SendGrid."""
    raw, stamp = packed(body).body, str(int(at.timestamp()))
    signature = base64.b64encode(sendgrid_key().sign(stamp.encode() + raw, ec.ECDSA(hashes.SHA256()))).decode()
    start = "x-twilio-email-event-webhook"
    return Arrival({f"{start}-signature": signature, f"{start}-timestamp": stamp}, raw)


def mailgun(event: object, at: datetime = NOW, *, token: str = "", key: str = MAILGUN_KEY) -> Json:
    """Return a signed body of Mailgun."""
    token, stamp = token or secrets.token_hex(25), str(int(at.timestamp()))
    signature = hmac.new(key.encode(), f"{stamp}{token}".encode(), hashlib.sha256).hexdigest()
    return {"signature": {"timestamp": stamp, "token": token, "signature": signature}, "event-data": event}


def postmark(body: object, secret: str = POSTMARK_SECRET) -> Arrival:
    """Return a request of Postmark to an address with the secret."""
    return packed(body)._replace(secret=secret)


def generic(body: object, at: datetime = NOW, *, own: str = "msg_1", secret: str = SECRET) -> Arrival:
    """Return a request signed as Standard Webhooks say."""
    raw, stamp = packed(body).body, str(int(at.timestamp()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = base64.b64encode(hmac.new(key, f"{own}.{stamp}.".encode() + raw, hashlib.sha256).digest()).decode()
    headers = {"webhook-id": own, "webhook-timestamp": stamp, "webhook-signature": f"v1,AAAA v1,{signed}"}
    return Arrival(headers, raw)


class Amazon(NamedTuple):
    """Amazon's servers as our side sees them: what is asked, and what they answer."""

    asked: list[str]
    answers: dict[str, Answer]

    async def fetch(self, url: str) -> Answer:
        """Answer as the guarded client would."""
        self.asked.append(url)
        if url not in self.answers:
            raise Unreachable("no answer within 15 seconds")
        return self.answers[url]


def amazon(pem: bytes) -> Amazon:
    """Return Amazon with one certificate, where confirmations are taken."""
    confirmed = f"{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37fb"
    return Amazon([], {CERTIFICATE: Answer(200, {}, pem), confirmed: Answer(200, {}, b"<ok/>")})
