"""Bytes of any list become lines: every encoding, every length, and a bad line spoils no other."""

import pytest

from suppression.lines import MOST_LINE, Line, Lines, Records, Refusal, Unreadable


def read(data: bytes, size: int = 1 << 20) -> list[Line]:
    lines, found = Lines(), list[Line]()
    for start in range(0, len(data), size):
        found += lines.feed(data[start : start + size])
    return found + list(lines.close())


TEXT = "email;note\r\nann@example.org;Їжак\nЄва@приклад.укр;\n"
ENCODED = {
    "utf-8": TEXT.encode(),
    "utf-8 with a mark": TEXT.encode("utf-8-sig"),
    "utf-16 little": b"\xff\xfe" + TEXT.encode("utf-16-le"),
    "utf-16 big": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "utf-16 little without a mark": TEXT.encode("utf-16-le"),
    "utf-16 big without a mark": TEXT.encode("utf-16-be"),
}


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("data", ENCODED.values(), ids=ENCODED)
def test_a_list_says_the_same_in_every_encoding_and_in_every_piece(data: bytes, size: int) -> None:
    lines = read(data, size)
    assert [line.text for line in lines] == ["email;note", "ann@example.org;Їжак", "Єва@приклад.укр;"]
    assert [line.number for line in lines] == [1, 2, 3]
    assert lines[-1].end == len(data)
    assert not any(line.refused for line in lines)


def test_a_byte_of_a_letter_of_utf_16_that_looks_like_a_line_end_is_none() -> None:
    text = "email\nĊ@example.org\n਀ਊ\n"  # U+010A, U+0A00, U+0A0A hold the byte 0x0A
    for codec, mark in (("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")):
        assert [line.text for line in read(mark + text.encode(codec), 5)] == ["email", "Ċ@example.org", "਀ਊ"]


@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le", "utf-16-be"])
def test_a_line_of_ten_megabytes_is_refused_and_the_next_one_is_read(codec: str) -> None:
    mark = "" if codec == "utf-8" else "\ufeff"
    data = f"{mark}email\n{'a' * 10_000_000}\nann@example.org\n".encode(codec)
    lines = read(data, 65_537)
    assert [line.text for line in lines] == ["email", "", "ann@example.org"]
    assert "longer than 64 KB" in lines[1].refused
    assert lines[-1].end == len(data)
    assert lines[0].end + len(("a" * 10_000_000 + "\n").encode(codec)) == lines[1].end


def test_the_reader_of_lines_holds_one_line_at_most() -> None:
    lines = Lines()
    for _ in range(200):
        assert not list(lines.feed(b"a" * 65_536))
        assert len(lines._rest) <= MOST_LINE


def test_a_nul_and_a_letter_of_another_encoding_spoil_no_other_line() -> None:
    lines = read(b"email\nann\x00@example.org\ncaf\xe9@example.org\nbob@example.org")
    assert "U+0000" in lines[1].refused
    assert lines[2].text == "caf\ufffd@example.org"
    assert lines[3].text == "bob@example.org"


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\x1f\x8b\x08\x00", b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff"])
def test_what_is_no_text_is_told_at_once(start: bytes) -> None:
    with pytest.raises(Unreadable, match=r"unpack it|save it as UTF-8"):
        read(start + b"abcdefgh")


def test_a_quoted_field_may_span_lines_and_a_stray_quote_costs_one_line() -> None:
    records = Records[list[str]](",", lambda number, fields: fields if len(fields) == 2 else Refusal(number, "width"))
    found = list[list[str] | Refusal]()
    text = ['a,"one', 'two"', 'b,"never closed', "c,3", 'd,"x ""y"""']
    for number, line in enumerate(text, 1):
        found += records.take(number, line)
    assert found[0] == ["a", "one\ntwo"]
    found += records.close()
    assert next(each for each in found if isinstance(each, Refusal)).line == 3
    assert ["c", "3"] in found
    assert ["d", 'x "y"'] in found
    assert records.whole
