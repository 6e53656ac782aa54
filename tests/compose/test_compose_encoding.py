"""Addresses of ours are written without being looked through, exactly as they would be."""

import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.compose.encoding import link_lines, quoted
from mailer.targets import Ours, kind_of

tails = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz234567-_./:"), max_size=400)


@given(tails)
def test_an_address_of_ours_is_written_as_any_other(tail: str) -> None:
    address = f"https://mail.example/u/{tail}"
    lines = link_lines(address)
    assert link_lines(Ours(address)) == lines
    if lines is not None:
        assert quopri.decodestring(lines) == address.encode()
        assert max(map(len, lines.split(b"\r\n"))) <= 76
        assert not any(line.startswith(b".") for line in lines.split(b"\r\n"))
    assert quopri.decodestring(quoted(address)) == address.encode()


@pytest.mark.parametrize("length", [1, 74, 75, 76, 149, 150, 151, 224, 225, 226, 300, 301])
def test_every_number_of_lines(length: int) -> None:
    address = "https://m.example/".ljust(length, "x")[:length] if length > 18 else "https://" + "x" * length
    lines = link_lines(address)
    assert lines is not None
    assert lines.count(b"=\r\n") == -(-len(address) // 75)
    assert lines.replace(b"=\r\n", b"") == address.encode()


@pytest.mark.parametrize(
    ("base", "ours"),
    [
        ("https://mail.example.org", True),
        ("http://127.0.0.1:8000/mail", True),
        ("http://[::1]:8000", False),
        ("https://mail.example/ä", False),
        ("ftp://mail.example", False),
    ],
)
def test_only_bases_that_no_encoding_changes_make_addresses_of_ours(base: str, ours: bool) -> None:
    assert (kind_of(base) is Ours) is ours
