"""What the DNS says of a key."""

import binascii
import time
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from dns.resolver import Resolver

from mailer import keyring, published
from mailer.compose.dkim import Signer
from mailer.models import DkimAlgorithm
from mailer.published import Verdict
from tests.nameserver import Nameserver, nameserver

RSA = Signer("ringwise.example", "m1", keyring.generate(DkimAlgorithm.RSA))
OTHER = Signer("ringwise.example", "m1", keyring.generate(DkimAlgorithm.RSA))
ED25519 = Signer("ringwise.example", "m1", keyring.generate(DkimAlgorithm.ED25519))


@pytest.fixture(scope="module")
def server() -> Iterator[Nameserver]:
    with nameserver() as server:
        yield server


@pytest.fixture
def asked(server: Nameserver) -> Resolver:
    server.records.clear()
    server.silent = server.broken = False
    return server.resolver


@pytest.mark.parametrize("signer", [RSA, ED25519])
def test_a_record_in_several_strings_is_found(server: Nameserver, asked: Resolver, signer: Signer) -> None:
    server.publish(signer.name, signer.record)
    assert published.check(asked, signer) is Verdict.MATCHES


def test_another_key_an_empty_one_and_none_are_told_apart(server: Nameserver, asked: Resolver) -> None:
    assert published.check(asked, RSA) is Verdict.MISSING
    server.records[f"{RSA.name}."] = []
    assert published.check(asked, RSA) is Verdict.MISSING
    server.publish(RSA.name, OTHER.record)
    assert published.check(asked, RSA) is Verdict.DIFFERS
    server.publish(RSA.name, "v=DKIM1; p=")
    assert published.check(asked, RSA) is Verdict.REVOKED


def test_several_records_are_none_that_verifiers_agree_on(server: Nameserver, asked: Resolver) -> None:
    server.records[f"{ED25519.name}."] = [[ED25519.record], ["v=spf1 -all"]]
    assert published.check(asked, ED25519) is Verdict.DIFFERS


def test_without_an_answer_nothing_is_known(
    server: Nameserver, asked: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert published.check(None, RSA) is Verdict.UNANSWERED
    server.broken = True
    assert published.check(asked, RSA) is Verdict.UNANSWERED
    server.silent = True
    monkeypatch.setattr(published, "_PATIENCE", 0.3)
    began = time.monotonic()
    assert published.check(asked, RSA) is Verdict.UNANSWERED
    assert time.monotonic() - began < 5


def bare(signer: Signer) -> str:
    """Return the record as RFC 6376 first had it: an RSA key without the wrapping that names its kind."""
    key = load_der_public_key(binascii.a2b_base64(signer.record.rpartition("p=")[2]))
    assert isinstance(key, RSAPublicKey)
    return "p=" + binascii.b2a_base64(key.public_bytes(Encoding.DER, PublicFormat.PKCS1)).decode()


KEY = RSA.record.rpartition("p=")[2]


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (f"p={KEY}", Verdict.MATCHES),
        (bare(RSA), Verdict.MATCHES),
        (f"v=DKIM1;k=rsa;h=sha1:sha256;s=email;t=s;n=note;p={KEY};", Verdict.MATCHES),
        (f"v=DKIM1; p={KEY[:100]} {KEY[100:]} ; ", Verdict.MATCHES),
        (f"v=DKIM1; k=ed25519; p={KEY}", Verdict.DIFFERS),
        (f"v=DKIM2; p={KEY}", Verdict.DIFFERS),
        (f"v=DKIM1; h=sha1; p={KEY}", Verdict.DIFFERS),
        (f"v=DKIM1; s=tlsrpt; p={KEY}", Verdict.DIFFERS),
        (f"v=DKIM1; p={KEY}; p={KEY}", Verdict.DIFFERS),
        (f"v=DKIM1; p={KEY[:-8]}", Verdict.DIFFERS),
        ("v=DKIM1; p=!!", Verdict.DIFFERS),
        ("v=DKIM1; k=rsa", Verdict.DIFFERS),
        ("v=spf1 -all", Verdict.DIFFERS),
        ("", Verdict.DIFFERS),
        ("v=DKIM1; p=", Verdict.REVOKED),
    ],
)
def test_a_record_is_read_as_verifiers_read_it(text: str, verdict: Verdict) -> None:
    assert published.compare(text, RSA) is verdict
