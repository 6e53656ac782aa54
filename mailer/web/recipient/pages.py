"""How recipients' pages are put together and sent: templates, headers, one style sheet."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from mailer import resources
from mailer.web import folder
from mailer.web.recipient.words import voice
from mailer.web.voices import Voice

_FOLDER = resources.templates() / "page"
_STAY_OUT = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex, nofollow"}
#: R10.9: nothing from elsewhere, no script, no frame.
HEADERS = {
    **_STAY_OUT,
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none';"
    " base-uri 'none'",
    "Cache-Control": "no-store",
    "Vary": "Accept-Language",
}
# The mail is content of others: no script, no form, no origin; its links may open, its pictures load over TLS.
_MAIL_HEADERS = {
    **_STAY_OUT,
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data: https:;"
    " form-action 'none'; frame-ancestors 'none'; base-uri 'none'; sandbox allow-popups allow-popups-to-escape-sandbox",
    "Cache-Control": "no-store",
}
_STYLE_HEADERS = {**_STAY_OUT, "Cache-Control": "public, max-age=86400"}


class Pages:
    """Renders the pages; made once."""

    def __init__(self) -> None:
        """Read the templates and the style sheet."""
        self._folder = folder.opened(_FOLDER)

    def page(
        self,
        request: Request,
        template: str,
        values: Mapping[str, object],
        *,
        status: int = 200,
        locale: str | None = None,
    ) -> Response:
        """Return a page in the language of the mail, else of the browser."""
        say = _voice(request, locale)
        root = request.scope.get("root_path", "")
        shared = {"say": say, "root": root, "style": self._folder.version}
        body = self._folder.render(template, {"sender": None, **values, **shared})
        headers = {**HEADERS, "Content-Language": say.language}
        return Response(body, status, media_type="text/html", headers=headers)

    def damaged(self, request: Request) -> Response:
        """Return the one answer to every link that does not verify, whatever is wrong with it."""
        return self.page(request, "note.html", {"note": "damaged"}, status=404)

    def gone(self, request: Request) -> Response:
        """Return the answer to a link whose mail cannot be shown any more."""
        return self.page(request, "note.html", {"note": "gone"}, status=404)

    def away(self, request: Request) -> Response:
        """Return the answer while the database is away; a mail provider tries a 503 again."""
        response = self.page(request, "note.html", {"note": "away"}, status=503)
        response.headers["Retry-After"] = "60"
        return response

    def style(self) -> Response:
        """Return the style sheet."""
        return self._folder.style(_STYLE_HEADERS)


def mail(html: str) -> Response:
    """Return a mail as a page, locked up."""
    return Response(html, media_type="text/html", headers=_MAIL_HEADERS)


def allowed(*methods: str) -> Response:
    """Return the answer to OPTIONS."""
    return Response(status_code=204, headers={"Allow": ", ".join(methods), "Cache-Control": "no-store"})


def language_of(request: Request, locale: str | None) -> str:
    """Return in which language a page of this request speaks."""
    return _voice(request, locale).language


def _voice(request: Request, locale: str | None) -> Voice:
    return voice(locale, request.headers.get("accept-language", ""))
