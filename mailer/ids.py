"""Sortable identifiers: a prefix, then 48 bits of milliseconds and 80 random bits in Crockford base32."""

import os
import threading
from datetime import UTC, datetime, timedelta

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TRIPLES = [a + b + c for a in _ALPHABET for b in _ALPHABET for c in _ALPHABET]
#: Python counts in base 32 with other letters; what is none of ours becomes "!", which is no digit.
_COUNTED = dict(zip(_ALPHABET.encode(), b"0123456789abcdefghijklmnopqrstuv", strict=True))
_TO_PYTHON = bytes(_COUNTED.get(code, ord("!")) for code in range(256))
_LENGTH = 26

_lock = threading.Lock()
_last = 0


def _next(milliseconds: int) -> int:
    """Return a 128-bit number above every earlier one of this process that has the same millisecond."""
    global _last
    with _lock:
        # Rows of one batch keep the order in which they were made, so that lists page through them in that order.
        if _last >> 80 == milliseconds:
            _last += 1
        else:
            _last = (milliseconds << 80) | int.from_bytes(os.urandom(10))
        return _last


def _encode(number: int) -> str:
    letters = []
    for _ in range(_LENGTH // 3):
        letters.append(_TRIPLES[number & 32767])
        number >>= 15
    letters.append(_TRIPLES[number][1:])
    return "".join(letters[::-1])


def new(prefix: str, now: datetime) -> str:
    """Return a fresh id such as ``em_01k9…``; ids made later sort later."""
    return f"{prefix}_{_encode(_next(int(now.timestamp() * 1000)))}"


#: Ids are made by the clocks of several machines, which may differ by so much.
SLACK = timedelta(minutes=5)


def first(prefix: str, moment: datetime) -> str:
    """Return the least id of a moment: what was made before sorts below it, what is made later above."""
    return f"{prefix}_{_encode(int(moment.timestamp() * 1000) << 80)}"


def to_bytes(identifier: str) -> bytes:
    """Return the 16 bytes behind an id; raises ``ValueError`` where it is none."""
    letters = identifier.rpartition("_")[2]
    if len(letters) != _LENGTH:
        raise ValueError("an id has 26 characters after its prefix")
    try:
        number = int(letters.encode().translate(_TO_PYTHON), 32)
    except ValueError:
        raise ValueError("an id has only lower-case letters and digits") from None
    if number >> 128:
        raise ValueError("an id has 128 bits, so its first letter is 7 at most")
    return number.to_bytes(16)


def from_bytes(prefix: str, raw: bytes) -> str:
    """Return the id that ``to_bytes`` took apart."""
    return f"{prefix}_{_encode(int.from_bytes(raw))}"


def made_at(identifier: str) -> datetime:
    """Return the moment at which an id was made, to the millisecond."""
    return datetime.fromtimestamp((int.from_bytes(to_bytes(identifier)) >> 80) / 1000, UTC)
