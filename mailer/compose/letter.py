"""Email -> final bytes: the face of the package."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

from markupsafe import Markup, escape

from mailer.compose import dkim, headers, markup, mime
from mailer.compose.dkim import Signer
from mailer.compose.encoding import Body
from mailer.compose.errors import ContentError
from mailer.compose.filled import Encoded
from mailer.compose.headers import Line
from mailer.compose.mime import Attachment
from mailer.compose.skeleton import Compiled, Constants
from suppression.rules import Stream

#: Gmail shows no more of an HTML part than this, and so might hide the footer.
CLIPPED_AT = 102 * 1024


@dataclass(slots=True)
class Sender:
    """Who a mail is from."""

    address: str
    name: str = ""
    postal_address: str | None = None


@dataclass(slots=True)
class Recipient:
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
                _check_url(url)
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
    opt_out: OptOut
    list_domain: str


@dataclass(frozen=True, slots=True)
class Transactional:
    """Mail that was asked for; where its topic may be left, it carries the way out of that topic."""

    topic: TopicInfo | None = None
    opt_out: OptOut | None = None
    list_domain: str | None = None

    def __post_init__(self) -> None:
        """Refuse a way out of nothing."""
        if self.opt_out is not None and (self.topic is None or not self.list_domain):
            raise ContentError("Mail that can be left needs the topic that is left and the domain of its list.")


Purpose = Promotional | Transactional


@dataclass(slots=True, kw_only=True)
class Order:
    """Everything that becomes one letter."""

    compiled: Compiled
    recipient: Recipient
    sender: Sender
    purpose: Purpose
    message_id: str
    dated_at: datetime
    values: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    #: What To and Cc show where a mail has several recipients; empty: the recipient alone.
    to: Sequence[Recipient] = ()
    cc: Sequence[Recipient] = ()
    reply_to: Sequence[Recipient] = ()
    extra_headers: Sequence[tuple[str, str]] = ()
    attachments: Sequence[Attachment] = ()
    pixel_url: str | None = None
    #: Campaign, topic, stream, sender.
    feedback_id: Sequence[str] = ()
    #: "machine" or "person"; None: as the content says.
    written_by: str | None = None


@dataclass(slots=True)
class Letter:
    """A finished mail: header lines as they go out, and the body with CRLF line ends, not dot-stuffed."""

    headers: Sequence[Line]
    body: bytes
    subject: str
    needs_smtputf8: bool
    html_size: int

    def signed(self, signers: Sequence[Signer], at: datetime, *, rewritten: frozenset[str] = frozenset()) -> "Letter":
        """Return the letter with a DKIM signature of each signer in front; sign last, of the bytes that go out.

        `rewritten` are the headers (in lower case) that the relay changes on the way.
        """
        if not signers:
            return self
        return replace(
            self, headers=(*dkim.signatures(signers, self.headers, self.body, at, rewritten=rewritten), *self.headers)
        )

    def to_bytes(self) -> bytes:
        """Return the whole mail."""
        return headers.serialized(self.headers) + self.body


def compose(order: Order) -> Letter:
    """Fill a compiled content for one recipient and put the mail together, or raise ContentError."""
    compiled, purpose = order.compiled, order.purpose
    if (compiled.content.stream is Stream.PROMOTIONAL) is not isinstance(purpose, Promotional):
        # A content names its stream; nothing slips through the other one (spec §3, R10.8).
        raise ContentError(f"The content is {compiled.content.stream}, what it is sent for is not.")
    constants = _constants(order)
    values = compiled.values(constants, _given(order))
    values["subject"] = subject = compiled.subject(constants, values)
    html, text = _bodies(compiled, constants, values)
    size = html.size if html is not None else 0
    if size > CLIPPED_AT and isinstance(purpose, Promotional):
        raise ContentError(
            f"The HTML has {size} bytes, Gmail clips a mail at {CLIPPED_AT} (102 KB)"
            " and would hide the unsubscribe link: shorten it."
        )
    entity = mime.assemble(text, html, order.attachments, mime.boundary(order.message_id))
    lines = [*_envelope(order, subject), *_automatic(order), *_list_headers(purpose)]
    lines += [headers.custom(name, value) for name, value in order.extra_headers]
    return Letter(
        headers=(*lines, ("MIME-Version", "1.0"), *entity.headers),
        body=entity.body,
        subject=subject,
        needs_smtputf8=not "".join([value for _, value in lines]).isascii(),
        html_size=size,
    )


def view(order: Order) -> str:
    """Return the HTML alone, as the page behind "view in browser" shows it; plain text where there is no HTML."""
    constants = _constants(order)
    values = order.compiled.values(constants, _given(order))
    values["subject"] = order.compiled.subject(constants, values)
    framed = order.compiled.html(constants, values)
    if framed is not None:
        return framed.page(values)
    text = order.compiled.text(constants, values)
    return f"<pre>{escape(text.text(values))}</pre>" if text is not None else ""


def _constants(order: Order) -> Constants:
    purpose, locale = order.purpose, order.compiled.locale
    postal = purpose.postal_address.text if isinstance(purpose, Promotional) else order.sender.postal_address
    opt_out = purpose.opt_out
    return Constants(
        locale=locale,
        sender_name=order.sender.name,
        postal_address=(postal or "").strip(),
        topic_name=purpose.topic.name(locale) if purpose.topic is not None else "",
        opt_out=opt_out is not None,
        view=opt_out is not None and opt_out.view_url is not None,
        promotional=isinstance(purpose, Promotional),
    )


def _given(order: Order) -> dict[str, object]:
    out = order.purpose.opt_out
    links = {
        "unsubscribe": out.one_click_url if out is not None else "",
        "preferences": out.preferences_url if out is not None else "",
        "view": (out.view_url or "") if out is not None else "",
    }
    pixel = ""
    if order.pixel_url is not None:
        _check_url(order.pixel_url)
        pixel = Markup(markup.pixel(order.pixel_url))  # noqa: S704  (its URL is escaped there)
    recipient = {"email": order.recipient.email, "name": order.recipient.name}
    return {**order.values, "links": links, "recipient": recipient, "pixel": pixel}


def _bodies(compiled: Compiled, constants: Constants, values: dict[str, object]) -> tuple[Encoded | None, Encoded]:
    framed_html, framed_text = compiled.html(constants, values), compiled.text(constants, values)
    html: Encoded | None = None
    text: Encoded | None = None
    if framed_html is not None:
        html, text = framed_html.fill(values, derive=framed_text is None)
    if framed_text is not None:
        text = framed_text.fill(values)
    if text is None or text.blank:
        # Never empty (R3.6): what shows nothing but pictures still has its subject.
        text = Encoded(*_alone(str(values["subject"]) or "-"))
    return html, text


def _alone(subject: str) -> tuple[str, bytes]:
    body = Body([subject + "\n"])
    return body.encoding, body.lines((), ())


def _envelope(order: Order, subject: str) -> list[Line]:
    """Return the headers that every mail has once (RFC 5322 section 3.6, R3.4)."""
    sender = order.sender
    lines = [headers.mailbox("From", sender.address, sender.name)]
    lines.append(_people("To", order.to or (order.recipient,)))
    if order.cc:
        lines.append(_people("Cc", order.cc))
    if order.reply_to:
        lines.append(_people("Reply-To", order.reply_to))
    lines.append(headers.unstructured("Subject", subject))
    lines.append(headers.date(order.dated_at))
    lines.append(headers.message_id(order.message_id))
    return lines


def _people(name: str, people: Sequence[Recipient]) -> Line:
    return headers.mailboxes(name, [(person.email, person.name) for person in people], smtputf8=True)


def _automatic(order: Order) -> list[Line]:
    lines: list[Line] = []
    if (order.written_by or order.compiled.content.written_by) != "person":
        lines.append(("Auto-Submitted", "auto-generated"))  # RFC 3834 section 5
    # MS-OXCMAIL 2.1.3.2.20; never NDR: bounces are wanted (R3.10).
    lines.append(("X-Auto-Response-Suppress", "OOF, AutoReply, DR, RN, NRN"))
    if order.feedback_id:
        lines.append(headers.feedback_id(tuple(order.feedback_id)))
    return lines


def _list_headers(purpose: Purpose) -> list[Line]:
    """Return what lets a mail program offer the way out (RFC 8058, RFC 2919)."""
    out, topic, domain = purpose.opt_out, purpose.topic, purpose.list_domain
    if out is None or topic is None or not domain:
        return []
    lines = [
        headers.list_unsubscribe(out.one_click_url, out.mailto),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        headers.list_id(topic.name("en"), topic.key, domain),
    ]
    if isinstance(purpose, Promotional):
        lines.append(("Precedence", "bulk"))
    return lines


def _check_url(url: str) -> None:
    if not _URL.fullmatch(url):
        raise ContentError("A link in a mail must be an http or https address in ASCII.")


_URL = re.compile("https?://[!-~]+")
