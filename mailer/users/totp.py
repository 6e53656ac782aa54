"""One-time passwords by time (RFC 6238 over RFC 4226): SHA-1, six digits, thirty seconds. Pure."""

import base64
import hmac
import re
from datetime import datetime
from urllib.parse import quote

SECONDS = 30
DIGITS = 6
#: RFC 4226 section 4 (R6): as long as SHA-1's output.
SECRET_OCTETS = 20
#: RFC 6238 section 5.2: one step back for the way, one ahead for a device whose clock is fast.
_STEPS = (0, -1, 1)


def step_of(moment: datetime) -> int:
    """Return the step of time that a moment lies in."""
    return int(moment.timestamp()) // SECONDS


def code(secret: bytes, step: int, digits: int = DIGITS) -> str:
    """Return the code of a step (RFC 4226 section 5.3)."""
    mac = hmac.digest(secret, step.to_bytes(8), "sha1")
    start = mac[-1] & 15
    number = int.from_bytes(mac[start : start + 4]) & 0x7FFFFFFF
    return f"{number % 10**digits:0{digits}}"


def matching(secret: bytes, typed: str, now: datetime, *, after: int) -> int | None:
    """Return the step whose code was typed; None where it is not of now, or of no step `after` the last one used."""
    plain = re.sub(r"\s", "", typed)
    if not re.fullmatch(r"[0-9]{6}", plain):
        return None
    here = step_of(now)
    steps = [here + away for away in _STEPS if hmac.compare_digest(code(secret, here + away), plain)]
    return next((step for step in steps if step > after), None)


def shown(secret: bytes) -> str:
    """Return a secret as one types it into a device: base32 in groups of four."""
    text = base64.b32encode(secret).decode().rstrip("=")
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


def uri(secret: bytes, email: str, issuer: str) -> str:
    """Return what a device reads from a QR code (the Key URI Format of Google Authenticator)."""
    label = f"{quote(issuer, safe='')}:{quote(email, safe='@')}"
    return f"otpauth://totp/{label}?secret={shown(secret).replace(' ', '')}&issuer={quote(issuer, safe='')}"
