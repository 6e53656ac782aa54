"""One spelling for each mailbox, and the keyed fingerprint that outlives its erasure."""

import hmac
import re
import unicodedata
from typing import NamedTuple

import idna

from suppression import keys

_LONGEST_LOCAL = 64  # octets, RFC 5321 section 4.5.3.1.1
_LONGEST_ADDRESS = 254  # octets, RFC 5321 section 4.5.3.1.3 less the angle brackets
_HIDDEN = "•••"
_PROOF_LABEL = b"mailer suppression key proof v1"

# RFC 5322 section 3.2.3 dot-atom, widened by RFC 6532 to what lies beyond ASCII.
_DOT_ATOM = re.compile(
    r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+(?:\.[a-zA-Z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+)*"
)
_LABEL = r"(?!..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ASCII_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


_PLAIN_ATOM = r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+"
_PLAIN_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
#: What nearly every address is: nothing in it needs more than lower case. The long way decides about the rest.
_PLAIN = re.compile(
    rf"({_PLAIN_ATOM}(?:\.{_PLAIN_ATOM})*)@((?:{_PLAIN_LABEL}\.)+[a-zA-Z](?:[a-zA-Z0-9-]{{0,61}}[a-zA-Z0-9])?)"
)


class AddressError(ValueError):
    """The text is not the address of a mailbox; the sentence never repeats it."""


class Address(NamedTuple):
    """A mailbox: as it was written, as it is sent to, as it is matched."""

    original: str
    local: str
    domain: str
    canonical: str

    @property
    def envelope(self) -> str:
        """The address for RCPT TO: the local part as it was spelled, the domain in ASCII."""
        return f"{self.local}@{self.domain}"

    @property
    def is_eai(self) -> bool:
        """Whether the relay must offer SMTPUTF8 (RFC 6531) for this mailbox."""
        return not self.local.isascii()


def parse(text: str) -> Address:
    """Read one bare address, or raise AddressError with one clear sentence."""
    if len(text) <= _LONGEST_ADDRESS and (plain := _PLAIN.fullmatch(text)) and "--" not in text:
        local, domain = plain[1], plain[2].lower()
        if len(local) <= _LONGEST_LOCAL:
            return Address(text, local, domain, f"{local.lower()}@{domain}")
    return _parse(text)


def _parse(text: str) -> Address:
    """Read an address the long way."""
    original = text.strip(" ")
    composed = original if original.isascii() else unicodedata.normalize("NFC", original)
    if not composed:
        raise AddressError("the address is empty")
    _refuse_unseen(composed)
    local, at, domain = composed.rpartition("@")
    if not at:
        raise AddressError("the address has no @")
    _check_local(local)
    ascii_domain = _domain(domain)
    if len(local.encode()) + 1 + len(ascii_domain) > _LONGEST_ADDRESS:
        raise AddressError(f"the address is longer than {_LONGEST_ADDRESS} octets")
    return Address(original, local, ascii_domain, f"{_fold(local)}@{ascii_domain}")


def mask(text: str) -> str:
    """Return the address as pages show it: enough for its owner to know it, too little for others."""
    try:
        address = parse(text)
    except AddressError:
        return _HIDDEN
    domain = idna.decode(address.domain) if "xn--" in address.domain else address.domain
    return f"{address.local[0]}{_HIDDEN}@{domain}"


def _refuse_unseen(text: str) -> None:
    if text.isascii():
        unseen = not text.isprintable()
    else:
        # Controls, format characters (bidi overrides, zero widths), surrogates, unassigned code points, odd spaces.
        unseen = any(unicodedata.category(character)[0] in "CZ" and character != " " for character in text)
    if unseen:
        raise AddressError("the address holds a control or invisible character")


def _check_local(local: str) -> None:
    if not local:
        raise AddressError("the address has nothing before the @")
    if len(local.encode()) > _LONGEST_LOCAL:
        raise AddressError(f"the part before the @ is longer than {_LONGEST_LOCAL} octets")
    if local.startswith("."):
        raise AddressError("the part before the @ begins with a dot")
    if local.endswith("."):
        raise AddressError("the part before the @ ends with a dot")
    if ".." in local:
        raise AddressError("the part before the @ holds two dots in a row")
    if not _DOT_ATOM.fullmatch(local):
        raise AddressError("the part before the @ holds a character that an address cannot hold")


def _domain(text: str) -> str:
    if not text:
        raise AddressError("the address has nothing after the @")
    if text.startswith("["):
        raise AddressError("the domain is an IP literal, and mail goes to names only")
    if text.startswith(".") or text.endswith(".") or ".." in text:
        raise AddressError("the domain has an empty label")
    domain = text.lower() if text.isascii() else ""
    if not domain or "xn--" in domain or not _ASCII_DOMAIN.fullmatch(domain):
        domain = _idna(text)
    if len(domain) > 253:
        raise AddressError("the domain is longer than 253 octets")
    if "." not in domain:
        raise AddressError("the domain has no dot")
    if domain.rpartition(".")[2].isdigit():
        raise AddressError("the domain is an IP address or ends in a number")
    return domain


def _idna(text: str) -> str:
    try:
        # UTS 46 without its transitional step: faß.de and fass.de are two owners' domains.
        encoded = idna.encode(text, uts46=True, std3_rules=True)
    except (idna.IDNAError, UnicodeError):
        raise AddressError("the domain is not a valid domain name") from None
    domain = encoded.decode("ascii").lower()
    if domain.startswith(".") or domain.endswith("."):
        raise AddressError("the domain has an empty label")
    return domain


def _fold(local: str) -> str:
    if local.isascii():
        return local.lower()
    # Canonical caseless matching (Unicode, definition D145): decompose before folding, or the result depends on order.
    folded = unicodedata.normalize("NFD", local).casefold()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", folded).casefold())


class Fingerprints:
    """Makes fingerprints of mailboxes with a ring of keys; the first key is primary."""

    def __init__(self, ring: str) -> None:
        """Read "id:secret,id2:secret2", or raise KeyRingError."""
        self._keys = keys.parse_ring(ring)
        self.primary_id = next(iter(self._keys))
        self._primary = self._keys[self.primary_id]
        self._secrets = tuple(self._keys.values())
        #: The ids of the keys in the order of `all_of`.
        self.key_ids = tuple(self._keys)

    def of(self, tenant_id: int, canonical: str) -> bytes:
        """Return the 16 bytes that stand for this mailbox at this tenant, by the primary key."""
        return hmac.digest(self._primary, tenant_id.to_bytes(8, "big") + canonical.encode(), "sha256")[:16]

    def all_of(self, tenant_id: int, canonical: str) -> tuple[bytes, ...]:
        """Return the fingerprints by every key of the ring, the primary first, to read what older keys wrote."""
        message = tenant_id.to_bytes(8, "big") + canonical.encode()
        return tuple(hmac.digest(secret, message, "sha256")[:16] for secret in self._secrets)

    def named(self, tenant_id: int, canonical: str) -> dict[bytes, str]:
        """Return the fingerprints by every key of the ring, the primary first, each with the id of its key."""
        return dict(zip(self.all_of(tenant_id, canonical), self.key_ids, strict=True))

    def proof(self) -> dict[str, str]:
        """Return for each key id what shows that the key is the same one, and tells nothing of it."""
        return {key_id: hmac.digest(secret, _PROOF_LABEL, "sha256").hex() for key_id, secret in self._keys.items()}
