"""Plain JSON of strangers: whatever stands where, what comes out is short, printable and of the type that was asked."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import orjson

from mailer.feedback.inbound.providers.arriving import Unreadable
from mailer.storable import printable

Json = Mapping[str, object]

NOTHING: Json = {}
#: Longest that is kept of a text, of an address (RFC 5321 section 4.5.3.1: 64 + 1 + 255), of an id.
_TEXT, _ADDRESS, _ID = 500, 320, 200
_MESSAGE_ID = re.compile(r"<?([^\s<>]{3,250})>?")
_EMAIL_ID = re.compile(r"em_[0-9a-hjkmnp-tv-z]{26}")
_BRACKETED = re.compile(r"<([^<>]*)>\s*\Z")
#: A moment outside of these years is no moment of an event.
_YEARS = range(2000, 2200)


def load(body: bytes) -> object:
    """Return the body as plain data; raises `Unreadable` for what is no JSON (so is what nests 1,024 deep)."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Unreadable("the body is not JSON in UTF-8") from None


def table(value: object, *path: str) -> Json:
    """Return the object that stands at a path, an empty one where there is none."""
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else NOTHING


def rows(value: object) -> Sequence[object]:
    """Return a list's items, none where it is no list."""
    return value if isinstance(value, list) else ()


def text(value: object, most: int = _TEXT) -> str | None:
    """Return a text or a number as one line of at most `most` characters, None for anything else or nothing."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    # A number of JSON has no bound, and the digits of a huge one take long to print.
    if isinstance(value, int) and abs(value) >= 10**18:
        return None
    line = " ".join(str(value)[: 4 * most].split())
    return printable(line, most) or None


def address(value: object) -> str | None:
    """Return whom a text such as `Ann <ann@example.org>` names, None where it names no mailbox."""
    found = text(value, 2 * _ADDRESS) or ""
    if inside := _BRACKETED.search(found):
        found = inside[1]
    found = found.strip()
    return found if "@" in found[1:-1] and len(found) <= _ADDRESS else None


def identifier(*parts: object) -> str | None:
    """Return the id of an event made of several parts, None where one is missing."""
    found = [text(part, _ID) for part in parts]
    return ":".join(each for each in found if each)[:_ID] if all(found) else None


def message_id(value: object) -> str | None:
    """Return a Message-ID in its brackets, None where it is none."""
    found = _MESSAGE_ID.fullmatch((text(value, 300) or "").strip())
    return f"<{found[1]}>" if found else None


def email_id(value: object) -> str | None:
    """Return the id of one of our emails, None where it has not that shape."""
    found = _EMAIL_ID.fullmatch(value) if isinstance(value, str) else None
    return found[0] if found else None


def moment(value: object) -> datetime | None:
    """Return the moment that ISO 8601 names (UTC where it says no zone), or seconds since 1970; None if unclear."""
    try:
        if isinstance(value, str):
            at = datetime.fromisoformat(value)
            at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            at = datetime.fromtimestamp(value, UTC)
        else:
            return None
    except (ValueError, OverflowError, OSError):
        return None
    return at if at.year in _YEARS else None
