"""Every route of the links in sent mail: `/u/` `/p/` `/v/` `/o/`."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

from sqlalchemy.exc import DBAPIError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from mailer import links
from mailer.database import Database, unreachable
from mailer.feedback.opens import Hits
from mailer.links import Links
from mailer.web.recipient.choices import Choices
from mailer.web.recipient.leaving import Leaving
from mailer.web.recipient.pages import Pages, allowed, mail
from mailer.web.recipient.pixel import Pixel

_READ = ("GET", "HEAD")
_Endpoint = Callable[[Request], Awaitable[Response]]


class Service(Protocol):
    """What the pages need of the running service."""

    @property
    def database(self) -> Database:
        """Return where emails wait."""

    @property
    def links(self) -> Links:
        """Return what reads the tokens."""

    @property
    def hits(self) -> Hits:
        """Return where loaded pictures wait to be written."""

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""

    def view(self, email_id: str) -> Awaitable[str | None]:
        """Return the HTML of a mail without its pixel, None where it cannot be shown (any more)."""


def routes(service: Service) -> list[BaseRoute]:
    """Return the routes of recipients; none of them redirects, asks for a login or sets a cookie."""
    pages = Pages()
    leaving = Leaving(service, pages)
    choices = Choices(service, pages)

    async def view(request: Request) -> Response:
        email_id = service.links.read_view(_token(request))
        html = await service.view(email_id) if email_id else None
        if html is None:
            return pages.gone(request) if email_id else pages.damaged(request)
        return mail(html)

    async def style(request: Request) -> Response:
        return pages.style(request)

    pixel = Pixel(service)
    return [
        # An ASGI application of its own, and no list of methods: a picture answers whoever asks, however.
        Route(_path(links.OPEN).removesuffix(".gif"), pixel),
        _pages(links.UNSUBSCRIBE, pages, leaving.show, leaving.act),
        _pages(links.PREFERENCES, pages, choices.show, choices.save),
        _pages(links.VIEW, pages, view, None),
        Route("/page/style.css", style, methods=["GET"]),
    ]


def _pages(shape: str, pages: Pages, show: _Endpoint, act: _Endpoint | None) -> Route:
    """Return the route of one kind of link: whatever only reads shows, POST acts."""
    methods = (*_READ, "POST", "OPTIONS") if act else (*_READ, "OPTIONS")

    async def endpoint(request: Request) -> Response:
        if request.method == "OPTIONS":
            return allowed(*methods)
        try:
            return await (act if act and request.method == "POST" else show)(request)
        except (DBAPIError, OSError) as error:
            if not unreachable(error) and not isinstance(error, DBAPIError):
                raise
            return pages.away(request)

    # RFC 8058 section 3.1 forbids redirects, so a slash at the end is ours to take, not the router's to redirect.
    return Route(_path(shape), endpoint, methods=list(methods))


def _path(shape: str) -> str:
    return shape.replace("{token}", "{token:path}")


def _token(request: Request) -> str:
    return token_of(request)
