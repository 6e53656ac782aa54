"""The routes: find the key, read the body, call the handler, answer every error as a problem."""

from collections.abc import Mapping
from itertools import groupby
from typing import TypeAlias

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mailer.errors import MailerError
from mailer.web import problems
from mailer.web.api import documentation, openapi
from mailer.web.api.calls import MOST_DRAINED, Answer, Call, Service, authorised, body_of
from mailer.web.api.endpoints import ENDPOINTS, Endpoint
from mailer.web.drain import drain

_Methods: TypeAlias = Mapping[str, Endpoint]
_WITHOUT_BODY = frozenset({"GET", "HEAD"})
#: How long a body that nobody will read is taken from the wire, so that its sender reads why.
_PATIENCE = 10.0


def routes(service: Service) -> list[BaseRoute]:
    """Return the routes of product code's API, its document, and a page that explains it."""
    found: list[BaseRoute] = []
    for path, endpoints in groupby(sorted(ENDPOINTS, key=_place), key=lambda endpoint: endpoint.path):
        found.append(Route(path, _Resource(service, {endpoint.method: endpoint for endpoint in endpoints})))
    document = openapi.document(ENDPOINTS)
    page = documentation.page(ENDPOINTS, document)

    async def as_json(_request: Request) -> Response:
        return Answer(document).response()

    async def as_page(_request: Request) -> Response:
        return HTMLResponse(page, headers=documentation.HEADERS)

    return [
        *found,
        Route("/openapi.json", as_json),
        Route("/docs", as_page),
        Route("/v1/{rest:path}", _Nowhere()),
    ]


def _place(endpoint: Endpoint) -> int:
    return min(place for place, each in enumerate(ENDPOINTS) if each.path == endpoint.path)


class _Nowhere:
    """Answers what lies below /v1 and is none of ours."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await problems.not_found(Request(scope, receive))(scope, receive, send)


class _Resource:
    """One path with its methods, so that an unknown method is told all of them."""

    def __init__(self, service: Service, methods: _Methods) -> None:
        self._service, self._methods = service, methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response: ASGIApp = await self._answer(request)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - a user never reads a traceback, and always an answer
            response = problems.answer(error)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        endpoint = self._methods.get(method)
        if endpoint is None:
            return problems.not_allowed(sorted(self._methods))
        now = self._service.now()
        try:
            key = await authorised(self._service, request, endpoint.scopes)
        except MailerError:
            await drain(request, keep=0, limit=MOST_DRAINED, patience=_PATIENCE)
            raise
        raw = b"" if method in _WITHOUT_BODY or endpoint.streamed else await body_of(request)
        told = await endpoint.handler(Call(self._service, request, key, now, raw))
        return told.response() if isinstance(told, Answer) else told
