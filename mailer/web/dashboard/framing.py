"""A mail in a frame of its own that runs nothing, leads nowhere and knows nothing of the page around it."""

import re
from collections.abc import Mapping
from enum import StrEnum

from starlette.responses import Response

from mailer.web.inbox import framed


class Scheme(StrEnum):
    """Which colours a mail program shows."""

    LIGHT = "light"
    DARK = "dark"


def _headers(pictures: str) -> Mapping[str, str]:
    """Return what shuts a frame off: no script runs, no form goes, no link leads away, our origin is out of reach."""
    return {
        "X-Content-Type-Options": "nosniff",
        "X-Robots-Tag": "noindex, nofollow",
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "Content-Security-Policy": f"default-src 'none'; img-src {pictures}; style-src 'unsafe-inline';"
        " form-action 'none'; base-uri 'none'; sandbox; frame-ancestors 'self'",
    }


#: A template should have no others; a mail that was sent may have any, as in a mail program.
_OF_TEMPLATE, _OF_MAIL = _headers("data: https:"), _headers("data: http: https:")
_STYLE = re.compile(r"(<style\b[^>]*>)(.*?)(</style\s*>)", re.IGNORECASE | re.DOTALL)
_ASKED = re.compile(r"\(\s*prefers-color-scheme\s*:\s*(light|dark)\s*\)", re.IGNORECASE)
_BOTH = re.compile(r"(?<![\w-])color-scheme\s*:\s*(?:light\s+dark|dark\s+light)", re.IGNORECASE)
_META = re.compile(r'(<meta\s+name="(?:supported-)?color-schemes?"\s+content=")[^"]*(")', re.IGNORECASE)
#: What every screen answers with yes, and with no.
_YES, _NO = "(min-width: 0px)", "(max-width: 0px)"


def coloured(html: str, scheme: Scheme) -> str:
    """Return a mail as it looks where this scheme is preferred, in every browser: its own rules are answered here."""

    def answered(asked: re.Match[str]) -> str:
        return _YES if asked[1].lower() == scheme else _NO

    def styled(style: re.Match[str]) -> str:
        rules = _BOTH.sub(f"color-scheme: {scheme}", _ASKED.sub(answered, style[2]))
        return style[1] + rules + style[3]

    return _META.sub(rf"\g<1>{scheme}\g<2>", _STYLE.sub(styled, html))


def template(html: str, scheme: Scheme) -> Response:
    """Return the HTML of a template as the content of a frame, in light or in dark whatever the screen prefers."""
    return Response(coloured(html, scheme), media_type="text/html", headers=_OF_TEMPLATE)


def mail(html: str) -> Response:
    """Return the HTML of a mail that was sent as the content of a frame."""
    return Response(framed(html), media_type="text/html", headers=_OF_MAIL)
