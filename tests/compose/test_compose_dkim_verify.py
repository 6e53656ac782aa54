"""Verifying DKIM: what holds and what does not, and dkimpy agrees."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mailer.compose.dkim import Signer
from mailer.compose.dkim_verify import verify
from mailer.compose.headers import Line
from tests.signing import signatures

AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
RSA_KEY = generate_private_key(65537, 2048)
RSA = Signer("ringwise.example", "m1", RSA_KEY)
ED25519 = Signer("ringwise.example", "m2", Ed25519PrivateKey.generate())
HEADERS: list[Line] = [
    ("From", "Ringwise <hello@ringwise.example>"),
    ("Subject", "News  of\r\n the week"),
    ("List-Unsubscribe", "<https://x.example/u/abc>"),
    ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
]
BODY = b"Hello \t world  \r\n\r\nBye\r\n\r\n\r\n"


def signed() -> bytes:
    lines = [*signatures([RSA, ED25519], HEADERS, BODY, AT), *HEADERS]
    return "".join(f"{name}: {value}\r\n" for name, value in lines).encode() + b"\r\n" + BODY


def published(name: str) -> str | None:
    return {RSA.name: RSA.record, ED25519.name: ED25519.record}.get(name)


def test_what_we_sign_holds_and_covers_both_headers() -> None:
    found = verify(signed(), published)
    assert [(each.name, each.wrong) for each in found] == [(RSA.name, None), (ED25519.name, None)]
    assert all({"list-unsubscribe", "list-unsubscribe-post"} <= set(each.covers) for each in found)
    # Saved by a program that writes bare line ends, it is still the same mail.
    assert [each.wrong for each in verify(signed().replace(b"\r\n", b"\n"), published)] == [None, None]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda raw: raw.replace(b"Bye", b"By"), "the body was changed"),
        (lambda raw: raw.replace(b"/u/abc", b"/u/abd"), "a header that it covers was changed"),
        (lambda raw: raw.replace(b"\r\n\r\n", b"\r\nList-Unsubscribe: <https://evil.example>\r\n\r\n", 1), "a header"),
        (lambda raw: raw.replace(b" b=", b" b=AAAA"), "a header that it covers was changed"),
        (lambda raw: raw.replace(b"c=relaxed/relaxed;", b"l=3; c=relaxed/relaxed;"), "only the beginning of the body"),
        (lambda raw: raw.replace(b"a=rsa-sha256", b"a=rsa-sha1").replace(b"a=ed25519-sha256", b"a=x"), "is not known"),
    ],
)
def test_what_was_changed_on_the_way_does_not_hold(spoil: Callable[[bytes], bytes], why: str) -> None:
    found = verify(spoil(signed()), published)
    assert [why in str(each.wrong) for each in found] == [True, True], found


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (None, "not published"),
        ("v=DKIM1; k=rsa; p=", "revoked"),
        ("v=DKIM1; k=rsa; p=AAAA", "cannot be read"),
        (ED25519.record, "of another kind"),
        (Signer("ringwise.example", "m1", generate_private_key(65537, 2048)).record, "is another"),
    ],
    ids=["none", "revoked", "unreadable", "another kind", "another key"],
)
def test_a_key_that_is_not_the_published_one_does_not_hold(record: str | None, why: str) -> None:
    assert why in str(verify(signed(), lambda _name: record)[0].wrong)


@pytest.mark.parametrize("header", [b"relaxed", b"simple"])
@pytest.mark.parametrize("body", [b"relaxed", b"simple"])
def test_what_another_program_signs_holds_in_every_canonical_form(header: bytes, body: bytes) -> None:
    mail = b"From: a@other.example\r\nSubject: Two\r\n  lines\r\nSubject: Twice\r\nTo: b@x.example\r\n\r\n" + BODY
    pem = RSA_KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    names = [b"from", b"subject", b"subject", b"to", b"list-unsubscribe"]
    line = dkim.sign(mail, b"s", b"other.example", pem, canonicalize=(header, body), include_headers=names)
    asked: list[str] = []

    def record(name: str) -> str:
        asked.append(name)
        return RSA.record

    [found] = verify(line + mail, record)
    assert (found.wrong, asked) == (None, ["s._domainkey.other.example"])
    [found] = verify(line + mail.replace(b"Twice", b"Thrice"), record)
    assert found.wrong is not None


@pytest.mark.parametrize("tags", [b"", b"v=1", b"a;b;c", b"v=1; a=rsa-sha256; d=x; s=y; h=from; bh=%%; b=%%"])
def test_no_signature_is_so_broken_that_it_is_not_told(tags: bytes) -> None:
    [found] = verify(b"DKIM-Signature: " + tags + b"\r\nFrom: a@b.example\r\n\r\n", published)
    assert found.wrong


def test_mail_without_any_signature_has_none() -> None:
    assert verify(base64.b64decode("AAEC"), published) == []
