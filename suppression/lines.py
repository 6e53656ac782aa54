"""Bytes of any list -> lines and records: every common encoding, flat in memory, a bad line spoils no other. Pure."""

import csv
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

#: Bytes of the longest line that is read.
MOST_LINE = 64 * 1024
TOO_LONG = f"the line is longer than {MOST_LINE // 1024} KB"
#: What separates the fields of a CSV file.
DELIMITERS = (",", ";", "\t", "|")
_NUL = "holds the character U+0000, which cannot be kept: remove it"
#: How many lines one record may span.
_MOST_LINES = 100
_UNCLOSED = f"opens a quote that nothing closes within {_MOST_LINES} lines and {MOST_LINE // 1024} KB"
_WITHIN = r'[^"]*+(?:""[^"]*+)*+'
#: Delimiter -> a line that begins and ends within quotes (RFC 4180); possessive, so that it is matched in one pass.
_STILL_OPEN: Mapping[str, re.Pattern[str]] = {
    mark: re.compile(
        rf'{_WITHIN}(?:"{each}(?:(?:"{_WITHIN}"|[^"{each}][^{each}]*+)?{each})*+"{_WITHIN})?',
    )
    for mark, each in ((mark, re.escape(mark)) for mark in DELIMITERS)
}
#: What a file begins with -> its encoding, the longest first; None where it is no text that we read.
_MARKS: tuple[tuple[bytes, str | None], ...] = (
    (b"\xff\xfe\x00\x00", None),
    (b"\x00\x00\xfe\xff", None),
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
#: Archives, which people send in place of what is inside.
_PACKED = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zX", b"\x28\xb5\x2f\xfd")
#: So many bytes tell the encoding.
_ENOUGH = 4


class Unreadable(ValueError):
    """The whole list is of no use; the sentence says the way out."""


class Refusal(NamedTuple):
    """A line that is of no use: its number, counted from 1, and why."""

    line: int
    reason: str


class Line(NamedTuple):
    """One line of a list."""

    number: int
    #: The first byte behind it.
    end: int
    #: What it says; characters that are not in its encoding are U+FFFD.
    text: str
    #: Why it cannot be read, where it cannot.
    refused: str = ""


class Lines:
    """Takes bytes as they come and gives back lines; it never holds more than one piece and one line."""

    def __init__(self) -> None:
        """Begin before the first byte."""
        self._rest = b""
        self._encoding: str | None = None
        self._mark = b"\n"
        self._number = 0
        #: Where `_rest` begins, and whether the start of its line was dropped for its length.
        self._at = 0
        self._overlong = False

    def feed(self, data: bytes) -> Iterator[Line]:
        """Return the lines that end in these bytes; raises `Unreadable` where the list is no text."""
        self._rest += data
        if self._encoding is None:
            if len(self._rest) < _ENOUGH:
                return
            self._sniff()
        lines = self._split()
        rest = lines.pop()
        for line in lines:
            self._at += len(line) + len(self._mark)
            yield self._line(line)
        if self._overlong or len(rest) > MOST_LINE:
            # What is kept ends on a whole character of two bytes.
            kept = len(rest) % len(self._mark)
            self._at += len(rest) - kept
            self._overlong, rest = True, rest[len(rest) - kept :]
        self._rest = rest

    def close(self) -> Iterator[Line]:
        """Return the last line where no line end stands behind it."""
        if self._encoding is None:
            self._sniff()
        if self._rest or self._overlong:
            self._at += len(self._rest)
            yield self._line(self._rest)

    def _sniff(self) -> None:
        start = self._rest[:_ENOUGH]
        if start.startswith(_PACKED):
            raise Unreadable("the list is packed: unpack it and send what is inside (of a workbook, its CSV)")
        mark, encoding = next(
            ((mark, each) for mark, each in _MARKS if start.startswith(mark)), (b"", _unmarked(start))
        )
        if encoding is None:
            raise Unreadable("the list is UTF-32: save it as UTF-8")
        self._encoding = encoding
        self._mark = "\n".encode(encoding)
        self._at, self._rest = len(mark), self._rest[len(mark) :]

    def _split(self) -> list[bytes]:
        data, mark = self._rest, self._mark
        if len(mark) == 1:
            return data.split(mark)
        lines, start, at = [], 0, 0
        while (at := data.find(mark, at)) >= 0:
            if (at - start) % 2:
                at += 1
                continue
            lines.append(data[start:at])
            start = at = at + len(mark)
        return [*lines, data[start:]]

    def _line(self, raw: bytes) -> Line:
        self._number += 1
        if self._overlong or len(raw) > MOST_LINE:
            self._overlong = False
            return Line(self._number, self._at, "", TOO_LONG)
        text = raw.decode(self._encoding or "utf-8", "replace").rstrip("\r")
        return Line(self._number, self._at, text, _NUL if "\x00" in text else "")


def _unmarked(start: bytes) -> str:
    """Return the encoding of a list without a byte order mark: lists begin with a Latin letter, a quote or a brace."""
    if len(start) == _ENOUGH and start[1] == start[3] == 0 and start[0] and start[2]:
        return "utf-16-le"
    if len(start) == _ENOUGH and start[0] == start[2] == 0 and start[1] and start[3]:
        return "utf-16-be"
    return "utf-8"


def delimiter_of(header: str) -> str:
    """Return what separates the fields of a CSV file with this header."""
    return max(DELIMITERS, key=header.count)


def fields_of(text: str, delimiter: str) -> list[str]:
    """Return the fields of one line; none where its quotes are broken."""
    try:
        return next(csv.reader([text], delimiter=delimiter))
    except (csv.Error, StopIteration):
        return []


class _Open:
    """A line of a CSV file, which may have to be read again when a quote before it turns out to be stray."""

    __slots__ = ("_open_after", "number", "text")

    def __init__(self, number: int, text: str) -> None:
        self.number, self.text = number, text
        self._open_after: bool | None = None

    def leaves_open(self, delimiter: str) -> bool:
        """Say whether a quote that was open before this line is open, or another one, after it.

        Found once a line: a record that never ends would else be parsed anew with each of its lines.
        """
        if self._open_after is None:
            self._open_after = _STILL_OPEN[delimiter].fullmatch(self.text) is not None
        return self._open_after


class Records(Generic[T]):
    """Lines of a CSV file (RFC 4180) -> what its records mean; of one that is broken only its first line is lost."""

    def __init__(self, delimiter: str, read: Callable[[int, list[str]], T | Refusal]) -> None:
        """Begin behind the header; `read` is given the number of a record's first line, and its fields."""
        self._delimiter = delimiter
        self._read = read
        #: The lines of a record whose quotes are open, by their numbers.
        self._open: list[_Open] = []
        self._size = 0

    @property
    def whole(self) -> bool:
        """Say whether every line so far belongs to a record that was read."""
        return not self._open

    def take(self, number: int, text: str) -> Iterator[T | Refusal]:
        """Return what the records mean that end with this line."""
        if self._open or '"' in text:
            yield from self._quoted(deque([_Open(number, text)]))
        elif text.strip():
            yield self._read(number, text.split(self._delimiter))

    def close(self) -> Iterator[T | Refusal]:
        """Return what was left open means, line by line."""
        while self._open:
            first, *others = self._open
            self._open, self._size = [], 0
            yield Refusal(first.number, _UNCLOSED)
            yield from self._quoted(deque(others))

    def _quoted(self, waiting: "deque[_Open]") -> Iterator[T | Refusal]:
        while waiting:
            line = waiting.popleft()
            if not self._open and '"' not in line.text:
                if line.text.strip():
                    yield self._read(line.number, line.text.split(self._delimiter))
                continue
            self._open.append(line)
            self._size += len(line.text)
            first, item = self._open[0].number, None
            if len(self._open) == 1 or not line.leaves_open(self._delimiter):
                item = self._attempt()
            if item is None and self._size <= MOST_LINE and len(self._open) < _MOST_LINES:
                continue
            if len(self._open) > 1 and (item is None or isinstance(item, Refusal)):
                waiting.extendleft(reversed(self._open[1:]))
                item = item or Refusal(first, _UNCLOSED)
            self._open, self._size = [], 0
            yield Refusal(first, TOO_LONG) if item is None else item

    def _attempt(self) -> T | Refusal | None:
        """Return what the open lines say together; None while their quotes are open."""
        number, record = self._open[0].number, "\n".join(line.text for line in self._open)
        try:
            return self._read(number, next(csv.reader([record], delimiter=self._delimiter, strict=True)))
        except csv.Error as error:
            # The parser has no other way to say that it waits for the closing quote.
            return None if "end of data" in str(error) else Refusal(number, f"is not CSV: {error}")
