"""Which providers we listen to, and by what their requests are known: read from the settings once."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import NamedTuple

from mailer.errors import ConfigurationError
from mailer.feedback.inbound.providers import generic, mailgun, postmark, sendgrid, signatures, sns
from mailer.feedback.inbound.providers.arriving import Read
from mailer.settings import Settings

_WORDS = re.compile(r"[\s,]+")
#: What stands in a path or in a sign-in as it is, and nobody guesses.
_SECRET = re.compile(r"[A-Za-z0-9._~-]{16,200}")
#: Standard Webhooks: 24 to 64 octets.
_OCTETS = range(24, 65)


class Accounts(NamedTuple):
    """Whom we believe."""

    #: The topics of Amazon SNS whose messages are ours.
    topics: frozenset[str]
    #: By the provider's name, without those that are not set up; Amazon's needs a certificate and is read by `sns`.
    readers: Mapping[str, Read]


def accounts(settings: Settings) -> Accounts:
    """Return what the settings name; raises `ConfigurationError` for the first that cannot be used."""
    readers: dict[str, Read] = {}
    if texts := _words(settings.sendgrid_public_key):
        readers["sendgrid"] = sendgrid.reader(signatures.ecdsa_keys(texts, "MAILER_SENDGRID_PUBLIC_KEY"))
    if texts := _words(settings.mailgun_signing_key):
        readers["mailgun"] = mailgun.reader([text.encode() for text in texts])
    if settings.postmark_secret:
        if not _SECRET.fullmatch(settings.postmark_secret):
            raise ConfigurationError(
                "MAILER_POSTMARK_SECRET must be 16 letters, digits and . _ ~ - or more: openssl rand -hex 24 makes one"
            )
        readers["postmark"] = postmark.reader(settings.postmark_secret)
    if texts := _words(settings.inbound_secret):
        readers["generic"] = generic.reader([_secret(text) for text in texts])
    return Accounts(_topics(settings.ses_topics), readers)


def _words(text: str) -> list[str]:
    return [word for word in _WORDS.split(text) if word]


def _topics(text: str) -> frozenset[str]:
    topics = _words(text)
    if any(sns.region_host(topic) is None for topic in topics):
        raise ConfigurationError(
            "MAILER_SES_TOPICS must be ARNs such as arn:aws:sns:eu-west-1:123456789012:ses-events, separated by commas"
        )
    return frozenset(topics)


def _secret(text: str) -> bytes:
    try:
        secret = binascii.a2b_base64(text.removeprefix("whsec_"), strict_mode=True)
    except binascii.Error:
        secret = b""
    if not text.startswith("whsec_") or len(secret) not in _OCTETS:
        made = base64.b64encode(b"\x00" * _OCTETS.start).decode()
        raise ConfigurationError(
            f"MAILER_INBOUND_SECRET must be whsec_ and base64 of 24 to 64 random octets ({len(made)} letters or more): "
            "echo whsec_$(openssl rand -base64 32) makes one"
        )
    return secret
