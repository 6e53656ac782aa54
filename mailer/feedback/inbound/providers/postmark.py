"""Postmark: bounce, spam complaint, delivery and subscription change webhooks -> Reports.

Postmark signs nothing: a secret in the path, or as the password of basic authentication, says that it is Postmark.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import NamedTuple

from mailer.causes import Cause
from mailer.errors import Unauthorized
from mailer.feedback.inbound.providers import plain, signatures
from mailer.feedback.inbound.providers.arriving import Arrival, Batch, Read, Unreadable
from mailer.feedback.inbound.providers.causes import cause, code_in
from mailer.feedback.inbound.providers.plain import Json
from mailer.feedback.inbound.report import Category, Kind, Proof, Report

#: The metadata by which Postmark echoes our id (`delivery.echo`).
ECHO = "mailer-email-id"
_BASIC = re.compile(r"(?i:basic) +([A-Za-z0-9+/=]{1,1000})")


class Meaning(NamedTuple):
    """What a type of bounce is; `asks`: the receiver's words may say better why."""

    kind: Kind
    cause: Cause
    asks: bool = False


def _bounced(category: Category, *, hard: bool = False, asks: bool = False) -> Meaning:
    return Meaning(Kind.BOUNCED, Cause(category, hard), asks)


#: Every type of bounce that Postmark names; None: no bounce at all ("out of office", a challenge, our inbound mail).
#: Postmark itself gives up an address for `HardBounce` and `SpamComplaint` only (R5.6).
TYPES: Mapping[str, Meaning | None] = {
    "HardBounce": _bounced(Category.INVALID_RECIPIENT, hard=True, asks=True),
    "Transient": Meaning(Kind.DEFERRED, Cause(Category.TRANSIENT), asks=True),
    "Unsubscribe": Meaning(Kind.UNSUBSCRIBED, Cause(Category.UNSUBSCRIBE)),
    "Subscribe": None,
    "AutoResponder": None,
    "AddressChange": None,
    "DnsError": _bounced(Category.DNS),
    "SpamNotification": _bounced(Category.SPAM_BLOCK),
    "OpenRelayTest": _bounced(Category.RELAY_DENIED),
    "Unknown": _bounced(Category.UNKNOWN, asks=True),
    "SoftBounce": _bounced(Category.TRANSIENT, asks=True),
    "VirusNotification": _bounced(Category.VIRUS),
    "ChallengeVerification": None,
    "BadEmailAddress": _bounced(Category.INVALID_RECIPIENT, hard=True),
    "SpamComplaint": Meaning(Kind.COMPLAINED, Cause(Category.COMPLAINT)),
    "ManuallyDeactivated": _bounced(Category.POLICY),
    "Unconfirmed": _bounced(Category.POLICY),
    "Blocked": _bounced(Category.SPAM_BLOCK),
    "SMTPApiError": _bounced(Category.PROTOCOL),
    "InboundError": None,
    "DMARCPolicy": _bounced(Category.AUTH),
    "TemplateRenderingFailed": _bounced(Category.CONTENT),
}
#: Types that say for themselves that the address lives: no words of the receiver make them hard.
_NEVER_HARD = frozenset({"Transient", "SoftBounce", "Unknown"})


def reader(secret: str) -> Read:
    """Return what verifies and reads requests that carry this secret."""
    return partial(_read, secret)


def _read(secret: str, arrival: Arrival, _now: datetime) -> Batch:
    # Both are compared, whichever was sent: the time that it takes tells nothing.
    shown = [signatures.same(secret, each) for each in (arrival.secret, _password(arrival))]
    if not any(shown):
        raise Unauthorized("the secret is not MAILER_POSTMARK_SECRET: put it at the end of the webhook's address")
    event = plain.load(arrival.body)
    if not isinstance(event, Mapping) or not isinstance(event.get("RecordType"), str):
        raise Unreadable("the body must be one event of Postmark, an object with the text `RecordType`")
    report = _report(event)
    if report is None:
        return Batch(ignored=1)
    return Batch(((report, Proof("provider:postmark", _echoed(event))),))


def _password(arrival: Arrival) -> str:
    found = _BASIC.fullmatch(arrival.headers.get("authorization", ""))
    plain_text = signatures.unbase64(found[1]) if found else None
    return (plain_text or b"").decode("utf-8", "replace").partition(":")[2]


def _echoed(event: Json) -> str | None:
    """Return our id; Postmark's documents do not say whether the names of metadata keep their case."""
    metadata = plain.table(event, "Metadata")
    return next((plain.email_id(value) for name, value in metadata.items() if name.lower() == ECHO), None)


def _report(event: Json) -> Report | None:
    record = event["RecordType"]
    if record == "Delivery":
        said = plain.text(event.get("Details"))
        report = _shared(event, Kind.DELIVERED, event.get("Recipient"), event.get("DeliveredAt"))
        return report._replace(
            event_id=plain.identifier("delivery", event.get("MessageID"), event.get("DeliveredAt")),
            diagnostic=said,
            status=code_in(said),
            rule="postmark:Delivery",
        )
    if record == "SubscriptionChange":
        return _changed(event)
    if record in ("Bounce", "SpamComplaint"):
        return _failed(event)
    return None


def _shared(event: Json, kind: Kind, recipient: object, at: object) -> Report:
    return Report(kind, recipient=plain.address(recipient), at=plain.moment(at), source="postmark")


def _failed(event: Json) -> Report | None:
    name = "SpamComplaint" if event["RecordType"] == "SpamComplaint" else plain.text(event.get("Type"), 60) or "Unknown"
    meaning = TYPES.get(name, TYPES["Unknown"])
    if meaning is None:
        return None
    said = plain.text(event.get("Details"))
    status = code_in(said)
    why = (cause(status, said) if meaning.asks else None) or meaning.cause
    return _shared(event, meaning.kind, event.get("Email"), event.get("BouncedAt"))._replace(
        category=why.category,
        hard=why.hard and name not in _NEVER_HARD,
        status=status,
        diagnostic=said,
        rule=f"postmark:{name}",
        event_id=plain.identifier("bounce", event.get("ID")),
    )


def _changed(event: Json) -> Report | None:
    """A person left by Postmark's own link. What bounced or complained comes as its own event, and what an operator
    of the account suppressed or reactivated is no act of the person."""
    left = event.get("SuppressSending") is True and event.get("SuppressionReason") == "ManualSuppression"
    if not left or event.get("Origin") != "Recipient":
        return None
    report = _shared(event, Kind.UNSUBSCRIBED, event.get("Recipient"), event.get("ChangedAt"))
    return report._replace(
        category=Category.UNSUBSCRIBE,
        rule="postmark:SubscriptionChange",
        event_id=plain.identifier("subscription", event.get("MessageID"), event.get("ChangedAt")),
    )
