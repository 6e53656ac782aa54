"""What a mail could do better, though it may be sent as it is: a look at what was rendered."""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser

#: Gmail cuts a longer HTML part, and with it the way out in its footer (R3.11).
CLIPPED = 102 * 1024
#: What the lists of mail programs show of a subject at most.
_SUBJECT = 78


class Kind(StrEnum):
    """What was remarked."""

    CLIPPED = "clipped"
    LONG_SUBJECT = "long_subject"
    #: A picture that says nothing to whoever does not see it.
    NO_ALT = "no_alt"
    #: Links that are not https.
    PLAIN_HTTP = "plain_http"
    #: Nobody wrote a text part: it is made from the HTML.
    MADE_TEXT = "made_text"
    #: Nobody wrote an HTML part.
    NO_HTML = "no_html"


class Remark(NamedTuple):
    """One remark, and how much of it: KB, characters, pictures, links; 0 where it is just so."""

    kind: Kind
    amount: int = 0


def remarks(subject: str, html: str | None, *, written_text: bool) -> list[Remark]:
    """Return what a mail could do better, as its reader gets it."""
    return list(_remarks(subject, html, written_text))


def _remarks(subject: str, html: str | None, written_text: bool) -> Iterator[Remark]:
    if len(subject) > _SUBJECT:
        yield Remark(Kind.LONG_SUBJECT, len(subject))
    if html is None:
        yield Remark(Kind.NO_HTML)
        return
    if (size := len(html.encode("utf-8", "replace"))) > CLIPPED:
        yield Remark(Kind.CLIPPED, size // 1024)
    page = LexborHTMLParser(html)
    if silent := sum("alt" not in image.attributes for image in page.css("img")):
        yield Remark(Kind.NO_ALT, silent)
    links = [(link.attributes.get("href") or "").strip().lower() for link in page.css("a[href]")]
    if plain := sum(link.startswith("http://") for link in links):
        yield Remark(Kind.PLAIN_HTTP, plain)
    if not written_text:
        yield Remark(Kind.MADE_TEXT)
