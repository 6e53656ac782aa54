"""A mail taken apart with bounded work: whatever the bytes are, a tree comes out and nothing is raised.

The standard library's parser recurses as deep as a mail is nested, and takes seconds for 50 MB; reports need neither.
"""

import base64
import binascii
import quopri
import re
from collections.abc import Iterator
from typing import NamedTuple

#: A report stands before the mail that it is about: what comes later is not looked at.
LONGEST = 1024 * 1024
_DEEPEST, _PARTS, _LINES, _FIELD = 8, 60, 2000, 8 * 1024
#: How much of a text is read.
_TEXT = 64 * 1024
#: How far down the first part of a mail may begin that does not name its boundary.
_PREAMBLE = 600

_NAME = re.compile(rb"([!-9;-~]{1,100})[ \t]*:")
_PARAMETER = re.compile(r";\s*([\w*-]{1,40})\s*=\s*(\"[^\"]{0,300}\"|[^\s;\"]{1,300})")
_GUESSED = re.compile(rb"(?:^|\n)--([^\s]{1,120})[ \t]*\ncontent-", re.IGNORECASE)
_ENCODED = re.compile(r"=\?([\w.:*-]{1,40})\?([bq])\?([^?\s]{0,2000})\?=", re.IGNORECASE)
_BETWEEN = re.compile(r"(\?=)\s+(=\?)")
#: Charsets that mails have; the codec registry knows others, which are no charsets or take long.
_CHARSET = re.compile(
    r"utf-?(7|8|16|16le|16be)|us-ascii|ascii|latin-?1|iso-?8859-\d{1,2}|windows-\d{3,4}|cp\d{3,5}|koi8-[ru]|gb2312|gbk"
    r"|gb18030|big5|euc-?(jp|kr|cn)|iso-2022-(jp(-\d)?|kr)|shift[_-]?jis|ks_c_5601-1987|tis-620"
)


class Part(NamedTuple):
    """One part of a mail, or all of it."""

    #: (name in lower case, unfolded value), in their order.
    fields: tuple[tuple[str, str], ...]
    #: Media type in lower case, such as "text/plain".
    kind: str
    parameters: dict[str, str]
    #: The content after its transfer encoding, with LF alone at the ends of lines.
    body: bytes
    parts: tuple["Part", ...] = ()

    def field(self, name: str) -> str:
        """Return the first field of that name, decoded (RFC 2047), empty where there is none."""
        return decoded(next((value for key, value in self.fields if key == name), ""))

    def has(self, name: str) -> bool:
        """Say whether there is a field of that name."""
        return any(key == name for key, _ in self.fields)

    def walk(self, *, into_mails: bool = False) -> Iterator["Part"]:
        """Yield this part and those within, in their order; what is within an attached mail only when asked for."""
        yield self
        if self.kind.startswith("message/") and not into_mails:
            return
        for part in self.parts:
            yield from part.walk(into_mails=into_mails)

    def text(self) -> str:
        """Return the content as text, whatever its charset is or is said to be."""
        return as_text(self.body[:_TEXT], self.parameters.get("charset", ""))


def parse(raw: bytes) -> Part:
    """Return a mail as a tree of at most 60 parts, eight deep; line ends of every kind are the same."""
    lines = raw[:LONGEST].replace(b"\0", b"").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    # Spaces and empty lines before the header are no empty header.
    lines = lines.lstrip(b" \t\n")
    return _part(lines, 0, [_PARTS])


def fields_of(block: bytes) -> tuple[tuple[tuple[str, str], ...], int]:
    """Return the header fields at the beginning of a block, and where the rest begins."""
    found: list[tuple[str, list[bytes]]] = []
    at = lines = 0
    while at < len(block):
        end = block.find(b"\n", at)
        end = len(block) if end < 0 else end
        line = block[at:end]
        if not line.strip():
            at = end + 1
            break
        lines += 1
        if lines > _LINES:
            # Nobody needs so long a header; what it hides is not looked for.
            blank = block.find(b"\n\n", at)
            at = len(block) if blank < 0 else blank + 2
            break
        name = _NAME.match(line)
        if line[:1] in b" \t" and found:
            found[-1][1].append(line[:_FIELD].strip())
        elif name is not None:
            found.append((name[1].decode("ascii").lower(), [line[name.end() : name.end() + _FIELD].strip()]))
        elif found or not line.startswith((b"From ", b">From ")):
            # No field, no blank line: the header ended without one.
            break
        at = end + 1
    return tuple((name, as_text(b" ".join(values)[:_FIELD])) for name, values in found), at


