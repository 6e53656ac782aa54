"""Ids sort by their time, are never made twice, and can be taken apart."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer import ids

NOW = datetime(2026, 5, 4, 12, 30, 15, 123000, tzinfo=UTC)


def test_an_id_has_its_prefix_and_26_letters() -> None:
    prefix, _, letters = ids.new("em", NOW).partition("_")
    assert (prefix, len(letters)) == ("em", 26)
    assert set(letters) <= set("0123456789abcdefghjkmnpqrstvwxyz")


def test_ids_of_one_millisecond_sort_in_the_order_in_which_they_were_made() -> None:
    made = [ids.new("em", NOW) for _ in range(5000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_a_later_id_sorts_later() -> None:
    made = [ids.new("em", NOW + timedelta(milliseconds=step)) for step in range(500)]
    assert made == sorted(made)


def test_a_clock_that_goes_back_and_forth_makes_no_id_twice() -> None:
    moments = [NOW + timedelta(milliseconds=step % 7) for step in range(2000)]
    assert len({ids.new("em", moment) for moment in moments}) == len(moments)


@given(st.integers(0, 2**128 - 1))
def test_the_letters_are_the_number_in_base_32(number: int) -> None:
    letters = ids.from_bytes("em", number.to_bytes(16)).removeprefix("em_")
    assert (
        sum("0123456789abcdefghjkmnpqrstvwxyz".index(each) << 5 * place for place, each in enumerate(letters[::-1]))
        == number
    )


def test_threads_never_make_the_same_id() -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: ids.new("em", NOW), range(4000)))
    assert len(set(made)) == len(made)


def test_an_id_tells_its_time_to_the_millisecond() -> None:
    assert ids.made_at(ids.new("ca", NOW)) == NOW


@given(st.binary(min_size=16, max_size=16))
def test_bytes_make_an_id_and_come_back(raw: bytes) -> None:
    assert ids.to_bytes(ids.from_bytes("em", raw)) == raw


def test_an_id_becomes_bytes_and_comes_back() -> None:
    made = ids.new("em", NOW)
    assert ids.from_bytes("em", ids.to_bytes(made)) == made


@pytest.mark.parametrize("text", ["", "em_", "em_123", "em_" + "0" * 27, "em_" + "u" * 26, "em_" + "A" * 26])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="an id has"):
        ids.to_bytes(text)


def test_an_id_above_128_bits_is_none() -> None:
    with pytest.raises(ValueError, match="128 bits"):
        ids.to_bytes("em_" + "z" * 26)
