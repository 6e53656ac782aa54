"""Twilio SendGrid: the signed Event Webhook -> Reports ("Event Webhook Reference" in its documents)."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from mailer.causes import Cause
from mailer.errors import Forbidden
from mailer.feedback.inbound.providers import plain, signatures
from mailer.feedback.inbound.providers.arriving import MOST_EVENTS, Arrival, Batch, Read, Told, Unreadable
from mailer.feedback.inbound.providers.causes import cause, code_in
from mailer.feedback.inbound.providers.plain import Json
from mailer.feedback.inbound.report import Category, Kind, Proof, Report

_SIGNATURE = "x-twilio-email-event-webhook-signature"
_TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
#: SendGrid tries for 24 hours; the body is signed too, so what is replayed says what is known.
_OLDEST = timedelta(hours=25)
#: The unique argument by which SendGrid echoes our id (`delivery.echo`).
ECHO = "mailer_email_id"


class Meaning(NamedTuple):
    """What an event says: one report, or two."""

    kind: Kind
    cause: Cause | None = None
    #: What the person had done before, which SendGrid knows and we may not.
    also: Kind | None = None


_COMPLAINED, _LEFT = Cause(Category.COMPLAINT), Cause(Category.UNSUBSCRIBE)
#: What is recorded; `processed`, `open`, `click`, `group_resubscribe` and what is unknown is not.
EVENTS: Mapping[str, Meaning] = {
    "bounce": Meaning(Kind.BOUNCED),
    "blocked": Meaning(Kind.BOUNCED),
    "dropped": Meaning(Kind.BOUNCED),
    "deferred": Meaning(Kind.DEFERRED),
    "delivered": Meaning(Kind.DELIVERED),
    "spamreport": Meaning(Kind.COMPLAINED, _COMPLAINED),
    "unsubscribe": Meaning(Kind.UNSUBSCRIBED, _LEFT),
    "group_unsubscribe": Meaning(Kind.UNSUBSCRIBED, _LEFT),
}
#: bounce_classification -> why, where the receiver's words do not say it better.
CLASSES: Mapping[str, Cause] = {
    "invalid address": Cause(Category.INVALID_RECIPIENT, hard=True),
    "invalid": Cause(Category.INVALID_RECIPIENT, hard=True),
    "technical": Cause(Category.TRANSIENT),
    "content": Cause(Category.CONTENT),
    "reputation": Cause(Category.SPAM_BLOCK),
    "frequency or volume too high": Cause(Category.TRANSIENT),
    "mailbox unavailable": Cause(Category.INACTIVE_MAILBOX),
    "unclassified": Cause(Category.UNKNOWN),
}
#: Why SendGrid did not even try. Its own lists do not say what made it list the address.
DROPS: Mapping[str, Meaning] = {
    "bounced address": Meaning(Kind.BOUNCED, Cause(Category.INVALID_RECIPIENT)),
    "invalid": Meaning(Kind.BOUNCED, Cause(Category.INVALID_RECIPIENT, hard=True)),
    "unsubscribed address": Meaning(Kind.BOUNCED, _LEFT, Kind.UNSUBSCRIBED),
    "spam reporting address": Meaning(Kind.BOUNCED, _COMPLAINED, Kind.COMPLAINED),
    "spam content": Meaning(Kind.BOUNCED, Cause(Category.CONTENT)),
    "invalid smtpapi header": Meaning(Kind.BOUNCED, Cause(Category.PROTOCOL)),
    "recipient list over package quota": Meaning(Kind.BOUNCED, Cause(Category.POLICY)),
}
_UNCLEAR = {Kind.BOUNCED: Cause(Category.UNKNOWN), Kind.DEFERRED: Cause(Category.TRANSIENT)}


def reader(keys: tuple[EllipticCurvePublicKey, ...]) -> Read:
    """Return what verifies and reads requests of the accounts with these verification keys."""
    return partial(_read, keys)


def _read(keys: tuple[EllipticCurvePublicKey, ...], arrival: Arrival, now: datetime) -> Batch:
    stamp, signature = arrival.headers.get(_TIMESTAMP, ""), arrival.headers.get(_SIGNATURE, "")
    at, signed = signatures.epoch(stamp), signatures.unbase64(signature)
    if at is None or not signed or not signatures.ecdsa_signed(keys, signed, stamp.encode() + arrival.body):
        raise Forbidden("the signature is not of MAILER_SENDGRID_PUBLIC_KEY: turn on the Signed Event Webhook")
    signatures.fresh(at, now, _OLDEST)
    events = plain.load(arrival.body)
    if not isinstance(events, list) or len(events) > MOST_EVENTS:
        raise Unreadable(f"the body must be a list of at most {MOST_EVENTS} events")
    told: list[Told] = []
    ignored, flaws = 0, list[str]()
    for place, each in enumerate(events):
        if not isinstance(each, Mapping) or not isinstance(each.get("event"), str):
            flaws.append(f"[{place}] must be an event, an object with the text `event`")
            continue
        found = _told(each)
        told += found
        ignored += not found
    return Batch(tuple(told), ignored, tuple(flaws))


def _told(event: Json) -> list[Told]:
    name = str(event["event"])
    meaning = EVENTS.get(name)
    if meaning is None:
        return []
    said = plain.text(event.get("reason")) or plain.text(event.get("response"))
    if name == "dropped":
        meaning = DROPS.get((said or "").lower(), meaning)
    status = code_in(plain.text(event.get("status"), 40), said)
    why = meaning.cause or _cause(event, meaning.kind, status, said)
    # Of a bounce SendGrid says `type: blocked` where the mail, and not the address, was refused.
    refused = name == "blocked" or event.get("type") == "blocked"
    report = Report(
        meaning.kind,
        why.category,
        hard=why.hard and meaning.kind is Kind.BOUNCED and not refused,
        recipient=plain.address(event.get("email")),
        status=status,
        diagnostic=said,
        at=plain.moment(event.get("timestamp")),
        source="sendgrid",
        rule=f"sendgrid:{name}",
        message_id=plain.message_id(event.get("smtp-id")),
        event_id=plain.identifier(event.get("sg_event_id")),
    )
    proof = Proof("provider:sendgrid", plain.email_id(event.get(ECHO)))
    if meaning.also is None:
        return [(report, proof)]
    return [(report, proof), (report._replace(kind=meaning.also), proof)]


def _cause(event: Json, kind: Kind, status: str | None, said: str | None) -> Cause:
    if kind is Kind.DELIVERED:
        return Cause(Category.UNKNOWN)
    classified = CLASSES.get((plain.text(event.get("bounce_classification"), 60) or "").lower())
    unclear = classified or _UNCLEAR[kind]
    return cause(status, said) or unclear
