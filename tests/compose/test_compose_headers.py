import email
import email.policy
import re
from datetime import UTC, datetime, timedelta, timezone
from email.header import decode_header, make_header

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.compose import headers
from mailer.compose.errors import ContentError

words = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=3000)
scripts = st.sampled_from(
    [
        "Привіт світ ",
        "你好世界",
        "مرحبا ",
        "नमस्ते ",
        "שלום ",
        "👩‍👩‍👧‍👦🎉",
        "plain words ",
        "x" * 90,
        "é",
        "a  b ",
        '"<>,;:\\',
    ]
)
mixed = st.lists(scripts, max_size=60).map("".join) | words
names = mixed.map(lambda text: text[:120])


def raw(line: headers.Line) -> bytes:
    return f"{headers.serialized([line])}\r\n".encode()


def value_of(line: headers.Line) -> str:
    return str(email.message_from_bytes(raw(line), policy=email.policy.default)[line[0]])


def squeezed(text: str) -> str:
    return "".join(text.split())


def assert_lines(data: bytes, longest: int) -> None:
    for line in data.split(b"\r\n"):
        assert len(line) <= longest, line
        assert b"\n" not in line
        assert b"\r" not in line
    assert not re.search(rb"\r\n[ \t]*\r\n.", data.removesuffix(b"\r\n\r\n"))


@given(mixed)
@settings(max_examples=300, deadline=None)
def test_a_subject_comes_back_as_it_went_in(text: str) -> None:
    line = headers.unstructured("Subject", text)
    assert value_of(line) == text.strip()
    assert_lines(raw(line), 78)
    for word in re.findall(rb"=\?[^?]+\?[bq]\?[^?]*\?=", raw(line)):
        assert len(word) <= 75
        assert word.decode("ascii")


def test_a_plain_subject_is_not_encoded() -> None:
    assert headers.unstructured("Subject", "Your invoice: 12% off") == ("Subject", "Your invoice: 12% off")


def test_a_long_plain_subject_is_folded_at_spaces() -> None:
    text = "word " * 60 + "end"
    name, value = headers.unstructured("Subject", text)
    assert "=?" not in value
    assert value.replace("\r\n", "") == text
    assert_lines(raw((name, value)), 78)


def test_what_looks_like_an_encoded_word_is_shown_as_it_is() -> None:
    sly = "=?utf-8?q?hi=0D=0ABcc:_evil?="
    assert value_of(headers.unstructured("Subject", sly)) == sly


@given(st.lists(st.tuples(st.just("ann@example.com"), names), min_size=1, max_size=50))
@settings(max_examples=150, deadline=None)
def test_display_names_come_back_and_lines_stay_short(people: list[tuple[str, str]]) -> None:
    line = headers.mailboxes("To", people)
    parsed = email.message_from_bytes(raw(line), policy=email.policy.default)["To"]
    assert [entry.addr_spec for entry in parsed.addresses] == [address for address, _ in people]
    # Python 3.11 puts a space between adjacent encoded-words of a phrase (RFC 2047 section 6.2 says: none).
    assert [squeezed(entry.display_name) for entry in parsed.addresses] == [squeezed(name) for _, name in people]
    for _, name in people:
        phrase = headers.phrase(name, 4)
        if "=?" in phrase:
            assert str(make_header(decode_header(phrase))) == " ".join(name.split())
    assert_lines(raw(line), 998)
    assert max(map(len, raw(line).split(b"\r\n"))) <= 90


@pytest.mark.parametrize(
    ("given_address", "sent"),
    [
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("a@faß.de", "a@xn--fa-hia.de"),
        ("A.B@EXAMPLE.com", "A.B@example.com"),
    ],
)
def test_a_domain_goes_out_as_a_labels(given_address: str, sent: str) -> None:
    assert headers.addr_spec(given_address) == sent
    assert headers.mailboxes("To", [(given_address, "Zoë")])[1].endswith(f"<{sent}>")


def test_a_local_part_beyond_ascii_goes_out_raw_and_only_with_smtputf8() -> None:
    with pytest.raises(ContentError, match="SMTPUTF8"):
        headers.addr_spec("пошта@приклад.укр")
    assert headers.addr_spec("пошта@приклад.укр", smtputf8=True).startswith("пошта@xn--")


