"""The application: API, what recipients meet, the dashboard, the inbox, and what operators' probes ask."""

import logging
from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from sqlmodel import Session
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from mailer import reports, streams
from mailer.service import Service
from mailer.streams import State
from mailer.users import accounts
from mailer.web import api, dashboard, inbox, problems, recipient, why
from mailer.web.guard import InboxGuard
from mailer.webhooks import endpoints
from suppression.rules import Stream

logger = logging.getLogger(__name__)


def create_app(service: Service) -> Starlette:
    """Return the whole web application over a service that is already prepared."""
    product = api.routes(service)
    pages = [*recipient.routes(service), *why.routes(service), *dashboard.routes(service)]
    routes: list[BaseRoute] = [*_probes(service), *pages, *product, _front(service)]
    if service.captures:
        routes += inbox.routes(service.store)
    app = Starlette(
        routes=routes, middleware=[Middleware(api.Direct, routes=product), Middleware(InboxGuard, service=service)]
    )
    # RFC 8058 section 3.1: the one-click address must not redirect, so no slash is ever mended by a 307.
    app.router.redirect_slashes = False
    return app


def _front(service: Service) -> Route:
    """Return the route of the bare address: to the dashboard once it has users, else to the inbox."""

    async def front(request: Request) -> Response:
        if await service.database.read(accounts.exist):
            return RedirectResponse("/app", 302)
        return RedirectResponse("/inbox", 302) if service.captures else problems.not_found(request)

    return Route("/", front)


def _probes(service: Service) -> list[Route]:
    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_request: Request) -> Response:
        answer = await readiness(service)
        return JSONResponse(answer, 200 if answer["ready"] else 503)

    async def metrics(_request: Request) -> Response:
        return await _metrics(service)

    probes: list[tuple[str, Callable[[Request], Awaitable[Response]]]] = [
        ("/healthz", healthz),
        ("/readyz", readyz),
        ("/metrics", metrics),
    ]
    return [Route(path, endpoint) for path, endpoint in probes]


async def readiness(service: Service) -> dict[str, object]:
    """Return whether mail can be taken and sent, and what is in the way."""
    database, states, ailing = "ok", list[State](), 0
    try:
        ailing = await service.database.read(endpoints.ailing)
        states += await service.database.read(lambda session: streams.states(session, service.settings, service.now()))
    except Exception as error:  # noqa: BLE001 - a probe tells what is wrong instead of failing
        database = f"away ({type(error).__name__})"
    words = {state.stream: state.words for state in states}
    return {
        # Without the broker mail still flows, half a second later; what an operator paused is as it should be.
        "ready": database == "ok" and not any(state.silent for state in states),
        "database": database,
        "broker": await service.broker_trouble() or "ok",
        "relays": {stream.value: _carriage(service, stream, words.get(stream)) for stream in Stream},
        "streams": {state.stream.value: state.summary for state in states},
        # Somebody else's server: it keeps no mail from going.
        "webhooks": f"{ailing} disabled, for they failed: see `mailer webhook list`" if ailing else "ok",
        "queue_age_seconds": {state.stream.value: round(state.age.total_seconds(), 3) for state in states},
    }


def _carriage(service: Service, stream: Stream, words: str | None) -> str:
    """Return how the mail of a stream leaves: as this process saw it, or in the words of all where others carry it."""
    captured = "captured, not sent" if service.settings.captures(stream) else None
    if stream not in service.streams:
        told = words or "unknown while the database is away"
        return captured or told if told == streams.GOES else told
    carriers = [each for each in service.pipelines if each.route.stream is stream and each.route.captured is not True]
    trouble = next((each.trouble for each in carriers if each.trouble), None)
    proven = "ok" if any(each.proven for each in carriers) else "not tried yet by this process"
    return trouble or captured or proven


async def _metrics(service: Service) -> Response:
    registry = CollectorRegistry()
    emails = Gauge(
        "mailer_emails_total", "Emails by stream and what became of them", ["stream", "metric"], registry=registry
    )
    dropped = Gauge("mailer_hits_dropped_total", "Opens lost because the buffer was full", registry=registry)
    dropped.set(service.hits.dropped)

    def sums(session: Session) -> list[tuple[str, str, int]]:
        return reports.totals(session)

    for stream, metric, amount in await service.database.read(sums):
        emails.labels(stream=stream, metric=metric).set(amount)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
