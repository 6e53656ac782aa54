"""Secrets and signatures of Standard Webhooks: `v1,` and HMAC-SHA256 of `id.timestamp.body` in base64 (R10.5)."""

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Sequence
from datetime import datetime

PREFIX = "whsec_"
#: Bytes of a secret of ours; callers may bring 24 to 64.
_BYTES = 32
LEAST, MOST = 24, 64


def new_secret() -> bytes:
    """Return fresh random bytes to sign with."""
    return os.urandom(_BYTES)


def shown(secret: bytes) -> str:
    """Return a secret as its owner pastes it into a library."""
    return PREFIX + base64.b64encode(secret).decode()


def parse(text: str) -> bytes:
    """Return the bytes of a secret, or raise `ValueError` with a sentence."""
    sentence = f"must be {PREFIX} and the base64 of {LEAST} to {MOST} random bytes; leave it out to have one made"
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(sentence) from None
    if not text.startswith(PREFIX) or not LEAST <= len(secret) <= MOST:
        raise ValueError(sentence)
    return secret


def headers(secrets: Sequence[bytes], message_id: str, body: bytes, now: datetime) -> dict[str, str]:
    """Return what a message carries: the same id at every try, the present time, a signature by each secret."""
    timestamp = str(int(now.timestamp()))
    signed = f"{message_id}.{timestamp}.".encode() + body
    signatures = (base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode() for secret in secrets)
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
