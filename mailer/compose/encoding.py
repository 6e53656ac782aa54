"""Text to lines of a mail: quoted-printable or base64, in pieces that can be joined (R3.2)."""

import binascii
import re
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import TypeVar

from mailer.targets import Ours

T = TypeVar("T")

_LONGEST = 76
#: Of a line, without its soft end.
_WIDTH = _LONGEST - 1
#: What is the same in text, in HTML and in quoted-printable.
_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 ,;:!?@/_+-()*#%$~|[]{}^`\\."
_LINK = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.:/_-"
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_LINE_TO_GUARD = re.compile(rb"(?m)^(?:\.|From )")
_MOST_ESCAPES = 0.18


def plain_line(value: str) -> bytes | None:
    """Return one short run of words that no encoding changes as a line with a soft end; None for any other value."""
    data = value.encode("utf-8", "replace")
    if not data or len(data) > 72 or data.translate(None, _PLAIN):
        return None
    # White space at the ends or twice in a row is not shown as it stands; a dot or From begins no line.
    if b"  " in data or data[0] in b" ." or data[-1] == 0x20 or data.startswith(b"From "):
        return None
    return data + b"=\r\n"


def link_lines(value: str) -> bytes | None:
    """Return quoted-printable lines of a link that no encoding changes but for soft line ends; None for any other."""
    data = value.encode("utf-8", "replace")
    if type(value) is not Ours and (data.translate(None, _LINK) or not data.startswith((b"https://", b"http://"))):
        return None
    if b"." in data[::_WIDTH]:
        return None
    # Nearly all have two lines or three: written at once.
    match (len(data) - 1) // _WIDTH:
        case 1:
            return b"%b=\r\n%b=\r\n" % (data[:_WIDTH], data[_WIDTH:])
        case 2:
            return b"%b=\r\n%b=\r\n%b=\r\n" % (data[:_WIDTH], data[_WIDTH : 2 * _WIDTH], data[2 * _WIDTH :])
    lines = [data[start : start + _WIDTH] for start in range(0, len(data), _WIDTH)]
    return b"=\r\n".join([*lines, b""])


def clean(text: str) -> str:
    """Return the text with line ends as \\n and without control characters (RFC 5321 section 2.3.8)."""
    if text.isprintable() or not _CONTROL.search(text):
        return text
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def one_line(text: str) -> str:
    """Return a rendered subject as it stands in its header: with single spaces and no line ends."""
    return " ".join(text.split())


def quoted(text: str) -> bytes:
    """Return quoted-printable lines that end with a line end, soft where the text has none."""
    if not text:
        return b""
    data = binascii.b2a_qp(text.encode("utf-8"), istext=True)
    if b"\n." in data or b"\nFrom " in data or data[:1] == b"." or data[:5] == b"From ":
        data = b"\n".join(_guarded(line) for line in data.split(b"\n"))
    if not data.endswith(b"\n"):
        # White space before a soft line break is content (RFC 2045 section 6.7, rule 3).
        data = _softly_ended(data)
    return data.replace(b"\n", b"\r\n")


def _softly_ended(data: bytes) -> bytes:
    start = data.rfind(b"\n") + 1
    line = data[start:]
    if len(line) < _LONGEST:
        return data + b"=\n"
    end = _whole(line, _LONGEST - 3)
    return data[:start] + line[:end] + b"=\n" + line[end:] + b"=\n"


def _guarded(line: bytes) -> bytes:
    """Hide a leading dot and a leading From, which relays and mailboxes rewrite."""
    if not _LINE_TO_GUARD.match(line):
        return line
    line = b"=%02X" % line[0] + line[1:]
    if len(line) <= _LONGEST:
        return line
    end = _whole(line, _LONGEST - 1)
    return line[:end] + b"=\n" + _guarded(line[end:])


def _whole(line: bytes, end: int) -> int:
    """Return where to cut at the latest without tearing an escape apart."""
    for back in (1, 2):
        if line[end - back : end - back + 1] == b"=":
            return end - back
    return end


def base64_lines(text: str) -> bytes:
    """Return base64 in lines of 76."""
    return wrapped(text.encode("utf-8"))


def wrapped(data: bytes) -> bytes:
    """Return bytes as base64 in lines of 76."""
    encoded = binascii.b2a_base64(data, newline=False)
    lines = [encoded[start : start + _LONGEST] for start in range(0, len(encoded), _LONGEST)]
    return b"\r\n".join([*lines, b""])


def decoded_size(encoding: str, lines: bytes) -> int:
    """Return the octets of a text before it was encoded, its line ends counted as one."""
    if encoding == "base64":
        return len(binascii.a2b_base64(lines))
    return len(binascii.a2b_qp(lines).replace(b"\r\n", b"\n"))


#: The values of slots: by slot, then by mail.
Columns = Sequence[Sequence[T]]


class Body:
    """The fixed pieces of one text, encoded once, and the places where values stand between them.

    It is filled for several mails at once, a slot after the other: one of 64 costs two fifths of what it costs alone.
    """

    __slots__ = ("_pieces", "_ready", "_shows", "encoding", "slots")

    def __init__(self, pieces: Sequence[str | int]) -> None:
        """Take fixed pieces and, between them, the numbers of slots."""
        fixed = "".join(piece for piece in pieces if isinstance(piece, str))
        size = len(fixed.encode("utf-8"))
        beyond = size - sum(character < "\x80" for character in fixed)
        #: Mostly Latin text stays readable and small in quoted-printable, other text in base64.
        self.encoding = "base64" if beyond > size * _MOST_ESCAPES else "quoted-printable"
        self._shows = bool(fixed.strip())
        self._pieces = tuple(pieces)
        self._ready = tuple([quoted(piece) if isinstance(piece, str) else piece for piece in pieces])
        #: The numbers of the slots that stand in this text.
        self.slots = frozenset(piece for piece in pieces if isinstance(piece, int))

    def texts(self, values: Columns[str], mails: int) -> list[str]:
        """Return the whole text of each mail with these values in its slots."""
        return ["".join(row) for row in rows(self._pieces, values, mails)]

    def lines(self, values: Columns[str], written: Columns[bytes], mails: int) -> list[bytes]:
        """Return each mail's encoded text; `written` holds the same values in quoted-printable."""
        if self.encoding == "base64":
            return [base64_lines(text) for text in self.texts(values, mails)]
        return [b"".join(row) for row in rows(self._ready, written, mails)]

    def blanks(self, values: Columns[str], mails: int) -> list[bool]:
        """Return of each mail whether a reader would see nothing."""
        if self._shows:
            return [False] * mails
        return [not text.strip() for text in self.texts(values, mails)]


def rows(pieces: Sequence[T | int], values: Columns[T], mails: int) -> Iterable[tuple[T, ...]]:
    """Return the pieces of each mail in order: what is fixed, and what stands in its slots."""
    if not pieces:
        return repeat((), mails)
    return zip(*[values[piece] if isinstance(piece, int) else repeat(piece, mails) for piece in pieces], strict=True)
