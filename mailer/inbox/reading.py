"""Bytes of a mail -> what a person reads; pure, and broken mail is read as far as it goes."""

import base64
import binascii
import codecs
import email
import mimetypes
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.message import Message
from email.parser import BytesHeaderParser
from email.utils import parsedate_to_datetime
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote

_Part: TypeAlias = "Message[str, str]"

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_BUT_SPACE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# RFC 2047 section 2, and the language tag of RFC 2231 section 5.
_WORD = re.compile(r"=\?([^?*\s]+)(?:\*[^?\s]*)?\?([bBqQ])\?([^?]*)\?=")
_WORDS = re.compile(r"(?:=\?[^?\s]+\?[bBqQ]\?[^?]*\?=)+")
# RFC 2047 section 6.2: white space between two encoded words is not shown.
_GAP = re.compile(r"(?<=\?=)\s+(?==\?[^?\s]+\?[bBqQ]\?)")
_CID = re.compile(r"cid:([^\"'\s<>)]+)", re.IGNORECASE)
_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]*/[a-z0-9][a-z0-9.+-]*")
_HTTP_URL = re.compile(r"<(https?://[^<>]+)>", re.IGNORECASE)
# Codecs of Python that are no charset of mail: slow, or with rules of their own.
_NO_CHARSET = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})
_LONG_LINE = re.compile(rb"[^\r\n]{999}")


class Defect(StrEnum):
    """What is wrong with a mail that was taken nevertheless."""

    NO_FROM = "no_from"
    NO_DATE = "no_date"
    NO_MESSAGE_ID = "no_message_id"
    #: RFC 5322 section 2.1.1: no line has over 998 octets.
    LONG_LINE = "long_line"
    #: RFC 5321 section 2.3.8: CR and LF stand only together.
    BARE_NEWLINE = "bare_newline"
    #: A boundary is missing, base64 is cut, a header is no header.
    MIME = "mime"
    #: So broken that only its source can be shown.
    UNREADABLE = "unreadable"


