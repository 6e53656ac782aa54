"""HTML to text: what a reader without HTML gets, links spelled out (R3.6)."""

import re
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

_SPACE = re.compile(r"[ \t\n\r\f]+")
_LINE_END = re.compile(r"[ \t]+(?=\n|$)")
_MANY_LINES = re.compile(r"\n{3,}")
#: Links whose address makes sense outside the mail.
SHOWN_SCHEMES = ("http://", "https://", "mailto:", "tel:")

_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
UNSEEN = str.maketrans(dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f", "")) | {0xA0: " ", 0x202F: " "}

_SKIPPED = frozenset({"script", "style", "head", "title", "template", "noscript", "object", "iframe", "svg", "map"})
#: What a browser shows as source, as a field of a form, only after a click, or not at all.
_NOT_READ = _SKIPPED | {
    *("textarea", "select", "datalist", "xmp", "plaintext", "noembed", "noframes", "frameset"),
    *("audio", "video", "canvas", "math", "dialog", "details"),
}
#: How many line ends stand before and after: one makes a line, two a paragraph.
_GAPS = {
    **dict.fromkeys(("p", "ul", "ol", "dl", "blockquote", "pre", "table", "h1", "h2", "h3", "h4", "h5", "h6"), 2),
    **dict.fromkeys(("figure", "hr", "fieldset"), 2),
    **dict.fromkeys(("div", "section", "article", "header", "footer", "main", "nav", "aside", "center"), 1),
    **dict.fromkeys(("li", "tr", "dt", "dd", "address", "figcaption", "form", "caption", "option", "body"), 1),
}


class _Writer:
    """Collects text, with the gaps that blocks ask for and never more."""

    def __init__(self, slot: str, skipped: frozenset[str] = _SKIPPED) -> None:
        self.slot = slot
        self.skipped = skipped
        self.open_links: list[tuple[str, str]] = []
        self.parts: list[str] = []
        self._gap = 0
        self._space = False
        self._broken = False
        self._glue = ""
        self._prefix = ""
        self.indent = 0
        self.raw = 0

    def write(self, text: str) -> None:
        """Write words; white space collapses as in a browser."""
        words = text if self.raw else _SPACE.sub(" ", text)
        if not words.strip(" \n"):
            self._space = self._space or bool(words)
            return
        before = self._space or words[0] == " "
        if self._gap and self.parts:
            # A line after <br> is not indented: a value with line ends looks the same wherever it stands.
            indent = 0 if self._broken else max(0, self.indent - bool(self._prefix))
            self.parts.append("\n" * min(self._gap, 2) + "  " * indent)
        elif self._glue and self.parts:
            self.parts.append(self._glue)
        elif before and self.parts and not self._prefix:
            self.parts.append(" ")
        self.parts.append(self._prefix + words.strip(" "))
        self._gap, self._glue, self._prefix, self._broken = 0, "", "", False
        self._space = words[-1] == " "

    def gap(self, lines: int) -> None:
        """Begin a new line or paragraph before the next word."""
        self._gap = max(self._gap, lines)
        self._broken = False
        self._space = False

    def line(self) -> None:
        """Break the line, as <br> does."""
        self._gap += 1
        self._broken = True
        self._space = False

    def glue(self, between: str) -> None:
        """Separate cells of a row that stand on one line."""
        if not self._gap:
            self._glue = between

    def prefix(self, mark: str) -> None:
        """Begin the next word with the mark of a list item."""
        self._prefix = mark


class Walked(NamedTuple):
    """The text of some HTML, and its links (label, address) that hold slots."""

    text: str
    open_links: list[tuple[str, str]]


def from_html(html: str) -> str:
    """Return the text of a mail; ends with one line end unless it is empty."""
    return walk(html, "").text


def walk(html: str, slot: str) -> Walked:
    """Return the text of HTML whose slots are sentinels that begin with this prefix."""
    writer = _Writer(slot)
    root = LexborHTMLParser(html).root
    if root is not None:
        _children(root, writer)
    text = "".join(writer.parts).translate(UNSEEN)
    text = _MANY_LINES.sub("\n\n", _LINE_END.sub("", text)).strip("\n ")
    return Walked(text + "\n" if text else "", writer.open_links)


def seen(html: str, slot: str) -> str:
    """Return the text and the links that a reader of the HTML surely sees, whatever its writer left open or hid."""
    writer = _Writer(slot, _NOT_READ)
    root = LexborHTMLParser(html).root
    if root is not None:
        _element(root, "html", writer)
    return "".join(writer.parts).translate(UNSEEN)


def _children(node: LexborNode, writer: _Writer) -> None:
    child = node.first_child
    while child is not None:
        tag = child.tag
        if tag == "-text":
            writer.write(child.text_content or "")
        elif tag is not None and tag[0] not in "-_" and tag not in writer.skipped:
            _element(child, tag, writer)
        child = child.next


def _element(node: LexborNode, tag: str, writer: _Writer) -> None:
    attributes = node.attributes
    if "hidden" in attributes or _HIDDEN_STYLE.search(attributes.get("style") or ""):
        return
    gap = _GAPS.get(tag, 0) if writer.indent == 0 else min(1, _GAPS.get(tag, 0))
    if gap:
        writer.gap(gap)
    special = _SPECIAL.get(tag)
    if special is None:
        _children(node, writer)
    else:
        special(node, attributes, writer)
    if gap:
        writer.gap(gap)


def _link(node: LexborNode, attributes: dict[str, str | None], writer: _Writer) -> None:
    start = len(writer.parts)
    _children(node, writer)
    label = _SPACE.sub(" ", "".join(writer.parts[start:])).strip()
    url = link_target(attributes.get("href") or "", writer.slot)
    if writer.slot and label and (writer.slot in url or writer.slot in label):
        writer.open_links.append((label, url))
    if label and url and not same_link(label, url):
        writer.write(f" ({url})")


def link_target(href: str, slot: str) -> str:
    """Return the address that a reader of text is shown: of http, https, mailto and tel links."""
    url = href.strip()
    shown = url[:8].lower().startswith(SHOWN_SCHEMES) or (slot and url.startswith(slot))
    return url if shown else ""


def same_link(label: str, url: str) -> bool:
    """Return whether the label says the address already."""
    for scheme in ("mailto:", "tel:"):
        if url[: len(scheme)].lower() == scheme:
            return label == url or label == url[len(scheme) :]
    return label in (url, url.rstrip("/")) or url in (f"https://{label}", f"http://{label}")


def _image(node: LexborNode, attributes: dict[str, str | None], writer: _Writer) -> None:
    writer.write(attributes.get("alt") or "")


def _break(node: LexborNode, attributes: dict[str, str | None], writer: _Writer) -> None:
    writer.line()


def _rule(node: LexborNode, attributes: dict[str, str | None], writer: _Writer) -> None:
    writer.write("---")


def _list(node: LexborNode, attributes: dict[str, str | None], writer: _Writer) -> None:
    number = 0
    writer.indent += 1
    child = node.first_child
    while child is not None:
        if child.tag == "li":
            number += 1
            writer.gap(1)
            writer.prefix(f"{number}. " if node.tag == "ol" else "- ")
            _element(child, "li", writer)
            writer.prefix("")
        elif child.tag in _GAPS:
            _element(child, child.tag, writer)
        child = child.next
    writer.indent -= 1


def _row(node: LexborNode, attributes: dict[str, str | None], writer: _Writer) -> None:
    before = ""
    child = node.first_child
    while child is not None:
        tag = child.tag
        if tag in ("td", "th"):
            if before:
                writer.glue(": " if before == "th" and tag == "td" else " | ")
            _element(child, tag, writer)
            before = tag
        child = child.next


def _preformatted(node: LexborNode, attributes: dict[str, str | None], writer: _Writer) -> None:
    writer.raw += 1
    _children(node, writer)
    writer.raw -= 1


_SPECIAL = {
    "a": _link,
    "area": _link,
    "img": _image,
    "br": _break,
    "hr": _rule,
    "ul": _list,
    "ol": _list,
    "tr": _row,
    "pre": _preformatted,
    "textarea": _preformatted,
}
