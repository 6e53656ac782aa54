"""What is sealed opens in its place, with the keys of the ring, and nowhere else."""

import pytest

from mailer.sealing import SealBroken, Seals
from suppression.keys import KeyRingError

OLD, NEW = "k1:" + "a" * 32, "k2:" + "b" * 32
PLAIN = b"a private key"


def test_what_is_sealed_opens_and_shows_nothing() -> None:
    seals = Seals(OLD, "dkim")
    sealed = seals.seal(PLAIN, "here")
    assert seals.open(sealed, "here") == PLAIN
    assert PLAIN not in sealed
    assert seals.seal(PLAIN, "here") != sealed


def test_a_new_key_in_front_seals_and_the_old_one_still_opens() -> None:
    sealed = Seals(OLD, "dkim").seal(PLAIN, "here")
    both = Seals(f"{NEW},{OLD}", "dkim")
    assert both.open(sealed, "here") == PLAIN
    assert Seals(NEW, "dkim").open(both.seal(PLAIN, "here"), "here") == PLAIN


def test_a_key_that_left_the_ring_is_asked_for_by_its_name() -> None:
    sealed = Seals(OLD, "dkim").seal(PLAIN, "here")
    with pytest.raises(SealBroken, match="here was sealed with the key k1 of MAILER_SECRET_KEYS: put it back"):
        Seals(NEW, "dkim").open(sealed, "here")
    with pytest.raises(SealBroken, match="its secret is another one now"):
        Seals("k1:" + "c" * 32, "dkim").open(sealed, "here")


def test_it_opens_for_nothing_else() -> None:
    seals = Seals(OLD, "dkim")
    sealed = seals.seal(PLAIN, "here")
    with pytest.raises(SealBroken):
        seals.open(sealed, "there")
    with pytest.raises(SealBroken):
        Seals(OLD, "other").open(sealed, "here")
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(SealBroken):
            seals.open(bytes(changed), "here")
    for length in range(len(sealed)):
        with pytest.raises(SealBroken):
            seals.open(sealed[:length], "here")


def test_a_malformed_ring_is_refused() -> None:
    with pytest.raises(KeyRingError):
        Seals("short", "dkim")
