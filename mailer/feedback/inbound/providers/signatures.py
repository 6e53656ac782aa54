"""Whose word a request is: the signatures of providers, checked over the raw octets."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from mailer.errors import ConfigurationError, Forbidden

#: How far a provider's clock may be ahead of ours.
_AHEAD = timedelta(minutes=5)
#: Whom a certificate of Amazon SNS names.
_SNS = re.compile(r"sns[a-z-]*(\.[a-z0-9-]+)?\.amazonaws\.com(\.cn)?")
#: NIST SP 800-131A: shorter RSA keys convince nobody.
_SHORTEST_RSA = 2048


def fresh(at: datetime, now: datetime, oldest: timedelta) -> None:
    """Raise `Forbidden` where a signed moment lies far back: what was overheard once must soon be worth nothing."""
    if not now - oldest <= at <= now + _AHEAD:
        minutes = oldest // timedelta(minutes=1)
        raise Forbidden(f"the signed time is over {minutes} minutes old, or lies ahead: check the clocks of both sides")


def epoch(text: str) -> datetime | None:
    """Return the moment that whole seconds since 1970 name, None where a text is no such number."""
    if not re.fullmatch(r"[0-9]{1,11}", text):
        return None
    return datetime.fromtimestamp(int(text), UTC)


def same(ours: bytes | str, theirs: bytes | str) -> bool:
    """Return whether two secrets are equal, in a time that tells nothing about where they differ."""
    left, right = (each.encode(errors="replace") if isinstance(each, str) else each for each in (ours, theirs))
    return hmac.compare_digest(left, right)


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """Return the HMAC of a message."""
    return hmac.new(key, message, hashlib.sha256).digest()


def unbase64(text: str) -> bytes | None:
    """Return what base64 says, None where it is none."""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        return None


def ecdsa_keys(texts: Sequence[str], setting: str) -> tuple[ec.EllipticCurvePublicKey, ...]:
    """Return public keys of P-256, written as base64 of their DER; raises `ConfigurationError`."""
    keys = []
    for text in texts:
        try:
            key = load_der_public_key(base64.b64decode(text, validate=True))
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ConfigurationError(
                f"{setting} must be the verification key that SendGrid shows, base64 that begins with MFkw"
            )
        keys.append(key)
    return tuple(keys)


def ecdsa_signed(keys: Sequence[ec.EllipticCurvePublicKey], signature: bytes, message: bytes) -> bool:
    """Return whether one of the keys signed a message (ECDSA with SHA-256, the signature as DER)."""
    for key in keys:
        try:
            key.verify(signature, message, ec.ECDSA(SHA256()))
        except InvalidSignature:
            continue
        return True
    return False


def sns_key(certificate: bytes, now: datetime) -> rsa.RSAPublicKey:
    """Return the key of a signing certificate of Amazon SNS (PEM); raises `Forbidden` where it is none, or not valid.

    Its issuer cannot be followed: Amazon serves the certificate alone. That it is theirs is shown by where it was
    fetched from, over TLS whose own chain was checked.
    """
    try:
        found = x509.load_pem_x509_certificate(certificate)
        names = [str(name.value) for name in found.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
        key = found.public_key()
    except (ValueError, TypeError) as error:
        raise Forbidden("the signing certificate cannot be read") from error
    if not any(_SNS.fullmatch(name) for name in names):
        raise Forbidden("the signing certificate is not of Amazon SNS")
    if not found.not_valid_before_utc - _AHEAD <= now <= found.not_valid_after_utc:
        raise Forbidden("the signing certificate is not valid at this time")
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < _SHORTEST_RSA:
        raise Forbidden("the signing certificate has no RSA key of 2,048 bits or more")
    return key


def rsa_signed(key: rsa.RSAPublicKey, signature: bytes, message: bytes, *, sha256: bool) -> bool:
    """Return whether a key signed a message (PKCS #1 v1.5, with SHA-256, or with the SHA-1 of SNS's first version)."""
    # SNS signs with SHA-1 unless a topic is told otherwise; to forge one takes a second preimage, which nobody finds.
    algorithm = SHA256() if sha256 else SHA1()  # noqa: S303
    try:
        key.verify(signature, message, padding.PKCS1v15(), algorithm)
    except InvalidSignature:
        return False
    return True
