"""Finished HTML: styles inlined, the place before </body> found, the footer that every promotional mail has."""

import re
from dataclasses import dataclass

import css_inline
from markupsafe import escape
from selectolax.lexbor import LexborHTMLParser

from mailer.compose.errors import ContentError

# Remote style sheets would be requests in the name of whoever wrote the template (R10.6).
_INLINER = css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=True)
_BODY_END = re.compile(
    r"<!--.*?(?:--!?>|$)"
    r"|<(?P<raw>style|script|title|textarea|xmp|iframe|noembed|noframes)\b.*?(?:</(?P=raw)\s*>|$)"
    r"|(?P<body></body(?:[\s/][^>]*+)?+(?:>|\Z))"
    # Nothing is tried twice: a tag without its end reaches to the end, else this would be quadratic.
    r"|<[a-z](?:=\s*+\"[^\"]*+\"|=\s*+'[^']*+'|[^>])*+(?:>|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_BODY_TAG = re.compile(r"<body[\s/>]", re.IGNORECASE)
_DOCTYPE = re.compile(r"\s*<!doctype[^>]*>", re.IGNORECASE)
_ATTRIBUTE_SELECTOR = re.compile(r"\[\s*([a-zA-Z-]+)")


def inline(html: str) -> str:
    """Move style sheets into style attributes; @media and the like stay; nothing is ever fetched."""
    if "<style" not in html.lower():
        return html
    try:
        return _INLINER.inline(html)
    except (css_inline.InlineError, ValueError) as error:
        raise ContentError(f"The style sheet cannot be inlined: {error}.") from error


def body_end(html: str) -> int:
    """Return where the last real </body> begins, not one in a comment or a style; else the end."""
    end = len(html)
    for found in _BODY_END.finditer(html):
        if found["body"]:
            end = found.start()
    return end


def insert(html: str, addition: str) -> str:
    """Put markup before the last real </body>, else at the end (R6.5)."""
    end = body_end(html)
    return html[:end] + addition + html[end:]


def insert_first(html: str, addition: str) -> str:
    """Put markup after the first real <body>, else at the start, where nothing left open can swallow it."""
    start = _DOCTYPE.match(html)
    place = start.end() if start else 0
    for found in _BODY_END.finditer(html):
        if _BODY_TAG.match(found[0]):
            place = found.end()
            break
    return html[:place] + addition + html[place:]


def styled(html: str) -> str:
    """Return the HTML with what its style sheets hide said in attributes; as it is where they cannot be read."""
    try:
        return inline(html)
    except ContentError:
        return html


def pixel(url: str) -> str:
    """Return the image whose fetching tells of an opening."""
    return f'<img src="{escape(url)}" width="1" height="1" alt="" style="border:0;width:1px;height:1px">'


def decisive(html: str, prefix: str) -> set[str]:
    """Return the sentinels on which styles and structure depend: what stands there must be known first."""
    sentinel = re.compile(prefix + r"\d+z")
    tree = LexborHTMLParser(html)
    styles = "".join(node.text() for node in tree.css("style, script"))
    watched = {"class", "id", "style"} | {name.lower() for name in _ATTRIBUTE_SELECTOR.findall(styles)}
    found = set(sentinel.findall(styles))
    for node in tree.css("*"):
        found.update(sentinel.findall(node.tag or ""))
        for name, value in node.attributes.items():
            found.update(sentinel.findall(name))
            if value and name in watched:
                found.update(sentinel.findall(value))
    # Without quotes a value with a space would end the attribute.
    for bare in re.findall(rf"""\s[\w:-]+=[^"'\s>]*{prefix}\d+z""", html):
        found.update(sentinel.findall(bare))
    return found


@dataclass(frozen=True, slots=True)
class Footer:
    """What a mail that can be left must show; each is given as it is to be printed."""

    locale: str
    unsubscribe: str
    preferences: str
    view: str
    address: str

    def html(self) -> str:
        """Return the footer as markup."""
        labels = _LABELS.get(self.locale.partition("-")[0], _LABELS["en"])
        urls = (self.unsubscribe, self.preferences, self.view)
        links = [
            f'<a href="{escape(url)}" style="color:#5b6265">{escape(label)}</a>'
            for label, url in zip(labels, urls, strict=True)
            if url
        ]
        lines = [" &nbsp;·&nbsp; ".join(links)] if links else []
        if self.address:
            lines.append("<br>".join(str(escape(line.strip())) for line in self.address.splitlines()))
        style = "margin:24px auto 0;padding:12px;max-width:600px;font:13px/20px sans-serif;color:#5b6265"
        return "".join(
            [f'<div style="{style}">', *(f'<p style="margin:0 0 8px">{line}</p>' for line in lines), "</div>"]
        )

    def text(self) -> str:
        """Return the footer as text."""
        labels = _LABELS.get(self.locale.partition("-")[0], _LABELS["en"])
        urls = (self.unsubscribe, self.preferences, self.view)
        lines = [f"{label}: {url}" for label, url in zip(labels, urls, strict=True) if url]
        if self.address:
            lines += ["", *(line.strip() for line in self.address.splitlines())]
        return "\n".join(lines).strip("\n") + "\n"


_LABELS = {
    "en": ("Unsubscribe", "Choose what you receive", "View in browser"),
    "uk": ("Відписатися", "Обрати, що отримувати", "Відкрити в браузері"),
}
