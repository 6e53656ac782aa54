"""The link that a reader follows by way of us."""

from starlette.requests import Request
from starlette.responses import Response

from mailer import targets
from mailer.web.recipient import noting
from mailer.web.recipient.asking import Service, token_of
from mailer.web.recipient.pages import Pages

#: R7.2: every click comes by here, and the target does not learn from where.
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex, nofollow"}


class Following:
    """Sends a reader on at once, from memory; what was seen is written later."""

    def __init__(self, service: Service, pages: Pages) -> None:
        """Touch nothing yet."""
        self._service, self._pages = service, pages

    async def show(self, request: Request) -> Response:
        """Redirect to the target that we signed (R7.1); any other link is damaged, and leads nowhere."""
        hit = self._service.links.read_click(token_of(request))
        if hit is None or hit.link is None or targets.reached(hit.link.target) != hit.link.target:
            return self._pages.damaged(request)
        # A HEAD is a machine's, and noted as one.
        noting.note(self._service, request.scope, hit)
        return Response(status_code=302, headers={"Location": hit.link.target, **_HEADERS})
