"""Frames with open slots, and what becomes of them with the values of several recipients at once.

Values go slot by slot through all mails: most of what the interpreter does for a step is done once for all of them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import unescape
from typing import NamedTuple, TypeGuard

from markupsafe import Markup, escape

from mailer.compose import text
from mailer.compose.clicks import Clicked, Pieces, Tracked
from mailer.compose.encoding import Body, Columns, clean, link_lines, plain_line, quoted, rows
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

    def columns(self, mails: Sequence[Mapping[str, object]]) -> list[Sequence[object]]:
        """Return the value of each slot in each mail."""
        found: list[Sequence[object]] = [()] * self.count
        for index, name, rest in self.paths:
            column = [values.get(name) for values in mails]
            for inner in rest:
                # Asking the abstract type takes longer than looking the value up.
                column = [
                    value.get(inner) if type(value) is dict or isinstance(value, Mapping) else None for value in column
                ]
            found[index] = column
        if self.expressions and self.sandbox is not None:
            asked = [expression for _, expression in self.expressions]
            worked_out = [self.sandbox.evaluate(asked, values) for values in mails]
            for (index, _), of_all in zip(self.expressions, zip(*worked_out, strict=True), strict=True):
                found[index] = of_all
        return found


@dataclass(frozen=True, slots=True)
class Opening:
    """A link whose spelling in the text part depends on its values."""

    label: Sequence[str | int]
    url: Sequence[str | int]
    same: bool

    def holds(self, values: Columns[str], mails: int) -> list[bool]:
        """Return of each mail whether the link looks as it did when the frame was made."""
        labels, urls = (["".join(row) for row in rows(pieces, values, mails)] for pieces in (self.label, self.url))
        return [
            bool(text.link_target(url, "")) and text.same_link(label, url) == self.same
            for label, url in zip(labels, urls, strict=True)
        ]


class Encoded(NamedTuple):
    """One part of a mail, ready for the wire."""

    encoding: str
    lines: bytes
    #: A reader would see nothing.
    blank: bool = False
    #: At least one link leads by way of us.
    clicked: bool = False


@dataclass(frozen=True, slots=True)
class FramedText:
    """A frame of plain text: values are printed as they are."""

    frame: Frame
    body: Body

    def texts(self, mails: Sequence[Mapping[str, object]]) -> list[str]:
        """Return the text of each mail."""
        return self.body.texts(self._strings(mails), len(mails))

    def fill(self, mails: Sequence[Mapping[str, object]]) -> list[Encoded]:
        """Return the encoded text of each mail."""
        strings = self._strings(mails)
        return _encoded(self.body, strings, [[quoted(string) for string in column] for column in strings], len(mails))

    def _strings(self, mails: Sequence[Mapping[str, object]]) -> list[list[str]]:
        return [[_string(value) for value in column] for column in self.frame.columns(mails)]


def _encoded(body: Body, strings: Columns[str], lines: Columns[bytes], mails: int) -> list[Encoded]:
    return [
        Encoded(body.encoding, each, blank=blank)
        for each, blank in zip(body.lines(strings, lines, mails), body.blanks(strings, mails), strict=True)
    ]


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
        """Return the HTML of one mail as a string."""
        return self.html.texts(self._printed([values]).html, 1)[0]

    def fill(
        self, mails: Sequence[Mapping[str, object]], *, derive: bool = True, clicked: Clicked | None = None
    ) -> tuple[list[Encoded], list[Encoded] | None]:
        """Return the encoded HTML of each mail and, where it is wanted, the text made from it.

        The text has links as they were written (R7.6).
        """
        printed, number = self._printed(mails), len(mails)
        rewritten = self._link(printed, clicked) if clicked is not None and self.links else [False] * number
        lines = self.html.lines(printed.html, printed.lines, number)
        html = [
            Encoded(self.html.encoding, each, clicked=leads_by_us)
            for each, leads_by_us in zip(lines, rewritten, strict=True)
        ]
        return html, self._text(printed, number) if derive else None

    def _link(self, printed: "_Printed", clicked: Clicked) -> list[bool]:
        """Put into the slots of links what stands there in each mail; return in which mails any is rewritten."""
        number = len(clicked.said)
        wanted = list(zip(*[tracked.of(printed.html, number) for tracked in self.links], strict=True))
        signed = clicked.sign(
            [
                (said, [link for link in links if link is not None])
                for said, links in zip(clicked.said, wanted, strict=True)
            ]
        )
        urls = [
            [next(own) if link is not None else None for link in links]
            for own, links in zip(map(iter, signed), wanted, strict=True)
        ]
        for tracked, column in zip(self.links, zip(*urls, strict=True), strict=True):
            originals = tracked.originals(printed.html, number) if None in column else column
            written = [_address(url, original) for url, original in zip(column, originals, strict=True)]
            printed.html.append([shown for shown, _ in written])
            printed.lines.append([lines for _, lines in written])
        return [any(own) for own in urls]

    def _printed(self, mails: Sequence[Mapping[str, object]]) -> "_Printed":
        html: list[Sequence[str]] = []
        lines: list[Sequence[bytes]] = []
        plain: list[Sequence[str | None]] = []
        for column in self.frame.columns(mails):
            if _are_ours(column):
                html.append(column)
                lines.append([link_lines(url) or quoted(url) for url in column])
                plain.append(column)
                continue
            written = [_remembered(value) if _is_short(value) else _written(value) for value in column]
            html.append([shown for shown, _, _ in written])
            lines.append([line for _, line, _ in written])
            plain.append([words for _, _, words in written])
        return _Printed(html, lines, plain)

    def _text(self, printed: "_Printed", mails: int) -> list[Encoded]:
        """Return the text of each mail: as the frame's was made, or from the finished HTML where that is not so."""
        body, walked = self.derived, set[int]()
        strings, lines = printed.html, printed.lines
        # Nearly always a value is the same in HTML and in text. (Behind the values stand the links.)
        if printed.plain != strings[: len(printed.plain)]:
            strings, lines = strings.copy(), lines.copy()
            for slot in body.slots:
                words = printed.plain[slot]
                walked.update([mail for mail, word in enumerate(words) if word is None])
                written = list(zip(strings[slot], lines[slot], words, strict=True))
                strings[slot] = [word or "" for word in words]
                lines[slot] = [line if word == shown else quoted(word or "") for shown, line, word in written]
        for opening in self.openings:
            walked.update([mail for mail, holds in enumerate(opening.holds(strings, mails)) if not holds])
        made = _encoded(body, strings, lines, mails)
        for mail in walked:
            made[mail] = self._walked([column[mail : mail + 1] for column in printed.html])
        return made

    def _walked(self, html: Columns[str]) -> Encoded:
        """Make the text of one mail from its HTML, where a value's white space plays with what stands around it."""
        (original,) = rows(self.original, html, 1)
        shown = "".join(original) or self.html.texts(html, 1)[0]
        return _encoded(Body([text.from_html(shown)]), (), (), 1)[0]


class _Printed(NamedTuple):
    """Each slot as HTML, as encoded HTML, and as text, by mail; None: its text depends on what stands around it."""

    html: list[Sequence[str]]
    lines: list[Sequence[bytes]]
    plain: list[Sequence[str | None]]


def _address(url: str | None, original: str | None) -> tuple[str, bytes]:
    """Return what stands in the slot of a link, and its lines."""
    shown = original or "" if url is None else url
    if (line := link_lines(shown)) is not None:
        return shown, line
    if url is not None:
        shown = str(escape(shown))
    return shown, quoted(shown)


def _are_ours(column: Sequence[object]) -> TypeGuard[Sequence[Ours]]:
    return set(map(type, column)) == {Ours}


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
