import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suppression.rules import Stream
from suppression.token import OptOut, Purpose, Ring, sign_mailto, verify_mailto, verify_opt_out

RING = Ring("k2:a secret of the new year,k1:a secret of the old year")
OLD = Ring("k1:a secret of the old year")
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"

payloads = st.binary(max_size=80)
purposes = st.sampled_from(Purpose)
sixteen = st.binary(min_size=16, max_size=16)
topics = st.from_regex(r"[a-z0-9][a-z0-9-]{0,39}", fullmatch=True)
opt_outs = st.builds(
    OptOut, st.integers(0, 2**63), sixteen, st.sampled_from(Stream), st.none() | topics, st.none() | sixteen
)


@given(purposes, payloads)
def test_a_token_carries_its_payload(purpose: Purpose, payload: bytes) -> None:
    token = RING.sign(purpose, payload)
    assert RING.verify(purpose, token) == payload
    assert re.fullmatch(r"[a-z2-7]+", token)


@given(purposes, purposes, payloads)
def test_a_token_of_one_purpose_never_verifies_as_another(signed: Purpose, asked: Purpose, payload: bytes) -> None:
    assert (RING.verify(asked, RING.sign(signed, payload)) is not None) == (signed is asked)
    assert (RING.verify_short(asked, RING.sign_short(signed, [payload])[0]) is not None) == (signed is asked)


@given(purposes, payloads, st.data())
def test_a_token_with_one_other_character_never_verifies(purpose: Purpose, payload: bytes, data: st.DataObject) -> None:
    token = RING.sign(purpose, payload)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(
        st.sampled_from(ALPHABET + ALPHABET.upper() + "=_ -+018\n\u212a").filter(lambda c: c != token[place])
    )
    assert RING.verify(purpose, token[:place] + other + token[place + 1 :]) is None


@given(purposes, payloads, st.data())
def test_a_token_with_one_flipped_bit_never_verifies(purpose: Purpose, payload: bytes, data: st.DataObject) -> None:
    raw = bytearray(_raw(RING.sign(purpose, payload)))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    assert RING.verify(purpose, base64.b32encode(raw).decode().rstrip("=").lower()) is None


@given(purposes, payloads, st.text(st.sampled_from(ALPHABET + "=_ \n"), min_size=1, max_size=9))
def test_a_token_that_is_cut_or_extended_never_verifies(purpose: Purpose, payload: bytes, more: str) -> None:
    token = RING.sign(purpose, payload)
    for text in (token + more, more + token, token[: -len(more)], token[len(more) :], token + "="):
        assert RING.verify(purpose, text) is None


@given(st.text())
def test_any_text_is_refused_quietly(text: str) -> None:
    assert RING.verify(Purpose.OPEN, text) is None
    assert RING.verify_short(Purpose.OPEN, text) is None
    assert verify_opt_out(RING, text) is None
    assert verify_mailto(RING, "u-" + text) is None


@given(st.binary(max_size=600))
def test_the_text_is_the_base32_of_rfc_4648(payload: bytes) -> None:
    token = RING.sign(Purpose.CLICK, payload)
    assert base64.b32encode(_raw(token)).decode().rstrip("=").lower() == token


def test_spare_bits_make_no_second_spelling() -> None:
    tokens = [RING.sign(Purpose.VIEW, b"x" * length) for length in range(5)]
    for token in tokens:
        same = [last for last in ALPHABET if RING.verify(Purpose.VIEW, token[:-1] + last) is not None]
        assert same == [token[-1]]


def test_upper_case_verifies_only_where_case_means_nothing() -> None:
    token, short = RING.sign(Purpose.RETURN_PATH, b"id"), RING.sign_short(Purpose.RETURN_PATH, [b"id"])[0]
    assert RING.verify(Purpose.RETURN_PATH, token.upper()) is None
    assert RING.verify_short(Purpose.RETURN_PATH, short.upper()) == b"id"


def test_a_rotated_ring_still_verifies_what_the_old_key_signed() -> None:
    assert RING.verify(Purpose.OPEN, OLD.sign(Purpose.OPEN, b"id")) == b"id"
    assert RING.verify_short(Purpose.OPEN, OLD.sign_short(Purpose.OPEN, [b"id"])[0]) == b"id"
    assert OLD.verify(Purpose.OPEN, RING.sign(Purpose.OPEN, b"id")) is None
    assert OLD.verify_short(Purpose.OPEN, RING.sign_short(Purpose.OPEN, [b"id"])[0]) is None


