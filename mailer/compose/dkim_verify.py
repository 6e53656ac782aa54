"""DKIM the other way round: the raw bytes of a mail and published keys -> which signatures hold, over what."""

import binascii
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from mailer.compose import dkim

# Possessive and at the beginning of a line: a line of a megabyte without a colon is looked at once.
_FIELD = re.compile(rb"^([!-9;-~]++)[ \t]*+:((?:[^\r]|\r(?!\n)|\r\n(?=[ \t]))*)\r\n", re.MULTILINE)
_SIGNED = re.compile(rb"(?<![A-Za-z])b[ \t\r\n]*=[^;]*")
_NAME = b"dkim-signature"
#: Name of a record in the DNS -> its text; None where there is none.
Published = Callable[[str], str | None]


class Field(NamedTuple):
    """One header field as it came, without the CRLF at its end."""

    name: bytes
    value: bytes


class Signature(NamedTuple):
    """One DKIM-Signature: whose it is, what it covers, and what is wrong with it."""

    domain: str
    selector: str
    #: Names in lower case, as often as they are listed.
    covers: tuple[str, ...]
    #: None where the signature holds.
    wrong: str | None

    @property
    def name(self) -> str:
        """Return the name of its key in the DNS."""
        return f"{self.selector}._domainkey.{self.domain}"


class _Broken(ValueError):
    """Why a signature does not hold."""


def fields_of(raw: bytes) -> tuple[list[Field], bytes]:
    """Return the header fields of a mail, in order, and its body; bare line ends are read as CRLF."""
    whole = re.sub(rb"\r?\n", b"\r\n", raw)
    head, _, body = whole.partition(b"\r\n\r\n")
    return [Field(*found.groups()) for found in _FIELD.finditer(head + b"\r\n")], body


def verify(raw: bytes, published: Published) -> list[Signature]:
    """Return every signature of a mail, in order, each checked against its published key."""
    fields, body = fields_of(raw)
    return [_checked(fields, place, body, published) for place, each in enumerate(fields) if each.name.lower() == _NAME]


def _checked(fields: Sequence[Field], place: int, body: bytes, published: Published) -> Signature:
    tags = _tags(fields[place].value.decode("ascii", "replace"))
    covers = tuple(name.lower() for name in tags.get("h", "").split(":") if name)
    found = Signature(tags.get("d", ""), tags.get("s", ""), covers, None)
    try:
        _check(fields, place, body, tags, published(found.name))
    except _Broken as why:
        return found._replace(wrong=str(why))
    return found


def _check(fields: Sequence[Field], place: int, body: bytes, tags: Mapping[str, str], record: str | None) -> None:
    if missing := [name for name in "vadshb" if not tags.get(name)] + [n for n in ("bh",) if not tags.get(n)]:
        raise _Broken(f"it lacks the tags {', '.join(missing)}")
    if "l" in tags:
        raise _Broken("it covers only the beginning of the body (l=), so anybody can add to it")
    ways = tags.get("c", "simple/simple").partition("/")
    body_way = ways[2] or "simple"
    if tags["a"] not in {dkim.RSA, dkim.ED25519} or {ways[0], body_way} - {"simple", "relaxed"}:
        raise _Broken(f"its algorithm {tags['a']} or its canonical form {tags.get('c')} is not known")
    hashed = hashlib.sha256(dkim.relaxed_body(body) if body_way == "relaxed" else _simple_body(body)).digest()
    if hashed != _base64(tags["bh"]):
        raise _Broken("the body was changed after it was signed")
    if record is None:
        raise _Broken("its key is not published")
    _verify(tags, record, _signed(fields, place, tags["h"].split(":"), relaxed=ways[0] == "relaxed"))


def _signed(fields: Sequence[Field], place: int, names: Sequence[str], *, relaxed: bool) -> bytes:
    """Return what was signed: of several of a name the lowest first (RFC 6376 section 5.4.2), then itself."""
    left: dict[bytes, list[Field]] = {}
    for each in fields:
        left.setdefault(each.name.lower(), []).append(each)
    chosen = [left[key].pop() for name in names if left.get(key := name.strip().lower().encode("ascii", "replace"))]
    own = Field(fields[place].name, _SIGNED.sub(b"b=", fields[place].value, count=1))
    lines = [_relaxed(each) if relaxed else b"%b:%b\r\n" % each for each in (*chosen, own)]
    return b"".join(lines).removesuffix(b"\r\n")


def _relaxed(field: Field) -> bytes:
    value = re.sub(rb"[ \t]+", b" ", field.value.replace(b"\r\n", b"")).strip(b" ")
    return b"%b:%b\r\n" % (field.name.lower(), value)


def _simple_body(body: bytes) -> bytes:
    while body.endswith(b"\r\n\r\n"):
        body = body[:-2]
    return body if body.endswith(b"\r\n") else body + b"\r\n"


def _verify(tags: Mapping[str, str], record: str, signed: bytes) -> None:
    key, code = _key(record), _base64(tags["b"])
    try:
        if isinstance(key, RSAPublicKey) and tags["a"] == dkim.RSA:
            if key.key_size < dkim.SHORTEST_RSA:
                raise _Broken(f"its key of {key.key_size} bits is too short")
            key.verify(code, signed, PKCS1v15(), hashes.SHA256())
        elif isinstance(key, Ed25519PublicKey) and tags["a"] == dkim.ED25519:
            key.verify(code, hashlib.sha256(signed).digest())
        else:
            raise _Broken("the published key is of another kind")
    except InvalidSignature:
        raise _Broken(
            "a header that it covers was changed after it was signed, or the published key is another"
        ) from None


def _key(record: str) -> object:
    tags = _tags(record)
    data = _base64(tags.get("p", ""))
    if not data:
        raise _Broken("its key was revoked")
    try:
        if tags.get("k", "rsa") == "ed25519":
            return Ed25519PublicKey.from_public_bytes(data)
        return load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise _Broken("its published key cannot be read") from None


def _tags(text: str) -> dict[str, str]:
    parts = (part.partition("=") for part in text.split(";"))
    return {name.strip(): "".join(value.split()) for name, equals, value in parts if equals}


def _base64(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text)
    except ValueError:
        raise _Broken("its base64 cannot be read") from None
