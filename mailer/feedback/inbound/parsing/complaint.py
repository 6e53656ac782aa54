"""Feedback reports (ARF, RFC 5965; redacted ones, RFC 6590), and what Microsoft sends instead."""

import re
from typing import NamedTuple

from mailer.causes import Category
from mailer.feedback.inbound.parsing import addresses
from mailer.feedback.inbound.parsing.delivery import host, moment
from mailer.feedback.inbound.parsing.mime import Part, decoded, fields_of
from mailer.feedback.inbound.parsing.original import Original, original
from mailer.feedback.inbound.report import Kind, Report

_LONGEST, _RECIPIENTS = 64 * 1024, 100
#: Feedback-Type -> what it means for the person; None: nothing (R5.3). Types: RFC 5965 section 7.3, RFC 6430, RFC 6591.
TYPES: dict[str, tuple[Kind, Category] | None] = {
    "abuse": (Kind.COMPLAINED, Category.COMPLAINT),
    "fraud": (Kind.COMPLAINED, Category.COMPLAINT),
    "miscategorized": (Kind.COMPLAINED, Category.COMPLAINT),
    "opt-out": (Kind.UNSUBSCRIBED, Category.UNSUBSCRIBE),
    "opt-out-list": (Kind.UNSUBSCRIBED, Category.UNSUBSCRIBE),
    "not-spam": None,
    "auth-failure": None,
    "dmarc": None,
    "virus": None,
    "dkim": None,
    "other": None,
}
_REDACTED = re.compile(r"redact|removed|hidden|x{4}|undisclosed", re.IGNORECASE)
_IN_TEXT = re.compile(r"^feedback-type\s*:", re.IGNORECASE | re.MULTILINE)
#: Where senders' programmes of mailbox providers write whom a mail was for.
_RECIPIENT_FIELDS = ("original-rcpt-to", "removal-recipient", "redacted-address", "x-original-to")


class Feedback(NamedTuple):
    """What was found of a feedback report."""

    reports: tuple[Report, ...]
    #: Its type, where that means nothing for the person.
    other: str | None = None


def read(mail: Part) -> Feedback | None:
    """Return what a feedback report says, None where a mail is none."""
    fields = _fields(mail)
    ours = original(mail)
    if fields is None:
        return _microsoft(mail, ours)
    found = dict(reversed(fields))
    kind = found.get("feedback-type", "abuse").split(";")[0].strip().lower()
    meaning = TYPES.get(kind)
    if meaning is None:
        return Feedback((), other=kind if kind in TYPES else "unknown")
    named = [address for name, value in fields if name in _RECIPIENT_FIELDS for address in _named(value)]
    reports = [
        Report(
            *meaning,
            recipient=recipient,
            at=moment(found.get("arrival-date") or found.get("received-date") or ""),
            source="arf",
            rule=f"arf-{kind}",
            return_path=ours.return_path or addresses.first(found.get("original-mail-from", "")),
            message_id=ours.message_id,
            envelope_id=found.get("original-envelope-id", "")[:300] or None,
            reporter=_reporter(mail, found),
            list_unsubscribe=ours.list_unsubscribe,
        )
        for recipient in tuple(dict.fromkeys(named))[:_RECIPIENTS] or (None,)
    ]
    return Feedback(tuple(reports))


def _fields(mail: Part) -> list[tuple[str, str]] | None:
    for part in mail.walk():
        if part.kind == "message/feedback-report":
            return _read(part.body)
    if mail.kind == "multipart/report" and "feedback" in mail.parameters.get("report-type", "").lower():
        # Some relays turn the part into plain text.
        for part in mail.walk():
            if part.kind == "text/plain" and not part.parts and (found := _IN_TEXT.search(part.text())):
                return _read(part.text()[found.start() :].encode("utf-8", "replace"))
        return []
    return None


def _read(body: bytes) -> list[tuple[str, str]]:
    return [(name, decoded(value)) for name, value in fields_of(body[:_LONGEST].lstrip(b"\n"))[0]]


def _microsoft(mail: Part, ours: Original) -> Feedback | None:
    """Return what the Junk Mail Reporting Program says: the mail itself, with a field that names the recipient."""
    if "complaint about message from" not in mail.field("subject").lower():
        return None
    inner = next((part.parts[0] for part in mail.walk() if part.kind == "message/rfc822" and part.parts), None)
    if inner is None or not inner.has("x-hmxmroriginalrecipient"):
        return None
    recipient = next(iter(_named(inner.field("x-hmxmroriginalrecipient"))), None)
    report = Report(
        Kind.COMPLAINED,
        Category.COMPLAINT,
        recipient=recipient,
        at=moment(mail.field("date")),
        source="arf",
        rule="arf-jmrp",
        return_path=ours.return_path,
        message_id=ours.message_id,
        reporter=_reporter(mail, {}),
        list_unsubscribe=ours.list_unsubscribe,
    )
    return Feedback((report,))


def _named(value: str) -> list[str]:
    return [address for address in addresses.every(value.partition(";")[2] or value) if not _REDACTED.search(address)]


def _reporter(mail: Part, found: dict[str, str]) -> str | None:
    return addresses.domain(addresses.first(mail.field("from")) or "") or host(found.get("reporting-mta", "")) or None
