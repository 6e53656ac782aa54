"""A form with a file in it (RFC 7578), read piece by piece: nothing of the file is kept. Pure."""

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

from mailer.web.problems import Malformed

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_NAME = re.compile(r'[;\s]name="([^"]*)"', re.IGNORECASE)
_FILE = re.compile(r'[;\s]filename="([^"]*)"', re.IGNORECASE)
#: What stands before a part's content at most.
_HEAD = 8 * 1024


class Part(NamedTuple):
    """What the following octets belong to: the name of its field, and of the file where it is one."""

    name: str
    filename: str | None


class _At(Enum):
    BEFORE = auto()
    MARK = auto()
    HEAD = auto()
    CONTENT = auto()
    END = auto()


class Reader:
    """Takes octets as they come, gives back parts, and after each the octets of its content."""

    def __init__(self, content_type: str) -> None:
        """Begin before the first part; raises `Malformed` where the body is no form with parts."""
        found = _BOUNDARY.search(content_type)
        if not content_type.lower().startswith("multipart/form-data") or found is None:
            raise Malformed("the body must be multipart/form-data, as a browser sends a form with a file")
        # RFC 2046 section 5.1.1: the line end before it belongs to the boundary, also where nothing stands before it.
        self._mark = b"\r\n--" + (found[1] or found[2]).encode("latin-1", "replace")
        self._rest = b"\r\n"
        self._at = _At.BEFORE

    def feed(self, data: bytes) -> Iterator[Part | bytes]:
        """Return what these octets complete."""
        self._rest += data
        while True:
            before = self._at
            if before in (_At.BEFORE, _At.CONTENT):
                content = self._content()
                if content and before is _At.CONTENT:
                    yield content
            elif before is _At.MARK:
                self._after_mark()
            elif before is _At.HEAD:
                part = self._head()
                if part is not None:
                    yield part
            if self._at is before:
                return

    def close(self) -> None:
        """Say that nothing follows; raises `Malformed` where the last boundary is missing."""
        if self._at is not _At.END:
            raise Malformed("the upload was cut off: what came is kept, send all of it again")

    def _content(self) -> bytes:
        content, mark, rest = self._rest.partition(self._mark)
        if mark:
            self._rest, self._at = rest, _At.MARK
            return content
        # The boundary may have begun in what came last.
        kept = len(self._mark) - 1
        content, self._rest = self._rest[:-kept], self._rest[-kept:]
        return content

    def _after_mark(self) -> None:
        if self._rest.startswith(b"--"):
            self._at = _At.END
        elif (end := self._rest.find(b"\r\n")) >= 0:
            # The line end stays: a part without a header has nothing else before its empty line.
            self._rest, self._at = self._rest[end:], _At.HEAD
        elif len(self._rest) > _HEAD:
            raise Malformed("a boundary of the form does not end")

    def _head(self) -> Part | None:
        head, end, rest = self._rest.partition(b"\r\n\r\n")
        if len(head) > _HEAD:
            raise Malformed("a part of the form has too long a header")
        if not end:
            return None
        self._rest, self._at = rest, _At.CONTENT
        lines = head.decode("utf-8", "replace").split("\r\n")
        told = next((line for line in lines if line.lower().startswith("content-disposition:")), "")
        name, file = _NAME.search(told), _FILE.search(told)
        return Part(name[1] if name else "", file[1] if file else None)