def test_the_same_key_id_with_another_secret_does_not_verify() -> None:
    stranger = Ring("k2:a secret of a stranger")
    assert RING.verify(Purpose.OPEN, stranger.sign(Purpose.OPEN, b"id")) is None


def test_a_short_token_is_no_full_token() -> None:
    assert RING.verify(Purpose.OPEN, RING.sign_short(Purpose.OPEN, [b"id"])[0]) is None
    assert RING.verify_short(Purpose.OPEN, RING.sign(Purpose.OPEN, b"id")) is None


def test_a_payload_too_long_for_a_link_is_refused() -> None:
    assert len(RING.sign(Purpose.CLICK, b"x" * 620)) <= 1024
    with pytest.raises(ValueError, match="too long"):
        RING.sign(Purpose.CLICK, b"x" * 640)


@given(opt_outs)
def test_an_opt_out_comes_back_as_it_was_signed(opt_out: OptOut) -> None:
    assert OptOut.unpack(opt_out.pack()) == opt_out
    assert verify_opt_out(RING, RING.sign(Purpose.OPT_OUT, opt_out.pack())) == opt_out


@given(st.binary(max_size=60))
def test_unpacking_reads_only_what_packing_writes(data: bytes) -> None:
    try:
        opt_out = OptOut.unpack(data)
    except ValueError:
        return
    assert opt_out.pack() == data


def test_a_signed_payload_that_is_no_opt_out_is_refused() -> None:
    assert verify_opt_out(RING, RING.sign(Purpose.OPT_OUT, b"")) is None
    assert verify_opt_out(RING, RING.sign(Purpose.OPT_OUT, b"\x00\x80\x00" + b"f" * 16)) is None
    assert verify_mailto(RING, "u-" + RING.sign_short(Purpose.OPT_OUT, [b"\xff"])[0]) is None
    assert verify_mailto(RING, "u-" + RING.sign_short(Purpose.OPT_OUT, [b"\x02short"])[0]) is None


@pytest.mark.parametrize(
    "wrong",
    [
        OptOut(1, b"short", Stream.PROMOTIONAL),
        OptOut(1, b"f" * 16, Stream.PROMOTIONAL, "Not a key"),
        OptOut(1, b"f" * 16, Stream.PROMOTIONAL, None, b"short"),
        OptOut(-1, b"f" * 16, Stream.PROMOTIONAL),
    ],
)
def test_an_opt_out_that_could_not_be_read_is_not_signed(wrong: OptOut) -> None:
    with pytest.raises(ValueError):
        wrong.pack()


@given(opt_outs)
def test_an_opt_out_by_mail_fits_a_local_part_and_ignores_case(opt_out: OptOut) -> None:
    ring = Ring("abcdefgh:a secret of sixteen or more")
    short = opt_out._replace(tenant_id=opt_out.tenant_id % 2**34, topic=None, email=None)
    local = sign_mailto(ring, short._replace(topic="surveys"))
    assert len(local) <= 64
    assert re.fullmatch(r"u-[a-z2-7]+", local)
    assert verify_mailto(ring, local) == verify_mailto(ring, local.upper()) == short
    assert verify_mailto(ring, local[2:]) is None


def test_the_longest_opt_out_by_mail_has_63_octets() -> None:
    longest = OptOut(2**34 - 1, b"f" * 16, Stream.PROMOTIONAL)
    assert len(sign_mailto(RING, longest)) == 63
    with pytest.raises(ValueError):
        sign_mailto(RING, longest._replace(tenant_id=2**34))


def test_an_opt_out_by_mail_is_not_a_link() -> None:
    opt_out = OptOut(1, b"f" * 16, Stream.PROMOTIONAL)
    assert verify_opt_out(RING, sign_mailto(RING, opt_out)[2:]) is None
    assert verify_mailto(RING, "u-" + RING.sign(Purpose.OPT_OUT, opt_out.pack())) is None


def _raw(token: str) -> bytes:
    return base64.b32decode(token.upper() + "=" * (-len(token) % 8))
