"""What a person would read of a mail: its text, HTML without its tags, up to the copy of the mail that came back."""

import html
import re

from mailer.feedback.inbound.parsing.mime import Part
from mailer.feedback.inbound.parsing.phrases import phrase

_LONGEST = 32 * 1024
_BREAK = re.compile(r"<(br|/?p|/?div|/?tr|/?td|/?li|/?h\d|/?table|/?pre|hr)\b[^<>]{0,500}>", re.IGNORECASE)
_TAG = re.compile(r"<(?=[/!a-zA-Z])(?![^<>\s]{1,100}@)[^<>]{0,2000}>")
_EMPTY, _WIDE = re.compile(r"\n[ \t\n]*\n"), re.compile(r"[ \t]{41,}")
_SPACES = re.compile(r"[ \t\u00a0]+")

#: Where the copy of our mail begins. A reason never comes after it.
_COPY = phrase("copy")


def said(mail: Part) -> tuple[str, str]:
    """Return what a mail says, and the copy of another that stands below it; both empty where it has no text."""
    texts = [
        part for part in mail.walk() if not part.parts and part.kind in {"text/plain", "text/html", "text/enriched"}
    ]
    plain = next((part for part in texts if part.kind == "text/plain" and part.body.strip()), None)
    part = plain or next(iter(texts), None)
    if part is None:
        return "", ""
    return cut(readable(part))


def readable(part: Part) -> str:
    """Return the text of a part, HTML without its tags."""
    text = part.text()[: 2 * _LONGEST]
    if part.kind == "text/html" or re.match(r"\s*<(html|!doctype)", text[:200], re.IGNORECASE):
        text = _without_tags(text)
    # Patterns look for addresses from every place on; runs of nothing would make that a long search.
    return _WIDE.sub(" " * 40, _EMPTY.sub("\n\n", text.replace("\r", "")[:_LONGEST]))


def cut(text: str) -> tuple[str, str]:
    """Return a text up to the copy of our mail, and the copy."""
    lines = text.split("\n")[:1000]
    for number, line in enumerate(lines):
        if _COPY.match(line[:300]) and (number > 0 or ":" not in line):
            return "\n".join(lines[:number]), "\n".join(lines[number:])
    return "\n".join(lines), ""


def _without_tags(text: str) -> str:
    for name in ("style", "script", "head"):
        pieces = re.split(f"<{name}\\b", text, flags=re.IGNORECASE)
        text = pieces[0] + "".join(
            re.split(f"</{name}>", piece, maxsplit=1, flags=re.IGNORECASE)[-1] for piece in pieces[1:]
        )
    # Mails break their HTML anywhere; only tags break lines.
    text = _BREAK.sub("\n", text.replace("\n", " "))
    return _SPACES.sub(" ", html.unescape(_TAG.sub("", text)))
