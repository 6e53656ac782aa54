"""What the copy of our mail says of itself: part 3 of a report (RFC 3464 section 2, RFC 5965 section 2)."""

import re
from typing import NamedTuple

from mailer.feedback.inbound.parsing import addresses
from mailer.feedback.inbound.parsing.mime import Part, decoded, fields_of

_LONGEST = 64 * 1024
_ID = re.compile(r"<[^<>\s]{3,300}>")
_SAID_ID = re.compile(r"message-id\s*:\s*(<[^<>\s]{3,300}>)", re.IGNORECASE)
_DAEMON = re.compile(r"mailer-?daemon|postmaster@|mail delivery (sub)?system", re.IGNORECASE)


class Original(NamedTuple):
    """Our mail, as the copy of it names it."""

    message_id: str | None = None
    return_path: str | None = None
    #: Whom it was for; None where it names several or nobody.
    recipient: str | None = None
    list_unsubscribe: str | None = None
    #: It was itself a report: what came is a bounce of a bounce.
    report: bool = False


def original(mail: Part, copy: str = "") -> Original:
    """Return what is known of our mail, from an attached copy or from one that stands in the text."""
    for part in mail.walk():
        if part.kind in {"message/rfc822", "message/global"} and part.parts:
            return _of(part.parts[0].fields)
        if part.kind in {"text/rfc822-headers", "message/global-headers", "text/rfc822"}:
            return _of(fields_of(part.body[:_LONGEST].lstrip(b"\n"))[0])
    return _of(fields_of(_headers(copy))[0]) if copy else Original()


def named_in(text: str) -> str | None:
    """Return the Message-ID that a text mentions."""
    found = _SAID_ID.search(text)
    return found[1] if found else None


def _headers(copy: str) -> bytes:
    """Return the lines of a copy from its first field on."""
    lines = [line.removeprefix(">") for line in copy.split("\n")[:400]]
    start = next((at for at, line in enumerate(lines) if re.match(r"[A-Za-z-]{2,40}:", line)), len(lines))
    return "\n".join(lines[start:]).encode("utf-8", "replace")


def _of(fields: tuple[tuple[str, str], ...]) -> Original:
    values: dict[str, str] = {}
    for name, value in fields:
        values.setdefault(name, decoded(value))
    to = addresses.every(values.get("to", ""))
    found = _ID.search(values.get("message-id", ""))
    kind = values.get("content-type", "").lower()
    return Original(
        message_id=found[0] if found else None,
        return_path=addresses.first(values.get("return-path", "")),
        recipient=to[0] if len(to) == 1 else None,
        list_unsubscribe=values.get("list-unsubscribe") or None,
        report="multipart/report" in kind and _DAEMON.search(values.get("from", "")) is not None,
    )
