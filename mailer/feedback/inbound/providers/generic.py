"""Any other provider, by a small program of the operator's: documented JSON, signed as Standard Webhooks say."""

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from mailer.errors import Forbidden
from mailer.feedback.inbound.providers import plain, signatures
from mailer.feedback.inbound.providers.arriving import MOST_EVENTS, Arrival, Batch, Read, Told, Unreadable
from mailer.feedback.inbound.providers.plain import Json
from mailer.feedback.inbound.report import Category, Kind, Proof, Report

#: Standard Webhooks: a message is refused whose timestamp is further away than the tolerance.
_OLDEST = timedelta(minutes=5)
_ID = re.compile(r"[!-~]{1,200}")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")


def reader(secrets: Sequence[bytes]) -> Read:
    """Return what verifies and reads requests signed with one of these secrets."""
    return partial(_read, tuple(secrets))


def _read(secrets: Sequence[bytes], arrival: Arrival, now: datetime) -> Batch:
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    own, stamp, signed = (arrival.headers.get(name, "") for name in names)
    message = f"{own}.{stamp}.".encode("utf-8", "replace") + arrival.body
    ours = [base64.b64encode(signatures.hmac_sha256(secret, message)).decode() for secret in secrets]
    theirs = [each.removeprefix("v1,") for each in signed.split(" ")[:10] if each.startswith("v1,")]
    at = signatures.epoch(stamp)
    equal = [signatures.same(mine, each) for mine in ours for each in theirs]
    if at is None or not _ID.fullmatch(own) or not any(equal):
        raise Forbidden("webhook-signature is not of MAILER_INBOUND_SECRET: sign `id.timestamp.body` as v1")
    signatures.fresh(at, now, _OLDEST)
    body = plain.load(arrival.body)
    events = body if isinstance(body, list) else [body]
    if len(events) > MOST_EVENTS:
        raise Unreadable(f"a request holds at most {MOST_EVENTS} events")
    told: list[Told] = []
    flaws: list[str] = []
    for place, each in enumerate(events):
        path = f"[{place}]" if isinstance(body, list) else "the event"
        if (flaw := _flaw(each)) is not None:
            flaws.append(f"{path}: {flaw}")
        elif isinstance(each, Mapping):
            told.append(_told(each, f"{own}:{place}"))
    if flaws and not told:
        raise Unreadable(flaws[0])
    return Batch(tuple(told), flaws=tuple(flaws))


def _flaw(event: object) -> str | None:
    """Return what is wrong with an event, None where it can be read."""
    if not isinstance(event, Mapping):
        return "must be an object"
    if event.get("kind") not in list(Kind):
        return f"kind must be one of {', '.join(Kind)}"
    if event.get("category") not in (None, *Category):
        return f"category must be one of {', '.join(Category)}"
    if not isinstance(event.get("hard", False), bool):
        return "hard must be true or false"
    if event.get("at") is not None and plain.moment(event["at"]) is None:
        return "at must be a time such as 2026-05-04T12:00:00Z"
    if event.get("email_id") is not None and plain.email_id(event["email_id"]) is None:
        return "email_id must be the id of an email, em_…"
    if event.get("recipient") is not None and plain.address(event["recipient"]) is None:
        return "recipient must be an address"
    if not any(event.get(name) for name in ("email_id", "message_id", "return_path")):
        return "one of email_id, message_id and return_path must say which email it is about"
    return None


def _told(event: Json, own: str) -> Told:
    kind, status = Kind(str(event["kind"])), plain.text(event.get("status"), 20) or ""
    report = Report(
        kind,
        Category(str(event.get("category") or Category.UNKNOWN)),
        hard=event.get("hard") is True and kind is Kind.BOUNCED,
        recipient=plain.address(event.get("recipient")),
        status=status if _STATUS.fullmatch(status) else None,
        diagnostic=plain.text(event.get("diagnostic")),
        at=plain.moment(event.get("at")),
        source="generic",
        rule="generic",
        return_path=plain.address(event.get("return_path")),
        message_id=plain.message_id(event.get("message_id")),
        event_id=plain.identifier(event.get("event_id")) or own,
    )
    return report, Proof("provider:generic", plain.email_id(event.get("email_id")))
