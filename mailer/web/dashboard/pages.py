"""How pages of the dashboard are put together and sent: templates, headers, one style sheet."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from mailer import resources
from mailer.web import folder
from mailer.web.dashboard import refusals
from mailer.web.dashboard.figures import Figures
from mailer.web.voices import Voice

_FOLDER = resources.templates() / "dashboard"
#: R10.9: nothing from elsewhere, no script, no style inside a page. Previews of mail stand in frames of ours.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
    # Not no-referrer: with it a browser says `Origin: null` when a button of ours is pressed.
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; frame-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Accept-Language, Cookie",
}
_STYLE_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "public, max-age=86400"}


class Pages:
    """Renders the pages; made once."""

    def __init__(self) -> None:
        """Read the templates and the style sheet."""
        self._folder = folder.opened(_FOLDER)

    def page(
        self, request: Request, say: Voice, template: str, values: Mapping[str, object], *, status: int = 200
    ) -> Response:
        """Return a page in a language."""
        shared: dict[str, object] = {
            "say": say,
            "figures": Figures(say.language),
            "root": request.scope.get("root_path", ""),
            "path": request.url.path,
            "style": self._folder.version,
            "done": _done(request, say),
            **refusals.tellers(say),
        }
        body = self._folder.render(template, {**shared, **values})
        headers = {**HEADERS, "Content-Language": say.language}
        return Response(body, status, media_type="text/html", headers=headers)

    def style(self) -> Response:
        """Return the style sheet."""
        return self._folder.style(_STYLE_HEADERS)


def _done(request: Request, say: Voice) -> str:
    """Return the sentence that tells of the act before this page; only sentences of ours can be asked for."""
    key = f"done_{request.query_params.get('done', '')}"
    return say.words.get(key, "")
