"""Email -> bytes: a mailing is what many mails share, worked out once; then each is filled and joined."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from markupsafe import escape

from mailer.compose import headers, mime
from mailer.compose.clicks import Clicking
from mailer.compose.encoding import Body
from mailer.compose.errors import ContentError
from mailer.compose.filled import Encoded
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
from mailer.compose.skeleton import Compiled, Constants, interned
from suppression.rules import Stream

#: Gmail shows no more of an HTML part than this, and so might hide the footer.
CLIPPED_AT = 102 * 1024


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
    ) -> None:
        """Put together what does not depend on the recipient, or raise ContentError.

        `feedback_id` is campaign, topic, stream, sender; `clicking` says how links of mail are rewritten that asks so.
        """
        promotional = isinstance(purpose, Promotional)
        if (compiled.content.stream is Stream.PROMOTIONAL) is not promotional:
            # A content names its stream; nothing slips through the other one (spec §3, R10.8).
            raise ContentError(f"The content is {compiled.content.stream}, what it is sent for is not.")
        self.compiled, self.leavable = compiled, purpose.topic is not None
        self._promotional, self._files = promotional, extras.attachments
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
        """Fill for one recipient."""
        self._check(order)
        subject, html, text = self._filled(order)
        size = html.size if html is not None else 0
        if size > CLIPPED_AT and self._promotional:
            if order.sign is not None:
                # Our addresses are longer: a mail that goes without them shall not fail for them.
                return self.compose(replace(order, sign=None))
            raise ContentError(
                f"The HTML has {size} bytes, Gmail clips a mail at {CLIPPED_AT} (102 KB)"
                " and would hide the unsubscribe link: shorten it."
            )
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
            html_size=size,
            block=f"{layout.above}{headers.serialized(own)}{layout.below}",
            clicked=html is not None and html.clicked,
        )

    def _filled(self, order: Order) -> tuple[str, Encoded | None, Encoded]:
        """Return subject, HTML and text for one recipient."""
        constants, compiled = self._constants[order.pixel_url is not None, order.sign is not None], self.compiled
        values = compiled.values(constants, _given(order))
        values["subject"] = subject = compiled.subject(constants, values)
        framed_html, framed_text = compiled.html(constants, values), compiled.text(constants, values)
        html: Encoded | None = None
        text: Encoded | None = None
        if framed_html is not None:
            html, text = framed_html.fill(values, derive=framed_text is None, sign=order.sign)
        if framed_text is not None:
            text = framed_text.fill(values)
        if text is None or text.blank:
            # Never empty (R3.6): what shows nothing but pictures still has its subject.
            body = Body([(subject or "-") + "\n"])
            text = Encoded(body.encoding, body.lines((), ()))
        return subject, html, text

    def view(self, order: Order) -> str:
        """Return the HTML alone, as "view in browser" shows it; plain text where there is no HTML."""
        self._check(order)
        constants, compiled = self._constants[False, False], self.compiled
        values = compiled.values(constants, _given(order))
        values["subject"] = compiled.subject(constants, values)
        framed = compiled.html(constants, values)
        if framed is not None:
            return framed.page(values)
        text = compiled.text(constants, values)
        return f"<pre>{escape(text.text(values))}</pre>" if text is not None else ""

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


def _given(order: Order) -> dict[str, object]:
    out = order.opt_out
    return {
        **order.values,
        "links": _NOWHERE
        if out is None
        else {"unsubscribe": out.one_click_url, "preferences": out.preferences_url, "view": out.view_url or ""},
        "recipient": {"email": order.recipient.email, "name": order.recipient.name},
        "pixel": order.pixel_url,
    }


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
