"""Signed tokens for links in sent mail: they need no row and never expire."""

import binascii
import hashlib
import hmac
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from suppression import keys
from suppression.rules import Stream, valid_topic_key

_FULL, _SHORT, _LONG = b"\x01", b"\x02", b"\x03"
_MAC_LENGTH = 16
_LONGEST_TOKEN = 1024
#: How many characters of tokens are written at once.
_AT_ONCE = 4096
#: A long one carries an address itself.
_LONGEST_LONG = 2048
_FINGERPRINT_LENGTH = 16
_EMAIL_LENGTH = 16
_PROMOTIONAL, _WITH_EMAIL, _WITH_TOPIC = 1, 2, 4
#: Begins the local part of an opt-out mailto.
MAILTO_PREFIX = "u-"
#: Larger tenant ids would push a mailto local part over 64 octets (RFC 5321 section 4.5.3.1.1).
_MAILTO_TENANTS = 1 << 34

_ALPHABET = b"abcdefghijklmnopqrstuvwxyz234567"
# int() in base 32 is one pass in C, but counts 0-9a-v (RFC 4648 section 7); what is no digit of ours becomes "!".
_COUNTED = dict(zip(_ALPHABET, b"0123456789abcdefghijklmnopqrstuv", strict=True))
_TO_INT = bytes(_COUNTED.get(code, ord("!")) for code in range(256))
_TO_URL = bytes.maketrans(b"+/", b"-_")
_OF_URL = bytes.maketrans(b"-_+/", b"+/!!")
_TO_TEXT = bytes.maketrans(bytes(range(32)), _ALPHABET)
# Writing base 32 has no such pass. Groups of five bits are spread to one a byte by halves: first the upper half of all
# groups moves to its place, then that of each half, and so on; twelve steps for as many tokens as are written at once.
_SPREADS = tuple(
    (3 * half, sum(((1 << 5 * half) - 1) << 16 * half * block for block in range(_AT_ONCE // (2 * half))))
    for half in (_AT_ONCE >> step for step in range(1, _AT_ONCE.bit_length()))
)


class Purpose(StrEnum):
    """What a token is for; a token of one purpose never verifies as another."""

    OPT_OUT = "opt_out"
    PREFERENCES = "preferences"
    EDIT = "edit"
    OPEN = "open"
    VIEW = "view"
    CLICK = "click"
    CONFIRM = "confirm"
    RETURN_PATH = "return_path"
    REMOVAL = "removal"


class Ring:
    """Signs with the first key of a ring and verifies with all of them."""

    def __init__(self, ring: str) -> None:
        """Read "id:secret,id2:secret2", or raise KeyRingError."""
        secrets = keys.parse_ring(ring)
        self.primary_id = next(iter(secrets))
        self._head = _FULL + bytes([len(self.primary_id)]) + self.primary_id.encode()
        self._long_head = _LONG + self._head[1:]
        self._full = {
            (key_id.encode(), purpose): _keyed(secret, f"mailer token v1 {purpose}")
            for key_id, secret in secrets.items()
            for purpose in Purpose
        }
        self._short = {
            purpose: tuple(_keyed(secret, f"mailer short token v1 {purpose}") for secret in secrets.values())
            for purpose in Purpose
        }
        self._signing = {purpose: self._full[self.primary_id.encode(), purpose] for purpose in Purpose}

    def sign(self, purpose: Purpose, payload: bytes) -> str:
        """Return the token that carries this payload for this purpose."""
        return self.sign_all(purpose, [payload])[0]

    def sign_all(self, purpose: Purpose, payloads: Sequence[bytes]) -> list[str]:
        """Return a token for each payload: many are written out nearly as fast as one."""
        return _encode_all(_signed(self._signing[purpose], self._head, payloads))

    def verify(self, purpose: Purpose, token: str) -> bytes | None:
        """Return the payload of a token written exactly as it was signed, else None."""
        return self._payload(purpose, _decode(token, fold=False), _FULL)

    def sign_long(self, purpose: Purpose, payloads: Sequence[bytes]) -> list[str]:
        """Return tokens in base64url (RFC 4648 section 5) for large payloads; they verify by `verify_long` only.

        They are a sixth shorter than others and written at once, but stand in markup alone: what looks for links in
        plain text may leave out a last `-` or `_`.
        """
        return [_encode_long(raw) for raw in _signed(self._signing[purpose], self._long_head, payloads)]

    def verify_long(self, purpose: Purpose, token: str) -> bytes | None:
        """Return the payload of a long token written exactly as it was signed, else None."""
        return self._payload(purpose, _decode_long(token), _LONG)

    def sign_short(self, purpose: Purpose, payloads: Sequence[bytes]) -> list[str]:
        """Return tokens without key id, for local parts of 64 octets; they verify by `verify_short` only."""
        return _encode_all(_signed(self._short[purpose][0], _SHORT, payloads))

    def verify_short(self, purpose: Purpose, token: str) -> bytes | None:
        """Return the payload of a short token, ignoring case and trying every key, else None."""
        raw = _decode(token, fold=True)
        if raw is None or len(raw) < 1 + _MAC_LENGTH or raw[:1] != _SHORT:
            return None
        body, mac = raw[:-_MAC_LENGTH], raw[-_MAC_LENGTH:]
        for key in self._short[purpose]:
            if hmac.compare_digest(_mac(key, body), mac):
                return body[1:]
        return None

    def _payload(self, purpose: Purpose, raw: bytes | None, kind: bytes) -> bytes | None:
        if raw is None or len(raw) < 2 + _MAC_LENGTH or raw[:1] != kind:
            return None
        body, mac = raw[:-_MAC_LENGTH], raw[-_MAC_LENGTH:]
        start = 2 + body[1]
        key = self._full.get((body[2:start], purpose))
        if key is None or not hmac.compare_digest(_mac(key, body), mac):
            return None
        return body[start:]


def _keyed(secret: bytes, label: str) -> "hashlib.blake2b":
    """Return BLAKE2b (RFC 7693) keyed for one purpose of one secret, ready to be copied for each token."""
    key = hmac.digest(secret, label.encode(), "sha256")
    return hashlib.blake2b(key=key, digest_size=_MAC_LENGTH)


def _mac(keyed: "hashlib.blake2b", body: bytes) -> bytes:
    mac = keyed.copy()
    mac.update(body)
    return mac.digest()


def _signed(keyed: "hashlib.blake2b", head: bytes, payloads: Sequence[bytes]) -> list[bytes]:
    bodies = [head + payload for payload in payloads]
    return [body + _mac(keyed, body) for body in bodies]


class OptOut(NamedTuple):
    """What an opt-out link says: who leaves what, and by which email."""

    tenant_id: int
    fingerprint: bytes
    stream: Stream
    topic: str | None = None
    email: bytes | None = None

    def pack(self) -> bytes:
        """Return the compact form that a token carries."""
        self._check()
        before, behind = _ends(self.tenant_id, self.stream, self.topic, email=self.email is not None)
        return before + self.fingerprint + (self.email or b"") + behind

    @classmethod
    def unpack(cls, data: bytes) -> "OptOut":
        """Read the compact form, or raise ValueError where `pack` cannot have written it."""
        if not data or data[0] > _PROMOTIONAL | _WITH_EMAIL | _WITH_TOPIC:
            raise ValueError("the opt-out has unknown flags")
        flags = data[0]
        tenant_id, start = _read_varint(data, 1)
        middle = start + _FINGERPRINT_LENGTH
        end = middle + (_EMAIL_LENGTH if flags & _WITH_EMAIL else 0)
        if len(data) < end or (len(data) > end) != bool(flags & _WITH_TOPIC):
            raise ValueError("the opt-out has the wrong length")
        found = cls(
            tenant_id=tenant_id,
            fingerprint=data[start:middle],
            stream=Stream.PROMOTIONAL if flags & _PROMOTIONAL else Stream.TRANSACTIONAL,
            topic=data[end:].decode() if flags & _WITH_TOPIC else None,
            email=data[middle:end] if flags & _WITH_EMAIL else None,
        )
        found._check()
        if found.topic is not None and not valid_topic_key(found.topic):
            raise ValueError("the topic key is not valid")
        return found

    def _check(self) -> None:
        if len(self.fingerprint) != _FINGERPRINT_LENGTH:
            raise ValueError("a fingerprint has 16 bytes")
        if self.email is not None and len(self.email) != _EMAIL_LENGTH:
            raise ValueError("the id of an email has 16 bytes")


@lru_cache(maxsize=1024)
def _ends(tenant_id: int, stream: Stream, topic: str | None, *, email: bool) -> tuple[bytes, bytes]:
    """Return what stands before and behind the person and the email: the same for many mails."""
    flags = _PROMOTIONAL if stream is Stream.PROMOTIONAL else 0
    if email:
        flags |= _WITH_EMAIL
    if topic is not None:
        flags |= _WITH_TOPIC
        if not valid_topic_key(topic):
            raise ValueError("the topic key is not valid")
    return bytes([flags]) + _varint(tenant_id), (topic or "").encode()


def verify_opt_out(ring: Ring, token: str) -> OptOut | None:
    """Return what the link says, or None when it is not a link we signed."""
    payload = ring.verify(Purpose.OPT_OUT, token)
    if payload is None:
        return None
    try:
        return OptOut.unpack(payload)
    except ValueError:
        return None


def sign_mailto(ring: Ring, opt_out: OptOut) -> str:
    """Return the whole local part of an opt-out mailto, at most 64 octets; email and topic are left out."""
    return MAILTO_PREFIX + ring.sign_short(Purpose.OPT_OUT, [pack_mailto(opt_out)])[0]


def pack_mailto(opt_out: OptOut) -> bytes:
    """Return what the short token of a mailto carries; it stands behind `MAILTO_PREFIX`."""
    if not 0 <= opt_out.tenant_id < _MAILTO_TENANTS:
        raise ValueError("the tenant id is too large for a mailto link")
    promotional = 1 if opt_out.stream is Stream.PROMOTIONAL else 0
    opt_out._check()
    return _varint(opt_out.tenant_id << 1 | promotional) + opt_out.fingerprint


def verify_mailto(ring: Ring, local: str) -> OptOut | None:
    """Return what the local part of a mailto says, ignoring case, or None when it is not one we signed."""
    if local[: len(MAILTO_PREFIX)].lower() != MAILTO_PREFIX:
        return None
    payload = ring.verify_short(Purpose.OPT_OUT, local[len(MAILTO_PREFIX) :])
    if payload is None:
        return None
    try:
        number, start = _read_varint(payload, 0)
    except ValueError:
        return None
    if len(payload) != start + _FINGERPRINT_LENGTH:
        return None
    stream = Stream.PROMOTIONAL if number & 1 else Stream.TRANSACTIONAL
    return OptOut(number >> 1, payload[start:], stream)


def _encode_all(raws: Sequence[bytes]) -> list[str]:
    """Write several at once: the steps cost nearly the same for a long number as for a short one."""
    longest = (max(map(len, raws), default=0) + 4) // 5 * 8
    if longest > _LONGEST_TOKEN:
        raise ValueError("the payload is too long for a token")
    some = _AT_ONCE // longest if longest else 1
    return [token for start in range(0, len(raws), some) for token in _encode_some(raws[start : start + some])]


def _encode_some(raws: Sequence[bytes]) -> list[str]:
    # Whole groups of five bytes, all of one length: so each begins where a character does.
    groups_each = (max(map(len, raws)) + 4) // 5
    padded = b"".join([raw.ljust(5 * groups_each, b"\0") for raw in raws])
    length, width = len(padded) // 5 * 8, 8 * groups_each
    groups = int.from_bytes(padded, "big")
    for shift, low_halves in _SPREADS[-(length - 1).bit_length() :]:
        low = groups & low_halves
        groups = low | (groups ^ low) << shift
    text = groups.to_bytes(length, "big").translate(_TO_TEXT).decode()
    return [text[width * place : width * place + (len(raw) * 8 + 4) // 5] for place, raw in enumerate(raws)]


def _encode_long(raw: bytes) -> str:
    text = binascii.b2a_base64(raw, newline=False).translate(_TO_URL).decode().rstrip("=")
    if len(text) > _LONGEST_LONG:
        raise ValueError("the payload is too long for a token")
    return text


def _decode_long(token: str) -> bytes | None:
    if not token or len(token) > _LONGEST_LONG or not token.isascii():
        return None
    text = token.encode()
    try:
        raw = binascii.a2b_base64(text.translate(_OF_URL) + b"=" * (-len(text) % 4), strict_mode=True)
    except binascii.Error:
        return None
    # Spare bits must be zero, or several texts would be one token.
    return raw if _encode_long(raw) == token else None


def _decode(token: str, *, fold: bool) -> bytes | None:
    if not token or len(token) > _LONGEST_TOKEN or not token.isascii():
        return None
    text = token.encode()
    length, spare = divmod(len(text) * 5, 8)
    if spare >= 5:
        return None  # a last character that holds no bit of the message
    try:
        number = int((text.lower() if fold else text).translate(_TO_INT), 32)
    except ValueError:
        return None
    if number & ((1 << spare) - 1):
        return None  # spare bits must be zero, or several texts would be one token
    return (number >> spare).to_bytes(length, "big")


def _varint(number: int) -> bytes:
    if number < 0:
        raise ValueError("a tenant id is not negative")
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _read_varint(data: bytes, start: int) -> tuple[int, int]:
    number = 0
    for place, byte in enumerate(data[start : start + 10]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            if place and not byte:
                raise ValueError("the number is not in its shortest form")
            return number, start + place + 1
    raise ValueError("the number does not end")
