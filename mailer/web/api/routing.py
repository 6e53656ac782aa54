"""The routes: find the key, read the body, call the handler, answer every error as a problem."""

import asyncio
import functools
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import NamedTuple, TypeAlias

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mailer.errors import MailerError, NotFound
from mailer.storable import NUL
from mailer.web import problems
from mailer.web.api import called, documentation, openapi
from mailer.web.api.calls import MOST_DRAINED, Answer, Call, KnownKeys, Service, authorised, body_of
from mailer.web.api.certificates import Fetch, fetched
from mailer.web.api.endpoints import ENDPOINTS, Endpoint
from mailer.web.api.gathering import Gathering
from mailer.web.api.hooks import HOOKS
from mailer.web.api.queries import Nothing
from mailer.web.drain import drain

_Methods: TypeAlias = Mapping[str, Endpoint]
_WITHOUT_BODY = frozenset({"GET", "HEAD"})
#: How long a body that nobody will read is taken from the wire, so that its sender reads why.
_PATIENCE = 10.0


def routes(service: Service, fetch: Fetch = fetched) -> list[BaseRoute]:
    """Return the routes of product code's API, those that providers call, its document, and a page that explains it.

    `fetch` asks the servers of providers, for the certificates that sign.
    """
    found: list[BaseRoute] = []
    known = KnownKeys()
    shared = _Shared(service, known, Gathering(service, known.renew))
    for path, endpoints in groupby(sorted(ENDPOINTS, key=_place), key=lambda endpoint: endpoint.path):
        found.append(Route(path, _Resource(shared, {endpoint.method: endpoint for endpoint in endpoints})))
    found += called.routes(service, fetch)
    return [
        *found,
        Route("/openapi.json", _as_json),
        Route("/docs", _as_page),
        Route("/v1/{rest:path}", _Nowhere()),
    ]


# Printing takes a third of a second, and most processes are never asked: it waits for whoever asks first, and is done
# in a thread, since the requests of others go on meanwhile.
@functools.cache
def _document() -> Mapping[str, object]:
    return openapi.document(ENDPOINTS, HOOKS)


@functools.cache
def _page() -> str:
    return documentation.page(ENDPOINTS, _document())


async def _as_json(_request: Request) -> Response:
    return Answer(await asyncio.to_thread(_document)).response()


async def _as_page(_request: Request) -> Response:
    return HTMLResponse(await asyncio.to_thread(_page), headers=documentation.HEADERS)


def _place(endpoint: Endpoint) -> int:
    return min(place for place, each in enumerate(ENDPOINTS) if each.path == endpoint.path)


class Direct:
    """Takes requests for an API path without parameters straight to it: the router tries every other path first."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        """Stand before an application that has these routes too."""
        self._app = app
        found = (route for route in routes if isinstance(route, Route) and isinstance(route.app, _Resource))
        self._known = {route.path: route.app for route in found if "{" not in route.path}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        app = self._known.get(scope["path"], self._app) if scope["type"] == "http" else self._app
        await app(scope, receive, send)


class _Nowhere:
    """Answers what lies below /v1 and is none of ours."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await problems.not_found(Request(scope, receive))(scope, receive, send)


class _Shared(NamedTuple):
    """What all requests of a process have in common."""

    service: Service
    known: KnownKeys
    gathering: Gathering


class _Resource:
    """One path with its methods, so that an unknown method is told all of them."""

    def __init__(self, shared: _Shared, methods: _Methods) -> None:
        self._shared, self._methods = shared, methods

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
        service, known, gathering = self._shared
        now = service.now()
        try:
            key = await authorised(service, request, endpoint.scopes, known if endpoint.asks_key_again else None)
        except MailerError:
            await drain(request.stream(), keep=0, limit=MOST_DRAINED, patience=_PATIENCE)
            raise
        if NUL in request.scope["path"]:
            # PostgreSQL cannot even be asked for it.
            raise NotFound("there is nothing at this address")
        raw = b"" if method in _WITHOUT_BODY or endpoint.streamed else await body_of(request)
        call = Call(service, request, key, now, gathering, raw)
        _checked(endpoint, call)
        told = await endpoint.handler(call)
        return told.response() if isinstance(told, Answer) else told


def _checked(endpoint: Endpoint, call: Call) -> None:
    """Refuse a body, or a query of a GET, where none is asked for: it says something that would not be done."""
    if endpoint.body is None and call.raw.strip():
        call.draft(Nothing)
    if endpoint.query is None and endpoint.method == "GET":
        call.query(Nothing)