class Header(NamedTuple):
    """One header field: as a person reads it, and as it was sent."""

    name: str
    value: str
    raw: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """One part of a mail that is not its text: a file, or a picture within the HTML."""

    name: str
    type: str
    content: bytes = field(repr=False)
    content_id: str = ""
    #: Whether the HTML shows it.
    inline: bool = False

    @property
    def size(self) -> int:
        """Return the length of the file, decoded."""
        return len(self.content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A mail as a person reads it."""

    subject: str
    sender: str
    to: str
    date: datetime | None
    headers: Sequence[Header]
    html: str | None = None
    text: str | None = None
    attachments: Sequence[Attachment] = ()
    #: The first http address of List-Unsubscribe.
    unsubscribe_url: str | None = None
    #: Whether RFC 8058 lets a mail provider post to that address.
    one_click: bool = False
    defects: Sequence[Defect] = ()


def clean(text: str) -> str:
    """Return text that fits on one line: bytes that were no ASCII read as UTF-8, control characters shown as U+FFFD."""
    return _CONTROL.sub("\ufffd", _mended(text).replace("\t", " "))


def _mended(text: str) -> str:
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")


def _decoded(data: bytes, charset: str) -> str:
    """Return the text of these bytes; an unknown charset is taken for UTF-8."""
    try:
        name = codecs.lookup(charset).name
        known = name if name.replace("_", "-") not in _NO_CHARSET else "utf-8"
        return data.decode(known, "replace")
    except (LookupError, ValueError):
        return data.decode("utf-8", "replace")


def _word(encoding: str, content: str) -> bytes:
    data = content.encode("utf-8", "replace")
    if encoding in "qQ":
        return binascii.a2b_qp(data, header=True)
    try:
        return binascii.a2b_base64(data + b"==")
    except binascii.Error:
        return data


def _run(match: re.Match[str]) -> str:
    """Return a row of encoded words as text; a character may be cut in two by them, so bytes are joined first."""
    words = groupby(_WORD.findall(match[0]), key=lambda word: str(word[0]).lower())
    return "".join(_decoded(b"".join(_word(*word[1:]) for word in row), charset) for charset, row in words)


def unfolded(raw: str) -> str:
    """Return the value of a header field as a person reads it."""
    return clean(_WORDS.sub(_run, _GAP.sub("", _mended(_FOLD.sub("", raw))))).strip()


def headers_of(raw: bytes) -> Sequence[Header]:
    """Return the header fields of a mail, in order."""
    end = _HEAD_END.search(raw)
    head = BytesHeaderParser().parsebytes(raw[: end.end()] if end else raw)
    pairs = [(str(name), str(value)) for name, value in head.raw_items()]
    return [
        Header(clean(name), unfolded(value), _CONTROL_BUT_SPACE.sub("\ufffd", _mended(value))) for name, value in pairs
    ]


def first(headers: Sequence[Header], name: str) -> str:
    """Return the value of the first header field of that name, or nothing."""
    return next((header.value for header in headers if header.name.lower() == name.lower()), "")


def moment(text: str) -> datetime | None:
    """Return the time that a Date field names, or None where it names none."""
    try:
        time = parsedate_to_datetime(text)
        # RFC 5322 section 3.3: -0000 is a time in UTC whose zone is not told.
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _leaves(message: _Part) -> Iterator[_Part]:
    """Yield the parts that hold something, in order; a mail within the mail is one part."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
        inner = part.get_payload()
        if isinstance(inner, list) and part.get_content_maintype() == "multipart":
            waiting += [child for child in reversed(inner) if isinstance(child, Message)]
        else:
            yield part


def _content(part: _Part) -> bytes:
    inner = part.get_payload()
    if isinstance(inner, list):
        return b"".join(child.as_bytes() for child in inner if isinstance(child, Message))
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _text(part: _Part) -> str:
    text = _mended(_decoded(_content(part), part.get_content_charset() or "utf-8"))
    return _CONTROL_BUT_SPACE.sub("\ufffd", text).replace("\r\n", "\n")


def _attachment(part: _Part, number: int) -> Attachment:
    declared = part.get_content_type()
    kind = declared if _TYPE.fullmatch(declared) else "application/octet-stream"
    name = unfolded(part.get_filename() or "").replace("/", "_").replace("\\", "_").lstrip(".")
    suffix = ".eml" if kind == "message/rfc822" else mimetypes.guess_extension(kind) or ".bin"
    content_id = clean(str(part.get("Content-ID", ""))).strip().strip("<>")
    return Attachment(name or f"part-{number}{suffix}", kind, _content(part), content_id)


def _shown(html: str, attachments: Sequence[Attachment]) -> Sequence[Attachment]:
    """Return the same files, those marked that are pictures within the HTML."""
    shown = {spelt for name in _CID.findall(html) for spelt in (name, unquote(name))}
    return [replace(a, inline=a.content_id in shown and a.type.startswith("image/")) for a in attachments]


def _pictures(html: str, attachments: Sequence[Attachment]) -> str:
    """Return the HTML with the pictures that came with it, so that it needs nothing else."""
    pictures = {file.content_id: file for file in attachments if file.inline}

    def place(match: re.Match[str]) -> str:
        picture = pictures.get(unquote(match[1])) or pictures.get(match[1])
        return f"data:{picture.type};base64,{base64.b64encode(picture.content).decode()}" if picture else match[0]

    return _CID.sub(place, html) if pictures else html


def _flaws(raw: bytes, headers: Sequence[Header]) -> Iterator[Defect]:
    for name, flaw in (("From", Defect.NO_FROM), ("Date", Defect.NO_DATE), ("Message-ID", Defect.NO_MESSAGE_ID)):
        if not first(headers, name):
            yield flaw
    if _LONG_LINE.search(raw):
        yield Defect.LONG_LINE
    if raw.count(b"\r") != raw.count(b"\r\n") or raw.count(b"\n") != raw.count(b"\r\n"):
        yield Defect.BARE_NEWLINE


def _bodies(reading: Reading, raw: bytes) -> Reading:
    """Return the reading with the parts of the mail: its first HTML, its first text, all else as files."""
    message = email.message_from_bytes(raw)
    bodies: dict[str, str] = {}
    found: list[Attachment] = []
    broken = bool(message.defects)
    for number, part in enumerate(_leaves(message), start=1):
        kind = part.get_content_type()
        if kind in {"text/html", "text/plain"} and kind not in bodies and not _is_file(part):
            bodies[kind] = _text(part)
        else:
            found.append(_attachment(part, number))
        # The standard library finds some defects only when the part is decoded.
        broken = broken or bool(part.defects)
    html = bodies.get("text/html")
    files = _shown(html or "", found)
    return replace(
        reading,
        html=None if html is None else _pictures(html, files),
        text=bodies.get("text/plain"),
        attachments=files,
        defects=[*reading.defects, Defect.MIME] if broken else reading.defects,
    )


def _is_file(part: _Part) -> bool:
    return part.get_content_disposition() == "attachment" or part.get_filename() is not None


def read(raw: bytes) -> Reading:
    """Return a mail as a person reads it; never raises, whatever the bytes are."""
    headers = headers_of(raw)
    links = _HTTP_URL.search(re.sub(r"\s+", "", first(headers, "List-Unsubscribe")))
    post = re.sub(r"\s+", "", first(headers, "List-Unsubscribe-Post")).lower()
    reading = Reading(
        subject=first(headers, "Subject"),
        sender=first(headers, "From"),
        to=first(headers, "To"),
        date=moment(first(headers, "Date")),
        headers=headers,
        unsubscribe_url=links[1] if links else None,
        one_click=bool(links) and post == "list-unsubscribe=one-click",
        defects=list(_flaws(raw, headers)),
    )
    try:
        return _bodies(reading, raw)
    except Exception:  # noqa: BLE001 -- the standard library's parser knows no end of errors for hostile mail
        return replace(reading, defects=[*reading.defects, Defect.UNREADABLE])
