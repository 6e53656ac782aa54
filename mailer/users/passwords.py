"""Passwords: what may be one, and what is kept of it (argon2id, RFC 9106). No database; slow by design."""

import functools
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

LEAST, MOST = 12, 200
#: RFC 9106 section 4, the second recommended choice: 64 MiB, three passes, four lanes.
_HASHER = PasswordHasher()


def hashed(plain: str) -> str:
    """Return what is kept of a password."""
    return _HASHER.hash(plain)


def matches(kept: str | None, plain: str) -> bool:
    """Return whether a password is the kept one; where none is kept, that takes as long to say."""
    try:
        return _HASHER.verify(kept or _nobodys(), plain[: MOST + 1]) and kept is not None
    except (VerificationError, InvalidHashError):
        return False


def is_dated(kept: str) -> bool:
    """Return whether a password was kept by other parameters than today's."""
    return _HASHER.check_needs_rehash(kept)


def weakness(plain: str, email: str) -> str | None:
    """Return why a text cannot be the password of this user, as a key of the dashboard's words; None where it can.

    NIST SP 800-63B section 3.1.1.2: length counts, rules about kinds of letters do not.
    """
    if len(plain) < LEAST:
        return "password_short"
    if len(plain) > MOST:
        return "password_long"
    name = email.partition("@")[0].lower()
    if len(set(plain)) < 5 or (len(name) > 3 and plain.lower().replace(name, "").strip("0123456789.-_@") == ""):
        return "password_guessable"
    return None


@functools.cache
def _nobodys() -> str:
    return _HASHER.hash(secrets.token_urlsafe(16))
