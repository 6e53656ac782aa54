"""What a benchmark sends: one promotional template of a given size, and readers who do not exist."""

from collections.abc import Iterator
from enum import StrEnum
from itertools import cycle

from mailer.drafts import Draft, TemplateDraft, parse
from suppression.rules import Stream

TEMPLATE = "bench"
DOMAIN = "ringwise.example"
FROM = f"Ringwise <news@{DOMAIN}>"
POSTAL_ADDRESS = "Ringwise Ltd, 12 Bell Lane, Kyiv 01001, Ukraine"
PUBLIC_URL = "https://mail.bench.example"
TOPIC = "newsletter"

_NAMES = ("Ann Meyer", "Paul Weber", "Inês Carvalho", "Marek Nowak", "Lena Berg", "Ганна Мельник", "Tom Hill")
_PLANS = ("Starter", "Team", "Business")
_CITIES = ("Kyiv", "Lisbon", "Kraków", "Berlin", "Galway")
_DOMAINS = 50

_TOP = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ subject }}</title>
<style>.button { color: #ffffff; background: #0a6b5c; }</style></head>
<body>
<h1>Good news for {{ city }}, {{ name }}</h1>
<p>Your plan {{ plan }} now answers calls in two languages. <a href="https://ringwise.example/offers/march">See how
it works</a>, or use the code <strong>{{ code }}</strong> until the end of the month.</p>
"""
# As mail programs want it, most of the HTML is tables and styles: its text is about a third of it.
_ROW = """<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0"><tr><td align="left"
 style="padding: 0 40px 16px; font-family: -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif;
 font-size: 16px; line-height: 25px; font-weight: normal; color: #22292c; background-color: #ffffff; text-align: left;">
"""
_PARAGRAPHS = (
    "After four minutes of waiting, half of all callers hang up. There is a better moment to offer a call back.",
    "A small firm routes Polish and German callers with three people, no night shift, and one shared queue.",
    "Support leads told us what they say first to somebody who was passed on three times already. It is short.",
)
_ROW_END = "\n</td></tr></table>\n"
_BOTTOM = """<p><a class="button" href="https://ringwise.example/upgrade?plan=next">Change the plan {{ plan }}</a></p>
<p>You get this letter because {{ recipient.email }} is subscribed to our newsletter.
<a href="{{ links.unsubscribe }}">Unsubscribe</a> <a href="{{ links.preferences }}">Choose what you receive</a>
<a href="{{ links.view }}">View in browser</a></p>
<p>{{ sender.postal_address }}</p>
</body></html>
"""


#: Octets of a promotional mail's headers and signed links, and what its text part and its encoding add to each octet
#: of HTML.
_HEADERS = 2800
_WITH_TEXT = 1.4


class Size(StrEnum):
    """How large a mail is on the wire, about."""

    SMALL = "4k"
    LARGE = "30k"

    @property
    def bytes(self) -> int:
        """Return the size as `smtp-source -l` is told it."""
        return int(self.removesuffix("k")) * 1000


def template(size: Size) -> TemplateDraft:
    """Return the template whose mail has about this size; each reader's text is made from its HTML."""
    wanted = (size.bytes - _HEADERS) / _WITH_TEXT
    html, rows = _TOP, cycle(_ROW + paragraph + _ROW_END for paragraph in _PARAGRAPHS)
    while len(html) + len(_BOTTOM) < wanted - len(_ROW) // 2:
        html += next(rows)
    words = {"type": "string"}
    return parse(
        TemplateDraft,
        {
            "name": TEMPLATE,
            "stream": Stream.PROMOTIONAL.value,
            "topic": TOPIC,
            "urgency": "bulk",
            "variables": {
                "name": {**words, "example": "Ann"},
                "plan": {**words, "example": "Team"},
                "city": {**words, "example": "Kyiv"},
                "code": {**words, "example": "RING-1"},
            },
            "parts": {"en": {"subject": "{{ name }}, what is new in {{ city }}", "html": html + _BOTTOM}},
        },
    )


def address(number: int) -> str:
    """Return the address of a reader, at one of many domains that cannot exist (RFC 2606)."""
    return f"reader-{number}@mail-{number % _DOMAINS}.example"


def drafts(first: int, last: int) -> Iterator[Draft]:
    """Return the requests for the readers from `first` up to, but without, `last`: no two are alike."""
    for number in range(first, last):
        name = _NAMES[number % len(_NAMES)]
        yield parse(
            Draft,
            {
                "stream": Stream.PROMOTIONAL.value,
                "to": {"email": address(number), "name": name},
                "template": TEMPLATE,
                "variables": {
                    "name": name.partition(" ")[0],
                    "plan": _PLANS[number % len(_PLANS)],
                    "city": _CITIES[number % len(_CITIES)],
                    "code": f"RING-{number:07}",
                },
                "tags": {"source": "bench"},
            },
        )
