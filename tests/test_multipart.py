"""Forms with a file, octet by octet: whatever the pieces, the same parts; what is broken is told."""

import pytest

from mailer.web.multipart import Part, Reader
from mailer.web.problems import Malformed

KIND = 'multipart/form-data; boundary="--x1"'
BODY = (
    b'a preamble that means nothing\r\n----x1\r\nContent-Disposition: form-data; name="csrf"\r\n\r\nabc\r\n'
    b"----x1  \r\nContent-Type: text/csv\r\n"
    b'CONTENT-DISPOSITION: form-data; filename="a \xc3\xa9.csv"; name="file"\r\n\r\n'
    b"one\r\n----x\r\n--x1\r\n\r\n----x1\r\n\r\nno header\r\n----x1--\r\nan epilogue"
)
PARTS = [("csrf", None, b"abc"), ("file", "a é.csv", b"one\r\n----x\r\n--x1\r\n"), ("", None, b"no header")]


def read(body: bytes, size: int, kind: str = KIND) -> list[tuple[str, str | None, bytes]]:
    """Feed a body in pieces of a size, and return each part with its content."""
    reader, found = Reader(kind), list[tuple[str, str | None, bytes]]()
    for start in range(0, len(body), size):
        for each in reader.feed(body[start : start + size]):
            if isinstance(each, Part):
                found.append((each.name, each.filename, b""))
            else:
                name, filename, content = found.pop()
                found.append((name, filename, content + each))
    reader.close()
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_however_it_arrives_the_parts_are_the_same(size: int) -> None:
    assert read(BODY, size) == PARTS


def test_nothing_of_a_file_is_kept() -> None:
    reader = Reader("multipart/form-data; boundary=x")
    list(reader.feed(b'--x\r\nContent-Disposition: form-data; name="f"; filename=""\r\n\r\n'))
    for _ in range(1000):
        assert sum(len(each) for each in reader.feed(b"0" * 4096) if isinstance(each, bytes)) >= 4000
    assert len(reader._rest) < 100


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary=", "text/csv"]
)
def test_what_is_no_form_with_parts_is_refused(kind: str) -> None:
    with pytest.raises(Malformed, match="multipart/form-data"):
        Reader(kind)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (BODY[:-20], "cut off"),
        (b"", "cut off"),
        (b"----x1" + b" " * 10_000, "does not end"),
        (b"----x1\r\nX: " + b"y" * 10_000, "too long"),
    ],
    ids=["cut", "empty", "boundary", "header"],
)
def test_what_is_broken_is_told(body: bytes, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        read(body, 4096)
