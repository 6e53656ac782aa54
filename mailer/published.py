"""What stands in the DNS: does the record of a key say what we sign with? (RFC 6376 section 3.6)"""

import binascii
from collections.abc import Mapping
from enum import StrEnum

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from dns.exception import DNSException
from dns.resolver import NXDOMAIN, NoAnswer, Resolver, get_default_resolver

from mailer.compose.dkim import Signer

_PATIENCE = 5.0  # seconds


class Verdict(StrEnum):
    """What the DNS says of a key."""

    MATCHES = "matches"
    #: There is no such record.
    MISSING = "missing"
    #: The record has another key, or cannot be read, or there are several.
    DIFFERS = "differs"
    #: The record has an empty p=.
    REVOKED = "revoked"
    #: No server answered in time: nothing is known.
    UNANSWERED = "unanswered"


def system_resolver() -> Resolver | None:
    """Return what asks the DNS servers of this machine; None where it has none."""
    try:
        return get_default_resolver()
    except DNSException:
        return None


def check(resolver: Resolver | None, signer: Signer) -> Verdict:
    """Ask for the record of a key, for at most 5 seconds, and return what it says."""
    if resolver is None:
        return Verdict.UNANSWERED
    try:
        answer = resolver.resolve(f"{signer.name}.", "TXT", lifetime=_PATIENCE)
    except (NXDOMAIN, NoAnswer):
        return Verdict.MISSING
    except (DNSException, OSError):
        return Verdict.UNANSWERED
    texts = [b"".join(record.strings).decode("ascii", "replace") for record in answer]
    # RFC 6376 section 3.6.2.2: with several, what verifiers do is undefined.
    return compare(texts[0], signer) if len(texts) == 1 else Verdict.DIFFERS


class Unanswered(Exception):
    """No server answered in time: nothing is known, and asking later may help."""


def public_key(resolver: Resolver | None, name: str) -> str | None:
    """Return the text of the record that verifiers would use; None where there is none, or nobody answers."""
    try:
        return certain_key(resolver, name)
    except Unanswered:
        return None


def certain_key(resolver: Resolver | None, name: str) -> str | None:
    """Return the text of the record that verifiers would use, None where there is none; raises `Unanswered`."""
    if resolver is None:
        raise Unanswered
    try:
        answer = resolver.resolve(f"{name}.", "TXT", lifetime=_PATIENCE)
    except (NXDOMAIN, NoAnswer):
        return None
    except (DNSException, OSError):
        raise Unanswered from None
    texts = [b"".join(record.strings).decode("ascii", "replace") for record in answer]
    return texts[0] if len(texts) == 1 else None


def compare(text: str, signer: Signer) -> Verdict:
    """Return whether the text of a record is of this key."""
    tags = _tags(text)
    if tags is None or tags.get("v", "DKIM1") != "DKIM1" or "p" not in tags:
        return Verdict.DIFFERS
    if not tags["p"]:
        return Verdict.REVOKED
    kind = signer.algorithm.partition("-")[0]
    hashes, services = (_listed(tags.get(tag, "")) for tag in ("h", "s"))
    usable = (not hashes or "sha256" in hashes) and (not services or not services.isdisjoint({"*", "email"}))
    ours = signer.record.rpartition("p=")[2]
    if tags.get("k", "rsa") != kind or not usable or _key(tags["p"]) != _key(ours):
        return Verdict.DIFFERS
    return Verdict.MATCHES


def _tags(text: str) -> Mapping[str, str] | None:
    """Return a list of tags without the spaces in their values; None where it is none (RFC 6376 section 3.2)."""
    tags: dict[str, str] = {}
    for part in text.rstrip("; \t\r\n").split(";"):
        name, equals, value = part.partition("=")
        if not equals or name.strip() in tags:
            return None
        tags[name.strip()] = "".join(value.split())
    return tags


def _listed(value: str) -> set[str]:
    return set(value.lower().split(":")) - {""}


def _key(text: str) -> bytes:
    """Return a public key as it is compared: some publish RSA keys without the wrapping that names their kind."""
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return b""
    try:
        key = load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        return data
    return key.public_bytes(Encoding.DER, PublicFormat.PKCS1) if isinstance(key, RSAPublicKey) else data
