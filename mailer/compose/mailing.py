"""Email -> bytes: a mailing is what many mails share, worked out once; then each is filled and joined."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from markupsafe import escape

from mailer.compose import headers, mime
from mailer.compose.clicks import Clicked, Clicking, Sign, nothing_signed
from mailer.compose.constants import Constants, interned
from mailer.compose.encoding import Body, decoded_size, one_line
from mailer.compose.errors import ContentError
from mailer.compose.filled import Encoded, FramedHtml
from mailer.compose.headers import Line
from mailer.compose.letter import (
    NO_EXTRAS,
    Extras,
    Letter,
    Order,
    Promotional,
    Purpose,
    Recipient,
    Sender,
)
from mailer.compose.skeleton import PIXEL, Compiled
from suppression.rules import Stream

#: Gmail shows no more of an HTML part than this, and so might hide the footer.
CLIPPED_AT = 102 * 1024

T = TypeVar("T")
F = TypeVar("F")


class Mailing:
    """What many mails share: a content, who sends it and what for; each mail is then filled and joined."""

    def __init__(
        self,
        compiled: Compiled,
        sender: Sender,
        purpose: Purpose,
        *,
        feedback_id: Sequence[str] = (),
        extras: Extras = NO_EXTRAS,
        clicking: Clicking | None = None,
        sign: Sign = nothing_signed,
    ) -> None:
        """Put together what does not depend on the recipient, or raise ContentError.

        `feedback_id` is campaign, topic, stream, sender; `clicking` says how links of mail are rewritten that asks so,
        and `sign` makes their addresses.
        """
        promotional = isinstance(purpose, Promotional)
        if (compiled.content.stream is Stream.PROMOTIONAL) is not promotional:
            # A content names its stream; nothing slips through the other one (spec §3, R10.8).
            raise ContentError(f"The content is {compiled.content.stream}, what it is sent for is not.")
        self.compiled, self.leavable = compiled, purpose.topic is not None
        self._promotional, self._files, self._sign = promotional, extras.attachments, sign
        constants = _constants(compiled.locale, sender, purpose)
        #: By whether it has a pixel, and whether its links are rewritten.
        self._constants = {
            (pixel, clicked): interned(replace(constants, pixel=pixel, clicking=clicking if clicked else None))
            for pixel in (False, True)
            for clicked in (False, True)
        }
        #: To, Subject, Date, Message-ID and List-Unsubscribe stand between these.
        self._above = [headers.mailbox("From", sender.address, sender.name), *_others(extras)]
        self._to = _people("To", extras.to) if extras.to else None
        self._below = [
            *_automatic(compiled, extras.written_by, feedback_id),
            *_list_headers(purpose),
            *[headers.custom(name, value) for name, value in extras.headers],
            ("MIME-Version", "1.0"),
        ]
        self._mark = mime.boundary(compiled.digest)
        #: The latest date; mail that is claimed together has the same one.
        self._dated: tuple[datetime | None, Line] = (None, ("", ""))
        self._layouts: dict[tuple[str, str | None], _Layout] = {}

    def compose(self, order: Order) -> Letter:
        """Fill for one recipient; raises ContentError where that cannot be."""
        (letter,) = self.compose_all([order])
        if isinstance(letter, ContentError):
            raise letter
        return letter

    def compose_all(self, orders: Sequence[Order]) -> "list[Letter | ContentError]":
        """Fill for several recipients at once, in two fifths of the time; each gets a letter, or why there is none.

        Raises ContentError where something that is worked out for all of them cannot be: each is to be asked alone.
        """
        begun = [_attempted(self._begun, order) for order in orders]
        mails = [mail for mail in begun if isinstance(mail, _Mail)]
        self._write_subjects(mails)
        self._write_parts(mails)
        return [_attempted(self._letter, mail) if isinstance(mail, _Mail) else mail for mail in begun]

    def _begun(self, order: Order) -> "_Mail":
        self._check(order)
        constants, out = self._constants[order.pixel_url is not None, order.clicked is not None], order.opt_out
        links = _NOWHERE
        if out is not None:
            links = {"unsubscribe": out.one_click_url, "preferences": out.preferences_url, "view": out.view_url or ""}
        recipient = {"email": order.recipient.email, "name": order.recipient.name}
        system = {"links": links, "recipient": recipient, PIXEL: order.pixel_url}
        return _Mail(order, constants, self.compiled.values(constants, order.values, system))

    def _write_subjects(self, mails: Sequence["_Mail"]) -> None:
        for framed, some in _by_frame(mails, self.compiled.subject):
            for mail, subject in zip(some, framed.texts([mail.values for mail in some]), strict=True):
                mail.values["subject"] = mail.subject = one_line(subject)

    def _write_parts(self, mails: Sequence["_Mail"]) -> None:
        for framed_html, some in _by_frame(mails, self.compiled.html):
            if framed_html is not None:
                self._write_html(framed_html, some)
        for framed_text, some in _by_frame(mails, self.compiled.text):
            if framed_text is not None:
                for mail, text in zip(some, framed_text.fill([mail.values for mail in some]), strict=True):
                    mail.text = text

    def _write_html(self, framed: FramedHtml, mails: Sequence["_Mail"]) -> None:
        """Write the HTML of mails of one frame, and their text where that is made from it."""
        said = [mail.order.clicked for mail in mails if mail.order.clicked is not None]
        clicked = Clicked(self._sign, said) if said else None
        htmls, texts = framed.fill([mail.values for mail in mails], derive=not self.compiled.has_text, clicked=clicked)
        for mail, html in zip(mails, htmls, strict=True):
            mail.html = html
        for mail, text in zip(mails, texts or (), strict=texts is not None):
            mail.text = text

    def _letter(self, mail: "_Mail") -> Letter:
        order, subject, html, text = mail.order, mail.subject, mail.html, mail.text
        if html is not None and self._promotional and (size := _size_if_large(html)):
            if order.clicked is not None:
                # Our addresses are longer: a mail that goes without them shall not fail for them.
                return self.compose(replace(order, clicked=None))
            raise ContentError(
                f"The HTML has {size} bytes, Gmail clips a mail at {CLIPPED_AT} (102 KB)"
                " and would hide the unsubscribe link: shorten it."
            )
        if text is None or text.blank:
            # Never empty (R3.6): what shows nothing but pictures still has its subject.
            body = Body([(subject or "-") + "\n"])
            text = Encoded(body.encoding, body.lines((), (), 1)[0])
        layout = self._layout(text, html)
        own = [
            self._to or headers.mailboxes("To", [(order.recipient.email, order.recipient.name)], smtputf8=True),
            headers.unstructured("Subject", subject),
            self._date(order.dated_at),
            headers.message_id(order.message_id),
        ]
        if order.opt_out is not None:
            own.append(headers.list_unsubscribe(order.opt_out.one_click_url, order.opt_out.mailto))
        start, between, end = layout.pieces
        return Letter(
            headers=(*self._above, *own, *layout.lines),
            body=b"".join((start, text.lines, between, html.lines if html is not None else b"", end)),
            subject=subject,
            needs_smtputf8=layout.international or not own[0][1].isascii(),
            rich=html is not None,
            block=f"{layout.above}{headers.serialized(own)}{layout.below}",
            clicked=html is not None and html.clicked,
        )

    def view(self, order: Order) -> str:
        """Return the HTML alone, as "view in browser" shows it; plain text where there is no HTML."""
        mail = self._begun(replace(order, pixel_url=None, clicked=None))
        self._write_subjects([mail])
        framed = self.compiled.html(mail.constants, mail.values)
        if framed is not None:
            return framed.page(mail.values)
        text = self.compiled.text(mail.constants, mail.values)
        return f"<pre>{escape(text.texts([mail.values])[0])}</pre>" if text is not None else ""

    def _date(self, moment: datetime) -> Line:
        if moment != self._dated[0]:
            self._dated = moment, headers.date(moment)
        return self._dated[1]

    def _check(self, order: Order) -> None:
        out = order.opt_out
        if (out is not None) is not self.leavable or (self._promotional and (out is None or out.view_url is None)):
            # Promotional mail has a way out, and so has whatever else can be left; nothing else has.
            raise ContentError("Mail carries a way out where it can be left, and only there.")

    def _layout(self, text: Encoded, html: Encoded | None) -> "_Layout":
        key = (text.encoding, html.encoding if html is not None else None)
        if (layout := self._layouts.get(key)) is None:
            frame = mime.layout(*key, self._files, self._mark)
            lines = [*self._below, *frame.headers]
            layout = self._layouts[key] = _Layout(
                lines=lines,
                above=headers.serialized(self._above),
                below=headers.serialized(lines),
                pieces=frame.pieces,
                international=not "".join([value for _, value in (*self._above, *self._below)]).isascii(),
            )
        return layout


@dataclass(slots=True)
class _Mail:
    """A mail that is being composed."""

    order: Order
    constants: Constants
    values: dict[str, object]
    subject: str = ""
    html: Encoded | None = None
    text: Encoded | None = None


def _attempted(make: Callable[[T], F], of: T) -> F | ContentError:
    try:
        return make(of)
    except ContentError as error:
        return error


def _by_frame(
    mails: Sequence[_Mail], frame_of: Callable[[Constants, Mapping[str, object]], F]
) -> Iterable[tuple[F, list[_Mail]]]:
    """Return the mails of each frame: what is filled together."""
    groups: dict[int, tuple[F, list[_Mail]]] = {}
    for mail in mails:
        frame = frame_of(mail.constants, mail.values)
        # Frames are told apart by what they are, not by what they hold: that would be compared for every mail.
        groups.setdefault(id(frame), (frame, []))[1].append(mail)
    return groups.values()


def _size_if_large(html: Encoded) -> int:
    """Return the octets of HTML that Gmail would clip, else 0: encoding makes nothing smaller."""
    if len(html.lines) <= CLIPPED_AT:
        return 0
    size = decoded_size(html.encoding, html.lines)
    return size if size > CLIPPED_AT else 0


class _Layout(NamedTuple):
    """What stands around the values of one mail: header lines, as they are and serialized, and the parts' frames."""

    lines: Sequence[Line]
    above: str
    below: str
    pieces: tuple[bytes, bytes, bytes]
    international: bool


