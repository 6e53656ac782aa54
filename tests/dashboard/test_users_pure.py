"""Passwords and one-time codes, by the standards' own examples."""

from datetime import UTC, datetime

import pytest

from mailer.users import passwords, totp

#: RFC 6238 appendix B, SHA-1: seconds since 1970, the code of eight digits.
VECTORS = (
    (59, "94287082"),
    (1111111109, "07081804"),
    (1111111111, "14050471"),
    (1234567890, "89005924"),
    (2000000000, "69279037"),
    (20000000000, "65353130"),
)
SECRET = b"12345678901234567890"


@pytest.mark.parametrize(("seconds", "code"), VECTORS)
def test_codes_are_those_of_rfc_6238(seconds: int, code: str) -> None:
    assert totp.code(SECRET, totp.step_of(datetime.fromtimestamp(seconds, UTC)), 8) == code


def test_a_code_is_taken_a_step_early_or_late_and_never_before_one_that_was_used() -> None:
    now = datetime.fromtimestamp(1_700_000_010, UTC)
    here = totp.step_of(now)
    for away, taken in ((-2, False), (-1, True), (0, True), (1, True), (2, False)):
        found = totp.matching(SECRET, totp.code(SECRET, here + away), now, after=0)
        assert found == (here + away if taken else None)
    assert totp.matching(SECRET, totp.code(SECRET, here), now, after=here) is None
    assert totp.matching(SECRET, totp.code(SECRET, here - 1), now, after=here) is None
    for typed in ("", "12345", "1234567", "abcdef", "١٢٣٤٥٦"):
        assert totp.matching(SECRET, typed, now, after=0) is None


def test_a_device_reads_the_secret_from_an_address() -> None:
    address = totp.uri(SECRET, "ann+x@example.org", "Mailer & Co")
    assert address == (
        "otpauth://totp/Mailer%20%26%20Co:ann%2Bx@example.org"
        "?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Mailer%20%26%20Co"
    )
    assert totp.shown(SECRET) == "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ"


def test_a_password_is_kept_by_argon2id_as_rfc_9106_recommends() -> None:
    kept = passwords.hashed("correct horse battery")
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert passwords.matches(kept, "correct horse battery")
    assert not passwords.matches(kept, "correct horse batterz")
    assert not passwords.matches(None, "correct horse battery")
    assert not passwords.is_dated(kept)


@pytest.mark.parametrize(
    ("plain", "why"),
    [
        ("eleven char", "password_short"),
        ("x" * 201, "password_long"),
        ("aaaaaaaaaaaaaa", "password_guessable"),
        ("zoe.hart12345678", "password_guessable"),
        ("correct horse battery", None),
        ("кінь батарея скоба", None),
    ],
    ids=["short", "long", "one-letter", "own-name", "words", "ukrainian"],
)
def test_length_counts_and_what_is_easily_guessed_is_refused(plain: str, why: str | None) -> None:
    assert passwords.weakness(plain, "zoe.hart@ringwise.example") == why
