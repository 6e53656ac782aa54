"""Frames with open slots, and what becomes of them with one recipient's values."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import unescape
from typing import NamedTuple, TypeGuard

from markupsafe import Markup, escape

from mailer.compose import text
from mailer.compose.clicks import Pieces, Sign, Tracked
from mailer.compose.encoding import Body, clean, link_lines, plain_line, quoted
from mailer.compose.markers import Path
from mailer.compose.sandbox import Expression, Sandbox
from mailer.targets import Ours

#: Texts shorter than this are worth remembering.
_REMEMBERED = 48
#: What a browser shows as it stands: words with single spaces between them.
_TAME = re.compile(r"[^ \t\n\r\f]+(?: [^ \t\n\r\f]+)*")
_TAME_LINES = re.compile(r"[^ \t\n\r\f]+(?:(?: |\n\n?)[^ \t\n\r\f]+)*")
#: What in escaped markup a browser would not show as it stands, <br> apart.
_NOT_BREAK = re.compile(r"<(?!br>)|[\t\n\r\f]")


@dataclass(frozen=True, slots=True)
class Frame:
    """The slots of one frame: plain paths, and expressions to be worked out."""

    count: int
    #: Slot, name, and what follows the name in a path.
    paths: Sequence[tuple[int, str, Path]]
    expressions: Sequence[tuple[int, Expression]]
    sandbox: Sandbox | None

    def values(self, values: Mapping[str, object]) -> list[object]:
        """Return the value of each slot for one recipient."""
        found: list[object] = [None] * self.count
        for index, name, rest in self.paths:
            value = values.get(name)
            for inner in rest:
                # Asking the abstract type takes longer than looking the value up.
                value = value.get(inner) if type(value) is dict or isinstance(value, Mapping) else None
            found[index] = value
        if self.expressions and self.sandbox is not None:
            worked_out = self.sandbox.evaluate([expression for _, expression in self.expressions], values)
            for (index, _), value in zip(self.expressions, worked_out, strict=True):
                found[index] = value
        return found


@dataclass(frozen=True, slots=True)
class Opening:
    """A link whose spelling in the text part depends on its values."""

    label: Sequence[str | int]
    url: Sequence[str | int]
    same: bool

    def holds(self, values: Sequence[str]) -> bool:
        """Return whether the link looks as it did when the frame was made."""
        label, url = (
            "".join(values[piece] if isinstance(piece, int) else piece for piece in pieces)
            for pieces in (self.label, self.url)
        )
        return bool(text.link_target(url, "")) and text.same_link(label, url) == self.same


class Encoded(NamedTuple):
    """One part of a mail, ready for the wire."""

    encoding: str
    lines: bytes
    #: Octets before they were encoded.
    size: int = 0
    #: A reader would see nothing.
    blank: bool = False
    #: At least one link leads by way of us.
    clicked: bool = False


@dataclass(frozen=True, slots=True)
class FramedText:
    """A frame of plain text: values are printed as they are."""

    frame: Frame
    body: Body

    def text(self, values: Mapping[str, object]) -> str:
        """Return the text for one recipient."""
        return self.body.text([_string(value) for value in self.frame.values(values)])

    def fill(self, values: Mapping[str, object]) -> Encoded:
        """Return the encoded text for one recipient."""
        strings = [_string(value) for value in self.frame.values(values)]
        lines = self.body.lines(strings, [quoted(string) for string in strings])
        return Encoded(self.body.encoding, lines, blank=self.body.blank(strings))


@dataclass(frozen=True, slots=True)
class FramedHtml:
    """A frame of HTML with the text that was made from it."""

    frame: Frame
    html: Body
    derived: Body
    openings: Sequence[Opening]
    #: What stands in the slots behind those of the frame.
    links: Sequence[Tracked] = ()
    #: The HTML without these slots, where there are any.
    original: Pieces = ()

    def page(self, values: Mapping[str, object]) -> str:
        """Return the HTML for one recipient as a string."""
        return self.html.text(self._printed(values).html)

    def fill(
        self, values: Mapping[str, object], *, derive: bool = True, sign: Sign | None = None
    ) -> tuple[Encoded, Encoded | None]:
        """Return the encoded HTML and, where it is wanted, the text made from it, for one recipient.

        The text has links as they were written (R7.6).
        """
        printed = self._printed(values)
        clicked = bool(self.links) and self._link(printed, sign)
        size = self.html.size(printed.html)
        encoded = Encoded(self.html.encoding, self.html.lines(printed.html, printed.lines), size, clicked=clicked)
        return encoded, self._text(printed) if derive else None

    def _link(self, printed: "_Printed", sign: Sign | None) -> bool:
        """Put into the slots of links what stands there for one recipient; return whether any is rewritten."""
        html, lines = printed.html, printed.lines
        wanted = [tracked.of(html) if sign is not None else None for tracked in self.links]
        signed = iter(sign([link for link in wanted if link is not None]) if sign is not None else ())
        urls = [next(signed) if link is not None else None for link in wanted]
        for tracked, url in zip(self.links, urls, strict=True):
            shown = tracked.original(html) if url is None else url
            line = link_lines(shown)
            if line is None:
                shown = str(escape(shown)) if url is not None else shown
                line = quoted(shown)
            html.append(shown)
            lines.append(line)
        return any(urls)

    def _printed(self, values: Mapping[str, object]) -> "_Printed":
        html: list[str] = []
        lines: list[bytes] = []
        plain: list[str | None] = []
        for value in self.frame.values(values):
            shown, line, words = _remembered(value) if _is_short(value) else _written(value)
            html.append(shown)
            lines.append(line)
            plain.append(words)
        return _Printed(html, lines, plain)

    def _text(self, printed: "_Printed") -> Encoded:
        body = self.derived
        strings, lines = printed.html, printed.lines
        # Nearly always a value is the same in HTML and in text. (Behind the values stand the links.)
        if printed.plain != strings[: len(printed.plain)]:
            strings, lines = strings.copy(), lines.copy()
            for slot in body.slots:
                string = printed.plain[slot]
                if string is None:
                    return self._walked(printed.html)
                if string != strings[slot]:
                    strings[slot], lines[slot] = string, quoted(string)
        if self.openings and not all(opening.holds(strings) for opening in self.openings):
            return self._walked(printed.html)
        return Encoded(body.encoding, body.lines(strings, lines), blank=body.blank(strings))

    def _walked(self, html: Sequence[str]) -> Encoded:
        """Make the text from the finished HTML, where a value's white space plays with what stands around it."""
        original = "".join([piece if isinstance(piece, str) else html[piece] for piece in self.original])
        whole = Body([text.from_html(original or self.html.text(html))])
        return Encoded(whole.encoding, whole.lines((), ()), blank=whole.blank(()))