@given(st.integers(60, 600), st.booleans())
def test_list_unsubscribe_is_byte_exact_for_every_length_of_url(length: int, with_mailto: bool) -> None:
    url = "https://x.example/u/" + "a" * (length - 20)
    mailto = "mailto:u+" + "b" * 40 + "@x.example" if with_mailto else None
    data = raw(headers.list_unsubscribe(url, mailto))
    between = b",\r\n " if mailto else b""
    assert (
        data
        == b"List-Unsubscribe: <"
        + url.encode()
        + b">"
        + between
        + (f"<{mailto}>".encode() if mailto else b"")
        + b"\r\n\r\n"
    )


@pytest.mark.parametrize(
    "url", ["https://x.example/a b", "https://x.example/\r\nBcc: a", "https://x.example/ü", "https://x>"]
)
def test_a_url_that_would_break_the_header_is_refused(url: str) -> None:
    with pytest.raises(ContentError):
        headers.list_unsubscribe(url, None)


def test_a_list_id_never_holds_an_encoded_word() -> None:
    assert headers.list_id("The letter", "news", "x.example") == ("List-Id", '"The letter" <news.x.example>')
    assert headers.list_id("Новини", "news", "bücher.example") == ("List-Id", '"news" <news.xn--bcher-kva.example>')


def test_a_feedback_id_keeps_to_gmails_grammar() -> None:
    assert headers.feedback_id(("a", "b", "c", "sender")) == ("Feedback-ID", "a:b:c:sender")
    for wrong in [("a", "b", "c", "abc"), ("a", "a", "c", "sender"), ("a:b", "b", "c", "sender"), ()]:
        with pytest.raises(ContentError):
            headers.feedback_id(wrong)


def test_a_date_keeps_its_offset() -> None:
    kyiv = timezone(timedelta(hours=2))
    assert headers.date(datetime(2027, 3, 1, 9, 5, 7, tzinfo=kyiv))[1] == "Mon, 01 Mar 2027 09:05:07 +0200"
    assert headers.date(datetime(2027, 3, 1, tzinfo=UTC))[1].endswith("+0000")
    with pytest.raises(ContentError):
        headers.date(datetime(2027, 3, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    "value",
    ["a\rb", "a\nb", "a\r\nBcc: x", "a\x00b", "a\x7fb", "a\x85b", "a\u2028b", "a\u2029b", "a\x1bb",
     "=?utf-8?q?hi=0D=0ABcc:_evil?=",
     "=?utf-8?b?aGkKQmNjOiBldmls?=", "=?utf-8?q?a=00?=", "=?utf-8?b?!!!?= =?nonsense?q?x?="],
)  # fmt: skip
def test_what_could_inject_a_header_is_forbidden(value: str) -> None:
    assert headers.forbidden(value)
    with pytest.raises(ContentError):
        headers.custom("X-Tag", value)


@pytest.mark.parametrize("value", ["plain", "Zoë", "a=?b", "100% =? yes", "=?utf-8?q?fine?="])
def test_what_is_harmless_is_not_forbidden(value: str) -> None:
    assert headers.forbidden(value) is None


@pytest.mark.parametrize(
    "name", ["Bcc", "list-unsubscribe", "List-Anything", "DKIM-Signature", "CFBL-Address", "Sender", "Content-Type",
             "Received", "X-Foo\r\nBcc", "X Foo", "X-Foo:", "", "Ünï", "Feedback-ID", "Return-Path", "=?utf-8?q?X?= "]
)  # fmt: skip
def test_a_caller_cannot_set_what_is_ours(name: str) -> None:
    assert headers.forbidden_name(name)
    with pytest.raises(ContentError):
        headers.custom(name, "value")


def test_a_callers_own_header_goes_out() -> None:
    assert headers.custom("X-Order", "48213") == ("X-Order", "48213")
    assert headers.forbidden_name("Reply-To") is None


@given(mixed)
@settings(deadline=None)
def test_a_callers_own_header_comes_back(text: str) -> None:
    line = headers.custom("X-Note", text)
    assert_lines(raw(line), 998)
    if "=?" not in text:
        assert value_of(line).strip() == text.strip()