def as_text(octets: bytes, charset: str = "") -> str:
    """Return octets as text: by their charset where it is one, else as UTF-8, else as Latin-1."""
    charset = charset.lower().removeprefix("unicode-1-1-")
    for name in (charset, "utf-8"):
        if name and _CHARSET.fullmatch(name):
            try:
                return octets.decode(name)
            except (UnicodeError, LookupError):
                continue
    # Cut in the middle of a letter, UTF-8 is still UTF-8.
    text = octets.decode("utf-8", "replace")
    return text if text.count("\ufffd") <= 3 else octets.decode("latin-1")


def decoded(value: str) -> str:
    """Return a header value with its encoded words (RFC 2047) as text."""
    return _ENCODED.sub(_word, _BETWEEN.sub(r"\1\2", value)) if "=?" in value else value


def _word(found: re.Match[str]) -> str:
    charset, encoding, content = found[1].partition("*")[0], found[2].lower(), found[3].encode("utf-8", "replace")
    octets = _base64(content) if encoding == "b" else quopri.decodestring(content.replace(b"_", b" "))
    return as_text(octets, charset)


def _part(block: bytes, depth: int, budget: list[int]) -> Part:
    budget[0] -= 1
    fields, start = fields_of(block)
    kind, parameters = _media_type(next((value for key, value in fields if key == "content-type"), ""))
    body = block[start:]
    encoding = next((value for key, value in fields if key == "content-transfer-encoding"), "").strip().lower()
    if not kind.startswith("multipart/"):
        body = _transferred(body, encoding)
    parts = () if depth >= _DEEPEST else tuple(_within(kind, parameters, body, depth, budget))
    if parts and kind == "text/plain":
        kind = "multipart/mixed"
    return Part(fields, kind, parameters, body, parts)


def _within(kind: str, parameters: dict[str, str], body: bytes, depth: int, budget: list[int]) -> Iterator[Part]:
    if kind in {"message/rfc822", "message/global"}:
        if budget[0] > 0:
            yield _part(body.lstrip(b"\n"), depth + 1, budget)
        return
    boundary = parameters.get("boundary", "").encode("utf-8", "replace").rstrip()
    if kind.startswith("multipart/") or (kind == "text/plain" and depth == 0):
        # Old gateways lose the Content-Type of the whole, and others the boundary: the body shows it.
        if not boundary or b"\n--" + boundary not in b"\n" + body:
            # The copy of a mail in a text has parts, too, but further down.
            guessed = _GUESSED.search(body[:_PREAMBLE])
            boundary = guessed[1] if guessed else b""
        if boundary:
            for block in _between(body, boundary):
                if budget[0] <= 0:
                    return
                yield _part(block, depth + 1, budget)


def _between(body: bytes, boundary: bytes) -> Iterator[bytes]:
    start = None
    for found in re.finditer(rb"(?m)^--" + re.escape(boundary) + rb"(--)?[ \t]*$", body):
        if start is not None:
            yield body[start : max(start, found.start() - 1)]
        start = None if found[1] else found.end() + 1
    if start is not None:
        # Cut off before its end, which is how we are given long mails.
        yield body[start:]


def _media_type(value: str) -> tuple[str, dict[str, str]]:
    value = value[:2000]
    kind = value.partition(";")[0].strip().lower()
    found = {name.lower(): text.strip('"') for name, text in _PARAMETER.findall(value)}
    return (kind if "/" in kind else "text/plain"), found


def _transferred(body: bytes, encoding: str) -> bytes:
    if encoding == "quoted-printable":
        return quopri.decodestring(body)
    if encoding == "base64":
        plain = _base64(body)
        return plain.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\0", b"")
    return body


def _base64(content: bytes) -> bytes:
    kept = re.sub(rb"[^A-Za-z0-9+/]", b"", content)
    kept = kept[: len(kept) - (len(kept) % 4 == 1)]
    try:
        return base64.b64decode(kept + b"=" * (-len(kept) % 4))
    except (binascii.Error, ValueError):
        return b""
