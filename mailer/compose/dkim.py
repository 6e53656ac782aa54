"""DKIM: finished header lines and a body -> the signatures that go in front of them (RFC 6376, RFC 8463)."""

import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mailer.compose.headers import Line, structured

PrivateKey = RSAPrivateKey | Ed25519PrivateKey

RSA, ED25519 = "rsa-sha256", "ed25519-sha256"
NAME = "DKIM-Signature"
#: RFC 8301 section 3.2: below this no verifier believes a signature.
SHORTEST_RSA = 1024

#: Signed once more than they stand in the mail, even where they do not: none can be added on the way (R8.3).
ALWAYS = (
    *("from", "to", "cc", "subject", "date", "message-id", "reply-to"),
    *("content-type", "list-unsubscribe", "list-unsubscribe-post"),
)
#: The same where they stand in the mail; a relay may add one that is missing.
WHERE_PRESENT = frozenset(
    {
        *("mime-version", "auto-submitted", "x-auto-response-suppress", "feedback-id", "precedence"),
        *("in-reply-to", "references"),
    }
)
PREFIXES = ("list-", "content-", "cfbl-")

_FOLD_AT = 76
_PADDING, _SHA256 = PKCS1v15(), hashes.SHA256()
_WHITE = " \t\r\n"
_SPACE = re.compile(r"[ \t]*(?:\r\n[ \t]+)+|[ \t]{2,}|\t")
#: Scanned three times as fast as ` {2,}`.
_SPACES = re.compile(rb"  +")
_LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}")
_SELECTOR = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_STRING = 255  # RFC 1035 section 3.3: a character-string


class Signer:
    """One key of one domain; threads may share it."""

    __slots__ = ("_head", "_key", "algorithm", "domain", "selector")

    def __init__(self, domain: str, selector: str, key: PrivateKey) -> None:
        """Take a key and the name under which its public half is published; ValueError where they cannot be used.

        The domain is in ASCII (A-labels).
        """
        if not _DOMAIN.fullmatch(domain):
            raise ValueError(f"{domain!r} is not a domain such as example.org")
        if not _SELECTOR.fullmatch(selector):
            raise ValueError(f"{selector!r} is not a selector: letters, digits and hyphens")
        if isinstance(key, RSAPrivateKey) and key.key_size < SHORTEST_RSA:
            raise ValueError(f"an RSA key of {key.key_size} bits is too short: make one of 2048")
        self.domain, self.selector, self._key = domain.lower(), selector, key
        if len(self.name) > 253:
            raise ValueError(f"the name {self.name} is longer than the DNS allows")
        self.algorithm = RSA if isinstance(key, RSAPrivateKey) else ED25519
        tags = f"v=1; a={self.algorithm}; c=relaxed/relaxed; d={self.domain}; s={selector};"
        self._head = structured(NAME, tags)[1]

    @property
    def name(self) -> str:
        """Return the name in the DNS under which verifiers look for the public key (RFC 6376 section 3.6.2.1)."""
        return f"{self.selector}._domainkey.{self.domain}"

    @property
    def record(self) -> str:
        """Return the text to publish under that name (RFC 6376 section 3.6.1, RFC 8463 section 4)."""
        public = self._key.public_key()
        if self.algorithm == RSA:
            data = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        else:
            data = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return f"v=DKIM1; k={self.algorithm.partition('-')[0]}; p={_base64(data)}"

    @property
    def zone(self) -> str:
        """Return the record as a zone file holds it: strings of at most 255 octets, which verifiers join."""
        strings = [f'    "{self.record[start : start + _STRING]}"' for start in range(0, len(self.record), _STRING)]
        return f"{self.name}. IN TXT (\n" + "\n".join(strings) + " )"

    def sign(self, data: bytes) -> bytes:
        """Return the signature of canonical header lines; the same bytes give the same signature."""
        if isinstance(self._key, RSAPrivateKey):
            return self._key.sign(data, _PADDING, _SHA256)
        return self._key.sign(hashlib.sha256(data).digest())  # RFC 8463 section 3

    def draft(self, stamp: str, block: bytes) -> "Draft":
        """Return what is to be signed: canonical header lines, which end in CRLF; `stamp` is the tags t, h and bh."""
        value = f"{self._head}\r\n {stamp};\r\n b="
        own = "dkim-signature:" + value.replace("\r\n ", " ")
        return Draft(self, value, block + own.encode("ascii"))