class _Printed(NamedTuple):
    """Each slot as HTML, as encoded HTML, and as text; None where its text depends on what stands around it."""

    html: list[str]
    lines: list[bytes]
    plain: list[str | None]


def _is_short(value: object) -> TypeGuard[str]:
    return type(value) is str and len(value) < _REMEMBERED


def _written(value: object) -> tuple[str, bytes, str | None]:
    """Return a value as `_Printed` holds it."""
    if isinstance(value, Markup):
        shown = clean(str(value))
        return shown, quoted(shown), _lines(shown)
    return _of_text(value if type(value) is str or type(value) is Ours else _string(value))


def _of_text(string: str) -> tuple[str, bytes, str | None]:
    line = link_lines(string) if len(string) >= _REMEMBERED else None
    line = line or plain_line(string)
    if line is not None:
        return string, line, string
    string = clean(string)
    shown = str(escape(string))
    return shown, quoted(shown), _words(string)


#: Names, plans and cities come again and again.
_remembered = lru_cache(maxsize=4096)(_of_text)


def _string(value: object) -> str:
    if value is None:
        return ""
    return clean(value if type(value) is str else str(value))


def _words(string: str) -> str | None:
    """Return a value as a browser would show it, or None where that depends on what stands around it."""
    shown = string if string.isascii() else string.translate(text.UNSEEN)
    return shown if _TAME.fullmatch(shown) else None


def _lines(markup: str) -> str | None:
    """Return the text of escaped markup with <br>, or None where the walk must say it."""
    if _NOT_BREAK.search(markup):
        return None
    shown = unescape(markup.replace("<br>", "\n")).translate(text.UNSEEN)
    return shown if _TAME_LINES.fullmatch(shown) else None
