"""Mail inside a page: in a frame of its own that runs nothing, leads nowhere and knows nothing of the page."""

from starlette.responses import Response

from mailer.web.inbox import framed

#: Pictures come from where the mail has them, as in a mail program; links lead nowhere, for nobody reads it as theirs.
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; img-src data: http: https:; style-src 'unsafe-inline'; sandbox;"
    " frame-ancestors 'self'; form-action 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
}


def mail(html: str) -> Response:
    """Return the HTML of a mail, to be shown in a frame with an empty `sandbox`."""
    return Response(framed(html), media_type="text/html", headers=_HEADERS)
