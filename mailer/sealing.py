"""Secrets at rest: sealed with the ring of `MAILER_SECRET_KEYS`; the first key seals, all of them open."""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mailer.errors import MailerError
from suppression import keys

_VERSION = b"\x01"
_NONCE = 12


class SealBroken(MailerError):
    """What was sealed cannot be opened: its key has left the ring, or it was sealed for something else."""


class Seals:
    """Seals and opens with keys of their own, derived from those of a ring (HKDF-SHA256, AES-256-GCM)."""

    def __init__(self, ring: str, purpose: str) -> None:
        """Read "id:secret,id2:secret2", or raise KeyRingError; what is sealed for one purpose opens for no other."""
        info = f"mailer seal v1 {purpose}".encode()
        self._ciphers = {
            key_id: AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret))
            for key_id, secret in keys.parse_ring(ring).items()
        }
        self.primary_id = next(iter(self._ciphers))

    def seal(self, plain: bytes, place: str) -> bytes:
        """Return the plain bytes sealed for the place where they will lie: moved to another, they do not open."""
        key_id, nonce = self.primary_id.encode(), os.urandom(_NONCE)
        head = _VERSION + bytes([len(key_id)]) + key_id
        return head + nonce + self._ciphers[self.primary_id].encrypt(nonce, plain, head + place.encode())

    @staticmethod
    def key_of(sealed: bytes) -> str:
        """Return the id of the key that sealed this."""
        return sealed[2 : 2 + sealed[1]].decode("ascii", "replace") if len(sealed) > 2 else ""

    def open(self, sealed: bytes, place: str) -> bytes:
        """Return what was sealed for this place, or raise SealBroken."""
        if len(sealed) < 2 + _NONCE or sealed[:1] != _VERSION:
            raise SealBroken(f"what is kept of {place} is not sealed as this version seals")
        start = 2 + sealed[1]
        key_id = sealed[2:start].decode("ascii", "replace")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise SealBroken(
                f"{place} was sealed with the key {key_id} of MAILER_SECRET_KEYS: put it back into the ring"
            )
        nonce, code = sealed[start : start + _NONCE], sealed[start + _NONCE :]
        try:
            return cipher.decrypt(nonce, code, sealed[:start] + place.encode())
        except (InvalidTag, ValueError):
            raise SealBroken(
                f"{place} does not open with the key {key_id} of MAILER_SECRET_KEYS: its secret is another one now"
            ) from None
