"""Delivery status notifications (RFC 3464, and RFC 6533 for addresses that are not ASCII)."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from mailer.causes import Category, Cause, Said, enhanced_of
from mailer.feedback.inbound.parsing import addresses, refusal
from mailer.feedback.inbound.parsing.mime import Part, decoded, fields_of
from mailer.feedback.inbound.report import Kind, Report

_LONGEST, _DIAGNOSTIC = 256 * 1024, 500
#: We write a mail to each; a report of more of ours than this is a flood, of which the beginning is read.
_RECIPIENTS = 25
_KINDS = {"message/delivery-status", "message/global-delivery-status"}
_OF_ALL = {"reporting-mta", "dsn-gateway", "received-from-mta", "arrival-date", "original-envelope-id"}
#: A recipient's block begins with one of these, where it has not said it yet.
_BEGINS = {"original-recipient", "final-recipient", "action"}
_IN_TEXT = re.compile(
    r"^\s{0,8}(final-recipient|original-recipient)\s*:.{3,300}\n(.*\n){0,6}?\s{0,8}(action|status)\s*:",
    re.IGNORECASE | re.MULTILINE,
)

_KIND = {
    **dict.fromkeys(
        ("failed", "failure", "fail", "error", "undeliverable", "undelivered", "expired", "bounced"), Kind.BOUNCED
    ),
    **dict.fromkeys(("delayed", "delay", "deferred"), Kind.DEFERRED),
    "delivered": Kind.DELIVERED,
}
#: They say that the mail went on; nobody knows whether it arrived (RFC 3464 section 2.3.3).
_NOTHING = {"relayed", "expanded", "transferred"}
#: What PowerMTA found, in a field of its own.
_POWERMTA = {
    "bad-domain": Cause(Category.BAD_DOMAIN, hard=True, rule="powermta-bad-domain"),
    "bad-mailbox": Cause(Category.INVALID_RECIPIENT, hard=True, rule="powermta-bad-mailbox"),
    "inactive-mailbox": Cause(Category.INACTIVE_MAILBOX, hard=True, rule="powermta-inactive-mailbox"),
    "quota-issues": Cause(Category.MAILBOX_FULL, rule="powermta-quota"),
    "spam-related": Cause(Category.SPAM_BLOCK, rule="powermta-spam"),
    "spam-block": Cause(Category.SPAM_BLOCK, rule="powermta-spam"),
    "policy-related": Cause(Category.POLICY, rule="powermta-policy"),
    "message-expired": Cause(Category.EXPIRED, rule="powermta-expired"),
    "routing-errors": Cause(Category.ROUTING, rule="powermta-routing"),
    "content-related": Cause(Category.CONTENT, rule="powermta-content"),
    "virus-related": Cause(Category.VIRUS, rule="powermta-virus"),
    "relaying-issues": Cause(Category.RELAY_DENIED, rule="powermta-relaying"),
}


class Status(NamedTuple):
    """What was found of a status notification."""

    reports: tuple[Report, ...]
    #: It only says that the mail went on.
    passed_on: bool = False


class _Block(NamedTuple):
    fields: dict[str, str]

    def value(self, *names: str) -> str:
        return next((self.fields[name] for name in names if self.fields.get(name)), "")


def status_part(mail: Part) -> bytes | None:
    """Return the fields of a delivery status, from its own part or from the text where a gateway put them."""
    for part in mail.walk():
        if part.kind in _KINDS:
            return part.body[:_LONGEST]
    for part in mail.walk():
        if part.kind.startswith("text/") and not part.parts and part.kind != "text/rfc822-headers":
            found = _IN_TEXT.search(part.text())
            if found:
                # Wherever the block with the reporter begins.
                start = part.text().lower().rfind("reporting-mta:", 0, found.start())
                return part.text()[start if start >= 0 else found.start() :].encode("utf-8", "replace")
    return None


def read(body: bytes, prose: str, *, delayed: bool) -> Status:
    """Return the reports of a delivery status; `prose` is what the mail says to people, `delayed` what that means."""
    whole, blocks = _blocks(body)
    kinds = [_kind(block, delayed=delayed) for block in blocks]
    told = [(kind, block) for kind, block in zip(kinds, blocks, strict=True) if kind is not None]
    alone = len(blocks) == 1
    reports = tuple(_report(kind, block, whole, prose, alone=alone) for kind, block in told[:_RECIPIENTS])
    return Status(_once(reports), passed_on=bool(blocks) and not told)


def moment(value: str) -> datetime | None:
    """Return a date field as an aware time, None where it is none."""
    try:
        found = parsedate_to_datetime(value[:100].strip())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def host(value: str) -> str:
    """Return the host of a field such as `dns; mx.example.org (192.0.2.1)`."""
    kind, semicolon, rest = value.partition(";")
    words = (rest if semicolon else kind).strip().lower().split()
    return words[0].strip("()[]<>.,")[:255] if words else ""


def _blocks(body: bytes) -> tuple[_Block, list[_Block]]:
    whole: dict[str, str] = {}
    blocks: list[dict[str, str]] = []
    number_of: list[int] = []
    for number, name, value in _fields(body):
        if name in _OF_ALL:
            whole.setdefault(name, value)
            continue
        new_block = bool(blocks) and number != number_of[-1] and name in _BEGINS and name in blocks[-1]
        if not blocks or new_block or (name == "final-recipient" and name in blocks[-1]):
            if name not in _BEGINS | {"status", "diagnostic-code"}:
                whole.setdefault(name, value)
                continue
            blocks.append({})
            number_of.append(number)
        known = blocks[-1].get(name)
        blocks[-1][name] = f"{known} {value}" if known and name == "diagnostic-code" else known or value
        number_of[-1] = number
    return _Block(whole), [_Block(block) for block in blocks if len(block) > 1 or "final-recipient" in block]


def _fields(body: bytes) -> Iterator[tuple[int, str, str]]:
    at, number = 0, 0
    body = body.lstrip(b"\n")
    while at < len(body) and number < 4 * _RECIPIENTS:
        fields, used = fields_of(body[at : at + 64 * 1024])
        for name, value in fields:
            yield number, name, decoded(value)
        # A line that is no field is passed over, so that the work ends.
        following = body.find(b"\n", at)
        at += used or (following - at + 1 if following >= 0 else len(body))
        number += 1


def _kind(block: _Block, *, delayed: bool) -> Kind | None:
    words = re.findall(r"[a-z]+", block.value("action").lower()[:60])
    action = words[0] if words else ""
    if action in _KIND:
        return _KIND[action]
    status = enhanced_of(block.value("status")) or block.value("status").strip()
    if action in _NOTHING or (not action and not status):
        return None
    if status.startswith("2"):
        return Kind.DELIVERED
    return Kind.DEFERRED if delayed else Kind.BOUNCED


def _report(kind: Kind, block: _Block, whole: _Block, prose: str, *, alone: bool) -> Report:
    # Original-Recipient is what we wrote (RFC 3461), whoever it was forwarded to.
    recipient = addresses.typed(block.value("original-recipient")) or addresses.typed(block.value("final-recipient"))
    final = addresses.typed(block.value("final-recipient")) or recipient
    said = _diagnostic(block)
    status = enhanced_of(block.value("status"))
    cause, told = Cause(Category.UNKNOWN), Said(said)
    if kind in {Kind.BOUNCED, Kind.DEFERRED}:
        near = prose if alone else _around(prose, (recipient, final))
        cause, told = _cause(block, said, status, near, _provider(block, whole, recipient))
        if kind is Kind.BOUNCED:
            cause = refusal.given_up(cause, told)
    return Report(
        kind,
        cause.category,
        hard=cause.hard and kind is Kind.BOUNCED,
        recipient=recipient,
        status=told.enhanced or status or None,
        diagnostic=(said or " ".join(told.text.split()))[:_DIAGNOSTIC] or None,
        at=moment(block.value("last-attempt-date")) or moment(whole.value("arrival-date")),
        source="dsn",
        rule=cause.rule,
        envelope_id=whole.value("original-envelope-id").strip()[:300] or None,
        reporter=host(whole.value("reporting-mta", "dsn-gateway")) or None,
    )


def _cause(block: _Block, said: str, status: str, near: str, provider: str) -> tuple[Cause, Said]:
    """Return why: by the diagnostic, and by what the mail says to people where that says nothing."""
    known = _POWERMTA.get(block.value("x-powermta-bouncecategory").strip().lower())
    # Words stand beside the code of Status and of Action, too: "5.0.0 (recipient reached disk quota)".
    remarks = " ".join((said, _remark(block.value("status")), _remark(block.value("action"))))
    cause, told = refusal.why(remarks, status=status, near=near, provider=provider)
    if known is not None and cause.category in {Category.UNKNOWN, Category.PROTOCOL}:
        return known, told
    unclear = cause.category is Category.UNKNOWN or cause.rule in {"code-protocol", "code-routing", "code-no-answer"}
    if unclear and near.strip():
        by_prose, told_there = refusal.why(near, status=status, provider=provider)
        if by_prose.category is not Category.UNKNOWN:
            return by_prose, told_there._replace(text=said or told_there.text, code=told.code or told_there.code)
    return cause, told


def _diagnostic(block: _Block) -> str:
    value = block.value("diagnostic-code", "x-supplementary-info", "x-notes", "x-display-name-reason")
    return re.sub(r"^\s*(smtp|x-[\w-]{1,40}|unix|dns)\s*;\s*", "", value, flags=re.IGNORECASE)


def _remark(value: str) -> str:
    found = re.search(r"[(]([^()]{3,300})[)]", value)
    return found[1] if found else value if re.search(r"\d{3} \w", value) else ""


def _provider(block: _Block, whole: _Block, recipient: str | None) -> str:
    names = (host(block.value("remote-mta")), host(whole.value("reporting-mta")), addresses.domain(recipient or ""))
    return next((name for name in names if re.search(r"hotmail|outlook|live\.|msn\.", name)), names[0] or names[1])


def _around(prose: str, names: tuple[str | None, ...]) -> str:
    """Return what stands in a text about one of several recipients: from its address to the next."""
    for name in names:
        at = prose.find(name) if name else -1
        if name and at >= 0:
            start = prose.rfind("\n", 0, at) + 1
            rest = prose[at + len(name) : at + 1500]
            following = re.search(r"\n\s*<?[^\s<>@]{1,64}@[\w.-]{1,255}>?:?", rest)
            return prose[start:at] + name + (rest[: following.start()] if following else rest)
    return ""


def _once(reports: tuple[Report, ...]) -> tuple[Report, ...]:
    """Return one report a recipient: the failure where there are several (a list that was expanded tells each)."""
    kept: dict[object, Report] = {}
    for number, report in enumerate(reports):
        key = report.recipient.lower() if report.recipient else number
        other = kept.get(key)
        if other is None or (report.hard and not other.hard):
            kept[key] = report
    return tuple(kept.values())
