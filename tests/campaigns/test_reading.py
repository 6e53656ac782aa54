"""Recipients as lines: every bad line is told with its number and reason, and spoils no other."""

import time

import pytest

from mailer.campaigns.reading import Format, Item, Reader, Recipient, Wanted
from mailer.compose.variables import Schema
from mailer.errors import Invalid
from suppression.lines import MOST_LINE, Refusal

SCHEMA = Schema.parse(
    {
        "city": {"type": "string"},
        "season": {"type": "string"},
        "points": {"type": "integer", "required": False},
        "ratio": {"type": "number", "required": False},
        "gold": {"type": "boolean", "required": False},
        "price": {"type": "money", "required": False},
        "list": {"type": "list", "required": False},
    }
)
WANTED = Wanted.of(SCHEMA, {"season": "Spring"})
NOTHING = Wanted.of(Schema.parse({}), {})


def read(data: bytes, form: Format = Format.CSV, wanted: Wanted = WANTED, size: int = 1 << 20) -> list[Item]:
    reader, found = Reader(form, wanted), list[Item]()
    for start in range(0, len(data), size):
        found += reader.feed(data[start : start + size])
    return found + list(reader.close())


def shown(items: list[Item]) -> list[object]:
    return [
        (item.address.envelope, item.name, dict(item.variables)) if isinstance(item, Recipient) else item.line
        for item in items
    ]


def reasons(items: list[Item]) -> dict[int, str]:
    return {item.line: item.reason for item in items if isinstance(item, Refusal)}


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_ndjson_is_read_however_it_is_cut(size: int) -> None:
    data = (
        b'\xef\xbb\xbf{"email": "Ann@Example.org", "name": "Ann", "variables": {"city": "Kyiv", "points": 3}}\r\n'
        b"\n"
        b'{"to": "bob@example.org", "variables": {"city": "Lviv"}}\n'
        b'{"to": {"email": "cid@example.org", "name": "Cid"}, "variables": {"city": "Odesa", "season": "Fall"}}'
    )
    assert shown(read(data, Format.NDJSON, size=size)) == [
        ("Ann@example.org", "Ann", {"city": "Kyiv", "points": 3}),
        ("bob@example.org", "", {"city": "Lviv"}),
        ("cid@example.org", "Cid", {"city": "Odesa", "season": "Fall"}),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[]", "must be an object"),
        (b"{}", "email is required"),
        (b'{"email": 5}', "email is required"),
        (b'{"email": "nobody"}', "has no @"),
        (b'{"email": "a@b.example", "to": "a@b.example"}', "keep one"),
        (b'{"email": "a@b.example", "city": "Kyiv"}', "city is not a field"),
        (b'{"email": "a@b.example", "name": 5}', "name must be text"),
        (b'{"email": "a@b.example", "name": "A\\r\\nBcc: x"}', "the name holds"),
        (b'{"email": "a@b.example", "name": "' + b"x" * 201 + b'"}', "longer than 200"),
        (b'{"email": "a@b.example", "variables": []}', "variables must be an object"),
        (b'{"email": "a@b.example"}', "The variable city is missing"),
        (b'{"email": "a@b.example", "variables": {"city": 5}}', "city must be a string"),
        (b'{"email": "a@b.example", "variables": {"city": "x", "b": 1}}', "The variable b is not declared"),
        (b'{"email": "' + b"a" * MOST_LINE + b'"}', "longer than 64 KB"),
    ],
)
def test_a_bad_line_says_why_and_spoils_no_other(line: bytes, reason: str) -> None:
    good = b'{"email": "ann@example.org", "variables": {"city": "Kyiv"}}\n'
    for size in (1 << 20, 1000):
        items = read(good + line + b"\n" + good, Format.NDJSON, size=size)
        assert [isinstance(item, Recipient) for item in items] == [True, False, True]
        assert reason in reasons(items)[2]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_csv_is_read_by_its_header(delimiter: str, size: int) -> None:
    lines = [
        ["Email", "city", "name", "points", "ratio", "gold", "price", "list"],
        ["ann@example.org", '"Kyiv, the ""capital"""', "Ann", "3", "2.5", "yes", "", ""],
        [" bob@example.org ", "Lviv", "", "", "1e3", "0", '"{""amount"": ""12.50"", ""currency"": ""EUR""}"', "[1]"],
    ]
    data = "\ufeff" + "\r\n".join(delimiter.join(line) for line in lines)
    if delimiter != ",":
        assert '"Kyiv, the' in data
    assert shown(read(data.encode(), size=size)) == [
        ("ann@example.org", "Ann", {"city": 'Kyiv, the "capital"', "points": 3, "ratio": 2.5, "gold": True}),
        (
            "bob@example.org",
            "",
            {
                "city": "Lviv",
                "ratio": 1000.0,
                "gold": False,
                "price": {"amount": "12.50", "currency": "EUR"},
                "list": [1],
            },
        ),
    ]


