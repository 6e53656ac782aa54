"""Bounces that keep to no standard: families as data (`families.toml`), and what they all have in common."""

import re
import tomllib
from importlib import resources
from typing import NamedTuple

from mailer.causes import Category, Cause, Said
from mailer.feedback.inbound.parsing import addresses, refusal, sender
from mailer.feedback.inbound.parsing.delivery import moment
from mailer.feedback.inbound.parsing.mime import Part
from mailer.feedback.inbound.parsing.original import Original
from mailer.feedback.inbound.parsing.phrases import phrase
from mailer.feedback.inbound.report import Kind, Report

_RECIPIENTS, _DIAGNOSTIC, _HEAD = 50, 500, ("from", "subject", "x-mailer", "x-failed-recipients")
#: What every failure says in some language; a mail of a server that says none of it tells something else.
_FAILED = phrase("failed")
_DELAYED = phrase("delayed")
_GIVEN_UP = phrase("given-up")
#: A line that begins with, or is, the address of a recipient.
_LINE = phrase("recipient-line")
_INLINE = phrase("recipient-inline")
#: Lines that give advice or name whom to ask: neither a recipient nor a reason.
_ADVICE = phrase("advice")
_CONTACT = phrase("contact")


_FORM = phrase("form")


class _Family(NamedTuple):
    id: str
    signs: re.Pattern[str]
    recipient: re.Pattern[str] | None
    reason: re.Pattern[str] | None
    cause: Cause | None


class _Named(NamedTuple):
    address: str | None
    #: What is said of it.
    said: str


def _families() -> tuple[_Family, ...]:
    table = resources.files("mailer.feedback.inbound.parsing").joinpath("families.toml").read_text(encoding="utf-8")
    return tuple(_family(row) for row in tomllib.loads(table)["families"])


def _family(row: dict[str, str]) -> _Family:
    recipient, reason = (re.compile(row[name]) if name in row else None for name in ("recipient", "reason"))
    cause = Cause(Category(row["category"]), bool(row.get("hard")), row["id"]) if "category" in row else None
    return _Family(row["id"], re.compile(row["signs"], re.IGNORECASE), recipient, reason, cause)


_FAMILIES = _families()


def says_failed(text: str) -> bool:
    """Say whether a text tells, in some language, that a mail did not arrive."""
    return _FAILED.search(text[:6000]) is not None


def says_delayed(text: str) -> bool:
    """Say whether a text tells of a delay, and not that it was given up."""
    return _DELAYED.search(text) is not None and _GIVEN_UP.search(text) is None


def read(mail: Part, text: str, ours: Original) -> tuple[Report, ...]:
    """Return what a mail in plain words reports; none where it does not say that something was not delivered."""
    head = "".join(f"{name}: {mail.field(name)}\n" for name in _HEAD if mail.has(name))[:2000]
    by_server = _by_server(mail)
    if by_server:
        if not (sender.is_failure(mail) or says_failed(text)):
            return ()
    elif not _plainly(mail, text):
        return ()
    family = next((family for family in _FAMILIES if family.signs.search(head) or family.signs.search(text)), None)
    named = _named(mail, text, family, ours)
    kind = Kind.DEFERRED if says_delayed(f"{mail.field('subject')}\n{text}") else Kind.BOUNCED
    reports = (_report(mail, kind, each, text, family, alone=len(named) == 1) for each in named[:_RECIPIENTS])
    # What anybody may have written convicts nobody.
    return tuple(report._replace(hard=report.hard and by_server) for report in reports)


def _by_server(mail: Part) -> bool:
    """Say whether a mail server wrote this, as far as it says so itself."""
    named = mail.kind == "multipart/report" and "delivery-status" in mail.parameters.get("report-type", "").lower()
    if named or sender.is_daemon(mail) or mail.has("x-failed-recipients"):
        # A person may have such an address, too: an answer of one is no report.
        return not sender.is_answer(mail) or sender.is_nobody(mail)
    listed = any(mail.has(name) for name in ("list-id", "list-unsubscribe", "in-reply-to"))
    automatic = sender.is_nobody(mail) or sender.is_automatic(mail)
    return automatic and sender.is_failure(mail) and not listed and not sender.is_answer(mail)