def _constants(locale: str, sender: Sender, purpose: Purpose) -> Constants:
    postal = purpose.postal_address.text if isinstance(purpose, Promotional) else sender.postal_address
    promotional = isinstance(purpose, Promotional)
    return Constants(
        locale=locale,
        # Sentences such as "where … offers mail" need one.
        sender_name=sender.name or sender.address.rpartition("@")[2],
        postal_address=(postal or "").strip(),
        topic_name=purpose.topic.name(locale) if purpose.topic is not None else "",
        opt_out=purpose.topic is not None,
        view=promotional,
        promotional=promotional,
    )


_NOWHERE: Mapping[str, str] = MappingProxyType({"unsubscribe": "", "preferences": "", "view": ""})


def _others(extras: Extras) -> list[Line]:
    lines = []
    if extras.cc:
        lines.append(_people("Cc", extras.cc))
    if extras.reply_to:
        lines.append(_people("Reply-To", extras.reply_to))
    return lines


def _people(name: str, people: Sequence[Recipient]) -> Line:
    return headers.mailboxes(name, [(person.email, person.name) for person in people], smtputf8=True)


def _automatic(compiled: Compiled, written_by: str | None, feedback_id: Sequence[str]) -> list[Line]:
    lines: list[Line] = []
    if (written_by or compiled.content.written_by) != "person":
        lines.append(("Auto-Submitted", "auto-generated"))  # RFC 3834 section 5
    # MS-OXCMAIL 2.1.3.2.20; never NDR: bounces are wanted (R3.10).
    lines.append(("X-Auto-Response-Suppress", "OOF, AutoReply, DR, RN, NRN"))
    if feedback_id:
        lines.append(headers.feedback_id(tuple(feedback_id)))
    return lines


def _list_headers(purpose: Purpose) -> list[Line]:
    """Return what, beside the address itself, lets a mail program offer the way out (RFC 8058, RFC 2919)."""
    if purpose.topic is None or not purpose.list_domain:
        return []
    lines = [
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        headers.list_id(purpose.topic.name("en"), purpose.topic.key, purpose.list_domain),
    ]
    if isinstance(purpose, Promotional):
        lines.append(("Precedence", "bulk"))
    return lines
