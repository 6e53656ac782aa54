"""What the database can hold: every character but NUL, which neither text nor JSON of PostgreSQL has room for."""

import re
from collections.abc import Mapping

NUL = "\x00"
SENTENCE = "holds the character U+0000, which cannot be kept: remove it"
#: NUL as JSON writes it (RFC 8259 section 7): text without these bytes means none; with them it may mean one.
ESCAPED = b"\\u0000"
_LONGEST_STEP = 80
_SURROGATE = re.compile("[\ud800-\udfff]")


def forbidden(text: str) -> str | None:
    """Return why this text cannot be kept, as the rest of a sentence that its field begins; None where it can."""
    if NUL in text:
        return SENTENCE
    return "is not valid text" if not text.isascii() and _SURROGATE.search(text) else None


def printable(text: str, most: int) -> str:
    """Return what a stranger wrote as it may be kept and shown: `most` characters, a ? for what cannot be printed."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:most]


def unstorable(value: object) -> str | None:
    """Return the path of the first text in plain data that holds a NUL, keys too, "" for the data itself; else None."""
    waiting: list[tuple[str, object]] = [("", value)]
    while waiting:
        path, each = waiting.pop()
        if isinstance(each, str):
            if NUL in each:
                return path
        elif isinstance(each, Mapping):
            for name, inner in each.items():
                step = f"{path}.{str(name)[:_LONGEST_STEP]}" if path else str(name)[:_LONGEST_STEP]
                if isinstance(name, str) and NUL in name:
                    return step.replace(NUL, "\N{REPLACEMENT CHARACTER}")
                waiting.append((step, inner))
        elif isinstance(each, list | tuple):
            waiting += [(f"{path}[{place}]", inner) for place, inner in enumerate(each)]
    return None
