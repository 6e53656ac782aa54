"""Errors -> `application/problem+json` (RFC 9457): the one place that chooses a status."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus

import orjson
from starlette.requests import Request
from starlette.responses import Response

from mailer.compose.errors import ContentError
from mailer.database import full, unreachable
from mailer.errors import Conflict, Forbidden, Invalid, Limited, MailerError, NotFound, Problem, Unauthorized
from mailer.feedback.inbound.providers import Unreadable
from suppression.entries import EntryError, LiftError, UnknownEntry

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class Malformed(MailerError, ValueError):
    """The body is not JSON."""


class TooLarge(MailerError):
    """The body is larger than we take."""


#: Error -> status; the first that fits.
STATUSES: tuple[tuple[type[Exception], HTTPStatus], ...] = (
    (Malformed, HTTPStatus.BAD_REQUEST),
    (Unreadable, HTTPStatus.BAD_REQUEST),
    (TooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (Unauthorized, HTTPStatus.UNAUTHORIZED),
    (Forbidden, HTTPStatus.FORBIDDEN),
    (NotFound, HTTPStatus.NOT_FOUND),
    (UnknownEntry, HTTPStatus.NOT_FOUND),
    (Conflict, HTTPStatus.CONFLICT),
    (LiftError, HTTPStatus.CONFLICT),
    (Limited, HTTPStatus.TOO_MANY_REQUESTS),
    (Invalid, HTTPStatus.UNPROCESSABLE_ENTITY),
    (ContentError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (EntryError, HTTPStatus.UNPROCESSABLE_ENTITY),
)
_HEADERS: Mapping[HTTPStatus, Mapping[str, str]] = {
    # RFC 6750 section 3: how the key is to be shown.
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": 'Bearer realm="mailer"'},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": "1"},
    HTTPStatus.INSUFFICIENT_STORAGE: {"Retry-After": "60"},
    # What was not read of the body must not be taken for the next request.
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: {"Connection": "close"},
}


def described(status: HTTPStatus, detail: str, problems: Sequence[Problem] = ()) -> dict[str, object]:
    """Return a problem as data."""
    return {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        "errors": [problem._asdict() for problem in problems],
    }


def describe(error: Exception) -> dict[str, object]:
    """Return the problem that an error is; what we did not expect says nothing of our insides."""
    status = status_of(error)
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        return described(status, "the database cannot be reached; nothing was done, ask again in a moment")
    if status is HTTPStatus.INSUFFICIENT_STORAGE:
        return described(status, "the disk of the database is full; nothing was done, ask again once it has room")
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        return described(status, "this is our fault; it was logged")
    problems = error.problems if isinstance(error, Invalid) else ()
    if isinstance(error, ContentError):
        problems = (Problem("", str(error)),)
    return described(status, str(error), problems)


def status_of(error: Exception) -> HTTPStatus:
    """Return the status that answers an error."""
    for kind, status in STATUSES:
        if isinstance(error, kind):
            return status
    if full(error):
        return HTTPStatus.INSUFFICIENT_STORAGE
    return HTTPStatus.SERVICE_UNAVAILABLE if unreachable(error) else HTTPStatus.INTERNAL_SERVER_ERROR


def answer(error: Exception) -> Response:
    """Return the response to an error, and log it where it is ours."""
    status = status_of(error)
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("a request failed", exc_info=error)
    elif status is HTTPStatus.INSUFFICIENT_STORAGE:
        logger.error("the disk of the database is full")
    elif status is HTTPStatus.SERVICE_UNAVAILABLE:
        logger.warning("the database cannot be reached: %s", type(error).__name__)
    return response(describe(error), status)


def response(problem: Mapping[str, object], status: HTTPStatus, headers: Mapping[str, str] | None = None) -> Response:
    """Return a problem as a response."""
    return Response(
        orjson.dumps(problem),
        status.value,
        headers={**_HEADERS.get(status, {}), **(headers or {})},
        media_type=MEDIA_TYPE,
    )


def not_found(_request: Request) -> Response:
    """Answer a path that leads nowhere."""
    return response(described(HTTPStatus.NOT_FOUND, "there is nothing at this address"), HTTPStatus.NOT_FOUND)


def not_allowed(allowed: Sequence[str]) -> Response:
    """Answer a method that a path does not have."""
    detail = f"this address takes {', '.join(allowed)}"
    status = HTTPStatus.METHOD_NOT_ALLOWED
    return response(described(status, detail), status, {"Allow": ", ".join(allowed)})