def test_a_record_may_span_lines() -> None:
    data = b'email,city\nann@example.org,"Kyiv"\nbob@example.org,"Lviv\n\nor so"\n\ncid@example.org,Odesa\n'
    items = read(data)
    # A string is one line of text, so the value is refused, with the line on which its record begins.
    assert shown(items) == [("ann@example.org", "", {"city": "Kyiv"}), 3, 5, ("cid@example.org", "", {"city": "Odesa"})]


def test_of_a_quote_that_nothing_closes_only_its_line_is_lost() -> None:
    rest = b"".join(b"p%d@example.org,Lviv\n" % number for number in range(5000))
    items = read(b'email,city\nann@example.org,"Kyiv\n' + rest)
    assert len(items) == 5001
    assert list(reasons(items)) == [2]
    items = read(b'email,city\nann@example.org,"Kyiv\nbob@example.org,Lviv\ncid@example.org,"Odesa"\n')
    assert list(reasons(items)) == [2]
    assert len(items) == 3


@pytest.mark.parametrize(
    "data",
    [
        b'"' + b"a\n" * 40_000,
        b'"' + b'a""a\n' * 40_000,
        b'a","b\n' * 40_000,
        (b'a","b\n' * 98 + b'"\n') * 400,
        (b'"' + b'""' * 300 + b"\n") * 400,
    ],
    ids=["plain", "escaped", "opened anew", "closed late", "long"],
)
def test_quotes_that_nothing_closes_cost_no_more_than_their_lines(data: bytes) -> None:
    began = time.process_time()
    items = read(b"email,city\n" + data + b"ann@example.org,Lviv\nbob@example.org,Lviv\n" * 100, size=4096)
    assert time.process_time() - began < 6
    assert 2 in reasons(items)
    assert shown(items)[-1] == ("bob@example.org", "", {"city": "Lviv"})


def test_a_record_may_span_a_hundred_lines_and_no_more() -> None:
    wanted = Wanted.of(Schema.parse({"body": {"type": "object"}}), {})
    for lines, good in ((100, True), (101, False)):
        data = b'email,body\nann@example.org,"{' + b"\n" * (lines - 1) + b'}"\nbob@example.org,{}\n'
        items = read(data, wanted=wanted)
        assert isinstance(items[0], Recipient) is good
        assert shown(items)[-1] == ("bob@example.org", "", {"body": {}})


def test_a_bad_record_says_why() -> None:
    data = b'email,city,points\n,Kyiv,1\na@b.example,Kyiv\na@b.example,Kyiv,many\na@b.example,"Ky"iv,1\nc@b.org,K\xe9,1'
    found = reasons(read(data))
    assert [*found] == [2, 3, 4, 5, 6]
    for number, reason in (
        (2, "empty"),
        (3, "2 fields"),
        (4, "an integer"),
        (5, "not CSV"),
        (6, "not UTF-8 (byte 0xe9)"),
    ):
        assert reason in found[number]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the body is empty"),
        ("email\nann@example.org".encode("utf-16"), "UTF-16"),
        ("email\nann@example.org".encode("utf-16-le"), "UTF-16"),
        (b"e-mail\xe9,city\n", "save the file as UTF-8"),
        (b"name,city\nAnn,Kyiv\n", "name one of its columns email"),
        (b"email,address,city\n", "keep one"),
        (b"email,city,city\n", "twice"),
        (b"email,city,street\n", "'street' is no variable"),
        (b"email,points\n", "the column city is missing"),
    ],
)
def test_a_file_that_is_of_no_use_is_refused_whole(data: bytes, reason: str) -> None:
    with pytest.raises(Invalid, match="recipients") as caught:
        read(data)
    assert reason in str(caught.value)


def test_a_name_is_a_variable_too_where_it_is_declared() -> None:
    wanted = Wanted.of(Schema.parse({"name": "string"}), {})
    assert shown(read(b"address,name\nann@example.org,Ann\n", wanted=wanted)) == [
        ("ann@example.org", "Ann", {"name": "Ann"})
    ]
    assert shown(read(b"email\nann@example.org", wanted=NOTHING)) == [("ann@example.org", "", {})]
