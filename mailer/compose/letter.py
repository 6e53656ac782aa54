"""What a mail is made of, and what comes out: the nouns of composing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from mailer.compose import dkim, headers
from mailer.compose.dkim import Draft, Signer
from mailer.compose.errors import ContentError
from mailer.compose.headers import Line
from mailer.compose.mime import Attachment
from mailer.targets import Ours


@dataclass(frozen=True, slots=True)
class Sender:
    """Who a mail is from."""

    address: str
    name: str = ""
    postal_address: str | None = None


class Recipient(NamedTuple):
    """Whom a mail is for."""

    email: str
    name: str = ""


@dataclass(slots=True)
class OptOut:
    """How this recipient leaves: the one-click address, the page of choices, the mail in a browser."""

    one_click_url: str
    preferences_url: str
    mailto: str | None = None
    view_url: str | None = None

    def __post_init__(self) -> None:
        """Refuse an opt-out that leads nowhere."""
        for url in (self.one_click_url, self.preferences_url, self.view_url):
            if url is not None:
                check_url(url)
        if self.mailto is not None and not self.mailto.startswith("mailto:"):
            raise ContentError("The mailto of an opt-out begins with mailto:.")


@dataclass(frozen=True, slots=True)
class PostalAddress:
    """Where the sender can be written to, as promotional mail must show it."""

    text: str

    def __post_init__(self) -> None:
        """Refuse an empty address."""
        if not self.text.strip():
            raise ContentError("Promotional mail needs a postal address.")


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """What the recipient can leave: its key, and its name by locale."""

    key: str
    names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def name(self, locale: str) -> str:
        """Return the name in this locale, its language, English, or the key."""
        for candidate in (locale, locale.partition("-")[0], "en"):
            if candidate in self.names:
                return self.names[candidate]
        return self.key


@dataclass(frozen=True, slots=True)
class Promotional:
    """Mail that needs a topic, a postal address and a way out; there is none without them (spec §3)."""

    topic: TopicInfo
    postal_address: PostalAddress
    list_domain: str


@dataclass(frozen=True, slots=True)
class Transactional:
    """Mail that was asked for; where its topic may be left, it names the topic and carries the way out of it."""

    topic: TopicInfo | None = None
    list_domain: str | None = None

    def __post_init__(self) -> None:
        """Refuse a topic that nobody could leave."""
        if self.topic is not None and not self.list_domain:
            raise ContentError("Mail that can be left needs the domain of its list.")


Purpose = Promotional | Transactional


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What single mails may have besides."""

    #: What To and Cc show where a mail has several recipients; empty: the recipient alone.
    to: Sequence[Recipient] = ()
    cc: Sequence[Recipient] = ()
    reply_to: Sequence[Recipient] = ()
    headers: Sequence[tuple[str, str]] = ()
    attachments: Sequence[Attachment] = ()
    #: "machine" or "person"; None: as the content says.
    written_by: str | None = None


NO_EXTRAS = Extras()


@dataclass(slots=True, kw_only=True)
class Order:
    """What one letter has to itself."""

    recipient: Recipient
    message_id: str
    dated_at: datetime
    values: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    #: Where the mailing's mail can be left, and only there.
    opt_out: OptOut | None = None
    pixel_url: str | None = None
    #: What the tracked addresses of its links say of it; None: they stay as they are.
    clicked: bytes | None = None

    def __post_init__(self) -> None:
        """Refuse a pixel that is no link."""
        if self.pixel_url is not None:
            check_url(self.pixel_url)


@dataclass(slots=True)
class Letter:
    """A finished mail: header lines as they go out, and the body with CRLF line ends, none of which begins with a dot.

    So nothing is left to be dot-stuffed (RFC 5321 section 4.5.2), and no bare CR or LF can smuggle a second mail in.
    """

    headers: Sequence[Line]
    body: bytes
    subject: str
    needs_smtputf8: bool
    #: It has HTML.
    rich: bool
    #: The header lines, serialized.
    block: str
    #: At least one link leads by way of us.
    clicked: bool = False

    def drafts(
        self, signers: Sequence[Signer], at: datetime, *, rewritten: frozenset[str] = frozenset()
    ) -> Sequence[Draft]:
        """Return the DKIM signatures to work out for this letter: last of all, of the bytes that go out.

        `rewritten` are the headers (in lower case) that the relay changes on the way.
        """
        return dkim.drafts(signers, self.headers, self.body, at, rewritten=rewritten) if signers else ()

    def signed(self, own: Sequence[Line]) -> "Letter":
        """Return the letter with the lines of its signatures in front."""
        if not own:
            return self
        return replace(self, headers=(*own, *self.headers), block=headers.serialized(own) + self.block)

    def to_bytes(self) -> bytes:
        """Return the whole mail."""
        return f"{self.block}\r\n".encode() + self.body


def check_url(url: str) -> None:
    """Raise ContentError unless this can stand in a mail as a link, as every address of ours can."""
    if type(url) is Ours:
        return
    if not url.startswith(("https://", "http://")) or not url.isascii() or not url.isprintable() or " " in url:
        raise ContentError("A link in a mail must be an http or https address in ASCII.")
