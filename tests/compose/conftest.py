"""What the tests of compose share: an order made of little, and the letter as a stranger's parser reads it."""

import email
import email.policy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypedDict, Unpack

import pytest

from mailer.compose.clicks import Clicking
from mailer.compose.letter import (
    Extras,
    Letter,
    OptOut,
    Order,
    PostalAddress,
    Promotional,
    Purpose,
    Recipient,
    Sender,
    TopicInfo,
    Transactional,
)
from mailer.compose.mailing import Mailing
from mailer.compose.mime import Attachment
from mailer.compose.skeleton import Compiled, compile_content
from mailer.compose.templates import Content, Parts
from mailer.compose.variables import Schema
from mailer.targets import Link
from suppression.rules import Stream

PROMOTIONAL = Promotional(
    TopicInfo("newsletter", {"en": "The letter", "uk": "Лист"}),
    PostalAddress("Ringwise Ltd\n1 High Street, Testville"),
    "x.example",
)
WAY_OUT = OptOut(
    "https://x.example/u/token23", "https://x.example/p/token23", "mailto:u+t@x.example", "https://x.example/v/t"
)


class Fields(TypedDict, total=False):
    """What a test may say about an order."""

    subject: str
    html: str | None
    text: str | None
    variables: Mapping[str, object]
    values: Mapping[str, object]
    base: Mapping[str, str]
    literal: bool
    whole: bool
    locale: str
    purpose: Purpose
    opt_out: OptOut
    sender: Sender
    recipient: Recipient
    pixel_url: str | None
    attachments: tuple[Attachment, ...]
    extra_headers: tuple[tuple[str, str], ...]
    to: tuple[Recipient, ...]
    cc: tuple[Recipient, ...]
    reply_to: tuple[Recipient, ...]
    feedback_id: tuple[str, ...]
    message_id: str
    dated_at: datetime
    written_by: str | None
    clicking: Clicking | None
    sign: Callable[[Sequence[Link]], Sequence[str | None]] | None


class Changes(TypedDict, total=False):
    """What one mail has to itself."""

    recipient: Recipient
    values: Mapping[str, object]


class Wanted(NamedTuple):
    """A mail to be composed."""

    mailing: Mailing
    order: Order

    def compose(self) -> Letter:
        """Return the finished letter."""
        return self.mailing.compose(self.order)

    def but(self, **changes: Unpack["Changes"]) -> "Wanted":
        """Return another mail of the same mailing."""
        return Wanted(self.mailing, replace(self.order, **changes))

    def view(self) -> str:
        """Return the HTML alone."""
        return self.mailing.view(self.order)


class Make(Protocol):
    """Makes a mail out of what matters to a test."""

    def __call__(self, compiled: Compiled | None = None, **fields: Unpack[Fields]) -> Wanted:
        """Return what is to be composed; with `compiled`, of that content."""


def _make(compiled: Compiled | None = None, **fields: Unpack[Fields]) -> Wanted:
    purpose, sign = fields.get("purpose", Transactional()), fields.get("sign")
    locale = fields.get("locale", "en")
    content = Content(
        name=None if fields.get("literal") else "sample",
        stream=Stream.PROMOTIONAL if isinstance(purpose, Promotional) else Stream.TRANSACTIONAL,
        parts={locale: Parts(fields.get("subject", "Hello"), fields.get("html", "<p>Hello</p>"), fields.get("text"))},
        schema=Schema.parse(fields.get("variables", {})),
        base=MappingProxyType(dict(fields.get("base", {}))),
        literal=fields.get("literal", False),
    )
    mailing = Mailing(
        compiled or compile_content(content, locale, whole=fields.get("whole", False)),
        fields.get("sender", Sender("mail@x.example", "Ringwise")),
        purpose,
        feedback_id=fields.get("feedback_id", ("spring", "newsletter", "promotional", "ringwise")),
        extras=Extras(
            to=fields.get("to", ()),
            cc=fields.get("cc", ()),
            reply_to=fields.get("reply_to", ()),
            headers=fields.get("extra_headers", ()),
            attachments=fields.get("attachments", ()),
            written_by=fields.get("written_by"),
        ),
        clicking=fields.get("clicking"),
        sign=lambda mails: [sign(links) if sign is not None else [None] * len(links) for _, links in mails],
    )
    order = Order(
        recipient=fields.get("recipient", Recipient("ann@example.com", "Ann")),
        message_id=fields.get("message_id", "0123456789abcdef@x.example"),
        dated_at=fields.get("dated_at", datetime(2027, 3, 1, 9, 30, tzinfo=UTC)),
        values=fields.get("values", {}),
        opt_out=fields.get("opt_out", WAY_OUT) if mailing.leavable else None,
        pixel_url=fields.get("pixel_url"),
        clicked=b"" if sign is not None else None,
    )
    return Wanted(mailing, order)


class Read:
    """A letter as the standard library's parser reads it."""

    def __init__(self, wanted: Wanted) -> None:
        """Compose the mail and parse the result."""
        self.letter: Letter = wanted.compose()
        self.raw = self.letter.to_bytes()
        message = email.message_from_bytes(self.raw, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.message = message

    def part(self, kind: str) -> str:
        """Return the decoded text of the first part of this kind."""
        for part in self.message.walk():
            if part.get_content_type() == kind:
                payload = part.get_payload(decode=True)
                assert isinstance(payload, bytes)
                return payload.decode("utf-8").replace("\r\n", "\n")
        raise AssertionError(f"no {kind}")

    @property
    def html(self) -> str:
        """The HTML part."""
        return self.part("text/html")

    @property
    def text(self) -> str:
        """The text part."""
        return self.part("text/plain")

    def header(self, name: str) -> list[bytes]:
        """Return the raw lines of each header of this name, folds included."""
        block = self.raw.partition(b"\r\n\r\n")[0].replace(b"\r\n ", b"\x00 ")
        prefix = name.lower().encode() + b":"
        return [line.replace(b"\x00 ", b"\r\n ") for line in block.split(b"\r\n") if line.lower().startswith(prefix)]


@pytest.fixture(scope="session")
def make() -> Make:
    """Make a mail."""
    return _make


@pytest.fixture(scope="session")
def read() -> Callable[[Wanted], Read]:
    """Compose a mail and read the letter back."""
    return Read


@pytest.fixture(scope="session")
def promotional() -> Promotional:
    """The purpose of promotional mail."""
    return PROMOTIONAL