class Draft(NamedTuple):
    """A signature that is still to be worked out, which takes most of the time and no lock of the interpreter."""

    signer: Signer
    #: The header's value, up to the signature.
    value: str
    data: bytes

    def signature(self) -> bytes:
        """Work it out."""
        return self.signer.sign(self.data)

    def line(self, signature: bytes) -> Line:
        """Return the header line with its signature."""
        code = _base64(signature)
        first, rest = code[: _FOLD_AT - 3], code[_FOLD_AT - 3 :]
        lines = [first, *[rest[start : start + _FOLD_AT] for start in range(0, len(rest), _FOLD_AT)]]
        return NAME, self.value + "\r\n ".join(lines)


def drafts(
    signers: Sequence[Signer],
    headers: Sequence[Line],
    body: bytes,
    at: datetime,
    *,
    rewritten: frozenset[str] = frozenset(),
) -> list[Draft]:
    """Return the signatures to work out for the lines that go in front of these, RSA before ed25519.

    The body has CRLF line ends and is not dot-stuffed: the bytes that arrive. No l=, no z= (R8.2). `rewritten` are the
    headers (in lower case) that the relay changes on the way: signed, they would spoil the signature.
    """
    layout = _layout(tuple([name for name, _ in headers]), rewritten)
    block = _block(headers, layout.places)
    hashed = _base64(hashlib.sha256(relaxed_body(body)).digest())
    stamp = f"t={int(at.timestamp())};{layout.listed};\r\n bh={hashed}"
    return [signer.draft(stamp, block) for signer in sorted(signers, key=_rsa_first)]


def relaxed_headers(headers: Sequence[Line]) -> bytes:
    """Return header lines in the form in which they are signed (RFC 6376 section 3.4.2)."""
    return _block(headers, [(name.lower(), place) for place, (name, _) in enumerate(headers)])


def relaxed_body(body: bytes) -> bytes:
    """Return a body with CRLF line ends in the form in which it is hashed (RFC 6376 section 3.4.4)."""
    if b"\t" in body:
        body = body.replace(b"\t", b" ")
    if b"  " in body:
        # Asking first takes a sixth of the time.
        body = _SPACES.sub(b" ", body)
    if b" \r\n" in body:
        body = body.replace(b" \r\n", b"\r\n")
    if body.endswith(b"\r\n") and not body.endswith(b"\r\n\r\n") and len(body) > 2:
        return body
    body = body.removesuffix(b" ")
    while body.endswith(b"\r\n"):
        body = body[:-2]
    return body + b"\r\n" if body else b""


class _Layout(NamedTuple):
    """Which headers are signed, for all mail that has the same ones in the same order."""

    #: Name in lower case and place, in the order in which verifiers hash them.
    places: Sequence[tuple[str, int]]
    #: The tag h=, folded.
    listed: str


@lru_cache(maxsize=1024)
def _layout(names: tuple[str, ...], rewritten: frozenset[str]) -> _Layout:
    found: dict[str, list[int]] = {name: [] for name in ALWAYS if name not in rewritten}
    for place, name in enumerate(names):
        lowered = name.lower()
        if lowered in rewritten:
            continue
        if lowered in found or lowered in WHERE_PRESENT or lowered.startswith(PREFIXES):
            found.setdefault(lowered, []).append(place)
    # Of several of one name, verifiers take the lowest first (RFC 6376 section 5.4.2).
    places = [(name, place) for name, own in found.items() for place in reversed(own)]
    listed = [name for name, own in found.items() for _ in range(len(own) + 1)]
    return _Layout(places, _folded(listed))


def _folded(names: Iterable[str]) -> str:
    lines, line = [], " h="
    for name in names:
        if len(line) + len(name) + 1 > _FOLD_AT:
            lines.append(line)
            line = " "
        line += f"{name}:"
    return "".join([f"\r\n{each}" for each in [*lines, line]]).removesuffix(":")


def _block(headers: Sequence[Line], places: Sequence[tuple[str, int]]) -> bytes:
    block = "".join([f"{name}:{headers[place][1].strip(_WHITE)}\r\n" for name, place in places])
    # Nearly every fold is a line's end and one space: those of all headers are undone in one go.
    unfolded = block.replace("\r\n ", " ")
    if "  " in unfolded or "\t" in unfolded:
        unfolded = "".join([f"{name}:{_SPACE.sub(' ', headers[place][1].strip(_WHITE))}\r\n" for name, place in places])
    return unfolded.encode("utf-8")


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _rsa_first(signer: Signer) -> bool:
    return signer.algorithm != RSA