def _plainly(mail: Part, text: str) -> bool:
    """Say whether a mail that anybody may have written has the form of a report from beginning to end."""
    listed = any(mail.has(name) for name in ("list-id", "list-unsubscribe", "in-reply-to")) or sender.is_answer(mail)
    return (
        sender.is_failure(mail)
        and not listed
        and len(text) < 4000
        and _FAILED.search(text[:400]) is not None
        and _FORM.search(text) is not None
    )


def _named(mail: Part, text: str, family: _Family | None, ours: Original) -> list[_Named]:
    """Return whom it was for, each with what is said of it."""
    not_meant = {address.lower() for name in ("to", "from", "cc") for address in addresses.every(mail.field(name))}
    failed = addresses.every(mail.field("x-failed-recipients"))
    places: dict[str, int] = {}
    for pattern in (family.recipient if family else None, _LINE, _INLINE):
        for found in pattern.finditer(text) if pattern and not places else ():
            address = addresses.first(found[1])
            if address and _is_recipient(address, _before(text, address), not_meant):
                places.setdefault(address, found.start())
    if failed:
        places = {address: places.get(address, max(0, text.find(address))) for address in failed}
    if not places:
        others = [each for each in addresses.every(text) if _is_recipient(each, _before(text, each), not_meant)]
        alone = others[0] if len(others) == 1 else ours.recipient
        return [_Named(alone, text)]
    starts = sorted(set(places.values()))
    ends = dict(zip(starts, [*starts[1:], len(text)], strict=True))
    return [_Named(address, text[text.rfind("\n", 0, at) + 1 : ends[at]]) for address, at in places.items()]


def _before(text: str, address: str) -> str:
    at = max(0, text.find(address))
    return text[max(0, at - 40) : at]


def _is_recipient(address: str, before: str, not_meant: set[str]) -> bool:
    local = address.partition("@")[0].lower()
    return (
        address.lower() not in not_meant
        and local not in {"postmaster", "mailer-daemon", "abuse", "support", "hostmaster", "webmaster", "helpdesk"}
        and "." in address.rpartition("@")[2]
        and _CONTACT.search(before) is None
    )


def _report(mail: Part, kind: Kind, named: _Named, text: str, family: _Family | None, *, alone: bool) -> Report:
    cause, told = _cause(named, text, family, alone=alone)
    if kind is Kind.BOUNCED:
        cause = refusal.given_up(cause, told)
    return Report(
        kind,
        cause.category,
        hard=cause.hard and kind is Kind.BOUNCED,
        recipient=named.address,
        status=told.enhanced or None,
        diagnostic=" ".join(told.text.split())[:_DIAGNOSTIC] or None,
        at=moment(mail.field("date")),
        source="text",
        rule=f"{family.id if family else 'words'}/{cause.rule}",
    )


def _cause(named: _Named, text: str, family: _Family | None, *, alone: bool) -> tuple[Cause, Said]:
    said = _ADVICE.sub("", named.said)
    if family is not None and family.cause is not None:
        return family.cause, Said(said)
    if family is not None and family.reason is not None and (found := family.reason.search(text)):
        said = found[1]
    provider = addresses.domain(named.address or "")
    cause, told = refusal.why(said, near=text, provider=provider)
    if cause.category is Category.UNKNOWN and not alone:
        # The reason may stand above all addresses.
        return refusal.why(_ADVICE.sub("", text[: max(0, text.find(named.said))]), provider=provider)
    if cause.category is Category.UNKNOWN:
        # The reason may stand before the address.
        whole, told_there = refusal.why(_ADVICE.sub("", text), provider=provider)
        return (whole, told_there._replace(text=said)) if whole.category is not Category.UNKNOWN else (cause, told)
    return cause, told
