"""A ring of named secrets: the first makes, all of them verify."""

import re
from collections.abc import Mapping

_KEY_ID = re.compile(r"[a-z0-9]{1,8}")
_SHORTEST_SECRET = 16


class KeyRingError(ValueError):
    """The ring of keys cannot be read; the sentence never holds a secret."""


def parse_ring(text: str) -> Mapping[str, bytes]:
    """Read "id:secret,id2:secret2" in its order, or raise KeyRingError with one clear sentence."""
    ring: dict[str, bytes] = {}
    if not text.strip():
        raise KeyRingError("the key ring is empty: write id:secret, several separated by commas")
    for place, item in enumerate(text.split(","), start=1):
        # What stands before the colon may be a secret written in the wrong place, so no part of the item is repeated.
        key_id, colon, secret = item.strip().partition(":")
        if not colon:
            raise KeyRingError(f"key {place} of the ring is not written id:secret")
        if not _KEY_ID.fullmatch(key_id):
            raise KeyRingError(f"the id of key {place} of the ring is not 1 to 8 lower-case letters and digits")
        if key_id in ring:
            raise KeyRingError(f"key {place} of the ring has the id of a key before it")
        try:
            ring[key_id] = secret.encode()
        except UnicodeEncodeError:
            raise KeyRingError(f"the secret of key {place} of the ring is not valid text") from None
        if len(secret) < _SHORTEST_SECRET:
            raise KeyRingError(f"the secret of key {place} of the ring is shorter than {_SHORTEST_SECRET} characters")
    return ring
