"""Mailgun: webhooks with `signature` and `event-data` -> Reports ("Webhooks" and "Events" in its documents).

The signature covers a time and a token and **not the body**: whoever overhears one request could say anything with it.
So a token is heard once (`tokens`), for half a day, and a report counts only with the Message-ID of a mail of ours,
which nobody guesses, together with its recipient.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from mailer.causes import Cause
from mailer.errors import Forbidden
from mailer.feedback.inbound.providers import plain, signatures
from mailer.feedback.inbound.providers.arriving import Arrival, Batch, Read, Unreadable
from mailer.feedback.inbound.providers.causes import cause, code_in
from mailer.feedback.inbound.providers.plain import Json
from mailer.feedback.inbound.report import Category, Kind, Proof, Report

PROOF = Proof("provider:mailgun")
#: Mailgun tries for 8 hours, maybe with the first signature.
OLDEST = timedelta(hours=12)


class Meaning(NamedTuple):
    """Why a mail failed, and what the person had done before, which Mailgun knows and we may not."""

    cause: Cause
    also: Kind | None = None


#: What is recorded; `accepted`, `opened`, `clicked`, `stored` and what is unknown is not.
EVENTS: Mapping[str, tuple[Kind, Cause]] = {
    "failed": (Kind.BOUNCED, Cause(Category.UNKNOWN)),
    "rejected": (Kind.BOUNCED, Cause(Category.POLICY)),
    "delivered": (Kind.DELIVERED, Cause(Category.UNKNOWN)),
    "complained": (Kind.COMPLAINED, Cause(Category.COMPLAINT)),
    "unsubscribed": (Kind.UNSUBSCRIBED, Cause(Category.UNSUBSCRIBE)),
}
#: `reason` of what failed for good; None: what the receiver said decides. Mailgun's lists ("suppress-…") do not say
#: what made it list the address.
FAILURES: Mapping[str, Meaning | None] = {
    "bounce": None,
    "generic": None,
    "suppress-bounce": Meaning(Cause(Category.INVALID_RECIPIENT)),
    "suppress-complaint": Meaning(Cause(Category.COMPLAINT), Kind.COMPLAINED),
    "suppress-unsubscribe": Meaning(Cause(Category.UNSUBSCRIBE), Kind.UNSUBSCRIBED),
    "espblock": Meaning(Cause(Category.SPAM_BLOCK)),
    "greylisted": Meaning(Cause(Category.TRANSIENT)),
    "old": Meaning(Cause(Category.EXPIRED)),
}
_UNCLEAR = Cause(Category.UNKNOWN)


def reader(keys: Sequence[bytes]) -> Read:
    """Return what verifies and reads requests of the accounts with these webhook signing keys."""
    return partial(_read, tuple(keys))


def _read(keys: Sequence[bytes], arrival: Arrival, now: datetime) -> Batch:
    body = plain.table(plain.load(arrival.body))
    signature = plain.table(body, "signature")
    stamp, token, theirs = (signature.get(name) for name in ("timestamp", "token", "signature"))
    if not (isinstance(stamp, str) and isinstance(token, str) and isinstance(theirs, str)):
        raise Unreadable("signature must hold the texts timestamp, token and signature: set up a webhook, not a route")
    ours = [signatures.hmac_sha256(key, f"{stamp}{token}".encode("utf-8", "replace")).hex() for key in keys]
    # All are compared, so that the time that it takes tells nothing.
    equal = [signatures.same(each, theirs) for each in ours]
    at = signatures.epoch(stamp)
    if at is None or not token or not any(equal):
        raise Forbidden("the signature is not of MAILER_MAILGUN_SIGNING_KEY: it wants the HTTP webhook signing key")
    signatures.fresh(at, now, OLDEST)
    event = body.get("event-data")
    if not isinstance(event, Mapping) or not isinstance(event.get("event"), str):
        raise Unreadable("event-data must be an event, an object with the text `event`")
    told = tuple((report, PROOF) for report in _reports(event) if _ours(report))
    return Batch(told, ignored=0 if told else 1, token=f"mailgun:{stamp}:{token}".encode("utf-8", "replace"))


def _ours(report: Report) -> bool:
    """Return whether a report names one mail as only its recipient and we can."""
    return bool(report.recipient and plain.email_id((report.message_id or "")[1:].partition("@")[0]))


def _reports(event: Json) -> list[Report]:
    name = str(event["event"])
    if name not in EVENTS:
        return []
    kind, why = EVENTS[name]
    answer = plain.table(event, "delivery-status")
    said = plain.text(answer.get("message")) or plain.text(answer.get("description"))
    status = code_in(plain.text(answer.get("enhanced-code"), 40), said)
    rule, also = f"mailgun:{name}", None
    if name == "rejected":
        said = plain.text(plain.table(event, "reject").get("reason"))
    if name == "failed":
        reason = plain.text(event.get("reason"), 40) or "-"
        severity = plain.text(event.get("severity"), 40) or "-"
        rule = f"mailgun:failed/{severity}/{reason}"
        meaning = FAILURES.get(reason) or Meaning(cause(status, said) or _UNCLEAR)
        why, also = meaning
        if severity != "permanent":
            kind, why = Kind.DEFERRED, Cause(Category.TRANSIENT) if why is _UNCLEAR else why._replace(hard=False)
            also = None
    report = Report(
        kind,
        why.category,
        hard=why.hard,
        recipient=plain.address(event.get("recipient")),
        status=status,
        diagnostic=said,
        at=plain.moment(event.get("timestamp")),
        source="mailgun",
        rule=rule,
        return_path=plain.address(plain.table(event, "envelope").get("sender")),
        message_id=plain.message_id(plain.table(event, "message", "headers").get("message-id")),
        # "Unique within a day."
        event_id=plain.identifier(event.get("id"), _stamp(event.get("timestamp"))),
        reporter=plain.text(answer.get("mx-host"), 255),
    )
    return [report] if also is None else [report, report._replace(kind=also)]


def _stamp(value: object) -> str | None:
    return f"{value:.6f}" if isinstance(value, int | float) and not isinstance(value, bool) else plain.text(value, 40)
