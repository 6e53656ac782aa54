"""Signatures that threads work out stand on the mails they were asked for."""

from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from mailer.compose.dkim import Signer, drafts
from mailer.delivery.signing import Signing
from tests.signing import signatures

AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
RSA = Signer("ringwise.example", "r", generate_private_key(65537, 1024))
ED25519 = Signer("ringwise.example", "e", Ed25519PrivateKey.generate())


async def test_each_mail_gets_the_signatures_of_its_own_bytes() -> None:
    mails = [
        ([("From", "a@ringwise.example"), ("Subject", f"Mail {n}")], f"Number {n}.\r\n".encode()) for n in range(11)
    ]
    # Mails without a key, with one and with two stand in one batch.
    signers = [[(), (RSA,), (ED25519, RSA)][n % 3] for n in range(11)]
    asked = [drafts(own, *mail, AT) if own else () for own, mail in zip(signers, mails, strict=True)]
    lines = await Signing().lines(asked)
    assert lines == [signatures(own, *mail, AT) if own else [] for own, mail in zip(signers, mails, strict=True)]
    assert [len(own) for own in lines[:3]] == [0, 1, 2]


async def test_a_batch_without_keys_asks_no_thread() -> None:
    assert await Signing().lines([(), ()]) == [[], []]
    assert await Signing().lines([]) == []
