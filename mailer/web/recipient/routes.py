"""Every route of the links in sent mail: `/u/` `/p/` `/v/` `/o/` `/c/` `/subscribe` `/s/` `/r/`."""

import logging
from collections.abc import Awaitable, Callable

from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from mailer import links
from mailer.database import unreachable
from mailer.web.recipient.asking import Service, token_of
from mailer.web.recipient.choices import Choices
from mailer.web.recipient.confirming import Confirming
from mailer.web.recipient.following import Following
from mailer.web.recipient.leaving import Leaving
from mailer.web.recipient.pages import Pages, allowed, mail
from mailer.web.recipient.pixel import Pixel
from mailer.web.recipient.removing import Removing
from mailer.web.recipient.subscribing import Subscribing

_READING = ("GET", "HEAD")
_Endpoint = Callable[[Request], Awaitable[Response]]
_log = logging.getLogger(__name__)


def routes(service: Service) -> list[BaseRoute]:
    """Return the routes of recipients; only `/c/` redirects, none asks for a login or sets a cookie."""
    pages = Pages()
    leaving = Leaving(service, pages)
    choices = Choices(service, pages)
    subscribing, confirming = Subscribing(service, pages), Confirming(service, pages)
    removing = Removing(service, pages)

    async def view(request: Request) -> Response:
        email_id = service.links.read_view(token_of(request))
        if email_id is None:
            return pages.damaged(request)
        html = await service.view(email_id)
        return pages.gone(request) if html is None else mail(html)

    async def style(_request: Request) -> Response:
        return pages.style()

    return [
        # An ASGI application without a list of methods: a picture answers whoever asks, however.
        Route(_path(links.OPEN.removesuffix(".gif")), Pixel(service)),
        link(links.UNSUBSCRIBE, pages, leaving.show, leaving.act),
        link(links.PREFERENCES, pages, choices.show, choices.save),
        link(links.VIEW, pages, view),
        link(links.CLICK, pages, Following(service, pages).show),
        link(links.SUBSCRIBE, pages, subscribing.show, subscribing.act),
        link(f"{links.SUBSCRIBE}/", pages, subscribing.show, subscribing.act),
        link(links.CONFIRM, pages, confirming.show, confirming.act),
        link(links.REMOVE, pages, removing.show, removing.act),
        Route("/page/style.css", style, methods=["GET"]),
    ]


def link(shape: str, pages: Pages, show: _Endpoint, act: _Endpoint | None = None) -> Route:
    """Return the route of one kind of page: POST acts, everything else only reads."""
    methods = (*_READING, "POST", "OPTIONS") if act else (*_READING, "OPTIONS")

    async def endpoint(request: Request) -> Response:
        if request.method == "OPTIONS":
            return allowed(*methods)
        try:
            return await (act if act and request.method == "POST" else show)(request)
        except Exception as error:
            if not (isinstance(error, SQLAlchemyError) or unreachable(error)):
                raise
            # No text of the error and no path: both may hold what leads to a person (R10.11).
            _log.error("a recipient's page met %s", type(error).__name__)
            return pages.away(request)

    return Route(_path(shape), endpoint, methods=list(methods))


def _path(shape: str) -> str:
    # RFC 8058 section 3.1 forbids redirects, so a slash at the end is ours to take, not the router's to redirect.
    return shape.replace("{token}", "{token:path}")
