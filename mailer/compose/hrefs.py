"""Where in HTML the addresses of its links stand: spans, so that nothing else of the mail need change (R7.4)."""

import re
from collections.abc import Iterator
from html import unescape
from html.entities import html5
from typing import NamedTuple

# White space of HTML; \s knows more.
_WS = r"[\t\n\f\r ]"


# The attribute states of the HTML standard's tokenizer (13.2.5.32 to 13.2.5.39): quotes count only after "=", a name
# may begin with "=" and hold quotes, an unquoted value ends at white space or ">" alone. Nothing is tried twice.
def _attribute(group: str) -> str:
    """Return the pattern of one attribute; `group` begins its name and each way to write its value."""
    name = rf"{group}=?+[^\t\n\f\r />=]++|=)"
    quoted = rf"\"{group}[^\"]*+)(?:\"|\Z)|'{group}[^']*+)(?:'|\Z)"
    bare = rf"{group}[^\t\n\f\r >\"'][^\t\n\f\r >]*+)?+"
    return rf"[\t\n\f\r /]*+{name}(?:{_WS}*+={_WS}*+(?:{quoted}|{bare}))?+"


_ATTRIBUTES = re.compile(_attribute("("))
_MARKUP = re.compile(
    # Conditional comments of Outlook are comments too: what they show to others stands between two of them.
    r"(?P<comment><!--(?:-?>|.*?(?:--!?>|\Z)))"
    r"|<!\[CDATA\[.*?(?:\]\]>|\Z)"
    r"|<[!?][^>]*+>?"
    r"|</[^a-zA-Z>][^>]*+>?|</>"
    r"|<(?P<end>/?)(?P<tag>[a-zA-Z][^\t\n\f\r />]*+)"
    rf"(?P<attributes>(?:{_attribute('(?:')})*+)[\t\n\f\r /]*+(?P<close>>?)",
    re.DOTALL,
)
#: What stands in these is text up to their end tag, whatever it looks like.
_RAW = frozenset({"style", "script", "title", "textarea", "xmp", "iframe", "noembed", "noframes"})
_RAW_ENDS = {tag: re.compile(rf"</{tag}(?=[\t\n\f\r />])", re.IGNORECASE) for tag in _RAW}
#: An anchor that carries one of these stays as it is.
_FREE = frozenset({"data-no-track", "data-notrack"})

_REFERENCE = re.compile(r"&(?:#(?:[xX]([0-9a-fA-F]+)|([0-9]+));?|([a-zA-Z][a-zA-Z0-9]*)(;?)(?=(=?)))")


class Href(NamedTuple):
    """The address of one link: html[start:end] is its value as it is written, between quotes or without."""

    start: int
    end: int
    #: The value as a browser reads it.
    value: str
    #: The markup between the link and its end, without tags.
    text: str
    #: It carries data-no-track.
    free: bool


class _Tag(NamedTuple):
    """A tag and the text before it, as positions."""

    name: str
    closing: bool
    attributes: tuple[int, int]
    text: tuple[int, int]


def hrefs(html: str) -> list[Href]:
    """Return the addresses of all <a> and <area> of some HTML in their order; linear, whatever it is fed."""
    found: list[Href] = []
    texts: list[list[str]] = []
    open_text: list[str] | None = None
    for tag in _tags(html):
        if open_text is not None:
            open_text.append(html[slice(*tag.text)])
        if tag.name not in ("a", "area"):
            continue
        if tag.name == "a":
            open_text = None
        if not tag.closing and (href := _href(html, *tag.attributes)) is not None:
            found.append(href)
            texts.append([])
            open_text = texts[-1] if tag.name == "a" else open_text
    return [href._replace(text="".join(text)) for href, text in zip(found, texts, strict=True)]


def _tags(html: str) -> Iterator[_Tag]:
    """Yield the tags outside of comments and raw text, ends of the document as a tag without name."""
    position = text_from = 0
    while (start := html.find("<", position)) >= 0:
        markup = _MARKUP.match(html, start)
        if markup is None:
            # A lone "<" is text.
            position = start + 1
            continue
        position = markup.end()
        name = (markup["tag"] or "").lower()
        if not name:
            yield _Tag("", False, (0, 0), (text_from, start))
            text_from = position
            continue
        if not markup["close"]:
            # The document ends within the tag, which then is none.
            return
        yield _Tag(name, bool(markup["end"]), markup.span("attributes"), (text_from, start))
        if name == "plaintext":
            return
        if name in _RAW and not markup["end"]:
            position = _behind(html, name, position)
            if position < 0:
                return
        text_from = position
    yield _Tag("", False, (0, 0), (text_from, len(html)))


def _behind(html: str, name: str, start: int) -> int:
    """Return where raw text ends; -1 where it has no end, or one that only a reader of scripts could tell."""
    end = _RAW_ENDS[name].search(html, start)
    if end is None or (name == "script" and html.find("<!--", start, end.start()) >= 0):
        return -1
    return end.start()


def _href(html: str, start: int, end: int) -> Href | None:
    href: tuple[int, int] | None = None
    seen = free = False
    for attribute in _ATTRIBUTES.finditer(html, start, end):
        name = attribute[1].lower()
        free = free or name in _FREE
        if name == "href" and not seen:
            # The first of several counts.
            seen = True
            group = next((group for group in (2, 3, 4) if attribute[group] is not None), None)
            href = attribute.span(group) if group else None
    return Href(*href, attribute_value(html[slice(*href)]), "", free) if href else None


def attribute_value(written: str) -> str:
    """Return the value that an attribute has as browsers read it: `&amp;` is decoded, `&copy=` is not (R7.5)."""
    return _REFERENCE.sub(_referred, written) if "&" in written else written


def _referred(found: re.Match[str]) -> str:
    hexadecimal, decimal, name, semicolon, equals = found.groups()
    if name is None:
        # Python knows which numbers the standard replaces; an end of ours keeps what follows apart.
        number = f"x{hexadecimal}" if hexadecimal is not None else decimal
        return unescape(f"&#{number};") if len(number) < 12 else "\ufffd"
    if semicolon and f"{name};" in html5:
        return html5[f"{name};"]
    # Without semicolon a name counts only where neither "=" nor a letter or digit follows: nothing is left of it.
    if not semicolon and not equals and name in html5:
        return html5[name]
    if semicolon:
        return found[0] if name not in html5 else f"{html5[name]};"
    return found[0]


def shown(text: str) -> str:
    """Return the words of a link as they are read, white space squeezed."""
    return " ".join(unescape(text).split())
