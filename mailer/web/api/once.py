"""A request with an `Idempotency-Key` is done once, however often it is sent."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Generic, TypeVar

import orjson
from sqlmodel import Session
from starlette.responses import Response

from mailer import answers
from mailer.answers import Asked, Begun, Fresh, Replay
from mailer.errors import Invalid, Problem
from mailer.web import problems
from mailer.web.api.calls import NO_STORE, Answer, Call
from suppression.rules import Stream

T = TypeVar("T")

_KEY = "Idempotency-Key"
_LONGEST_KEY = 256


@dataclass(frozen=True, slots=True)
class Work(Generic[T]):
    """What a request does: the verb in its transaction, its answer, and whom to ring afterwards."""

    verb: Callable[[Session], T]
    told: Callable[[T], Answer]
    rung: Callable[[T], Iterable[Stream]]
    urgency: int


def asked_by(call: Call) -> Asked | None:
    """Return by what a request is known that must be done once; raises `Invalid` where its key is too long."""
    key = call.request.headers.get(_KEY)
    if key is None:
        return None
    if not 1 <= len(key) <= _LONGEST_KEY:
        raise Invalid(Problem(_KEY, f"must have 1 to {_LONGEST_KEY} characters"))
    return Asked.of(call.tenant_id, f"POST {call.request.scope['path']}", key, call.raw)


async def once(call: Call, work: Work[T], asked: Asked | None) -> Answer | Response:
    """Do the work, or repeat the answer that was given to the same request before."""
    if asked is None:
        results = await call.run(work.verb, urgency=work.urgency)
        _ring(call, work, results)
        return work.told(results)

    def begin(session: Session) -> Begun:
        call.sender(session)
        return answers.begin(session, asked, call.now)

    begun = await call.run(begin, urgency=work.urgency)
    if isinstance(begun, Replay):
        return _replayed(begun)
    return await _first_time(call, work, begun)


async def _first_time(call: Call, work: Work[T], fresh: Fresh) -> Answer:
    def verb(session: Session) -> tuple[T, Answer]:
        results = work.verb(session)
        answer = work.told(results)
        # The work and its answer are one commit: no crash leaves one without the other.
        answers.finish(session, fresh, answer.status, answer.body)
        return results, answer

    try:
        results, answer = await call.run(verb, urgency=work.urgency)
    except Exception as error:
        await _settle(call, fresh, error)
        raise
    _ring(call, work, results)
    return answer


async def _settle(call: Call, fresh: Fresh, error: Exception) -> None:
    """Keep the answer to a request that can never be accepted; forget what may go better another time."""
    status = problems.status_of(error)
    if status is HTTPStatus.UNPROCESSABLE_ENTITY:
        body = orjson.dumps(problems.describe(error))
        await call.run(lambda session: answers.finish(session, fresh, status, body))
        return
    try:
        await call.run(lambda session: answers.forget(session, fresh))
    except Exception:  # noqa: BLE001 - the database is away: the key is free again after five minutes
        return


def _replayed(replay: Replay) -> Response:
    kind = "application/json" if replay.status_code < HTTPStatus.BAD_REQUEST else problems.MEDIA_TYPE
    headers = {**NO_STORE, "Idempotency-Replayed": "true"}
    return Response(replay.body, replay.status_code, headers=headers, media_type=kind)


def _ring(call: Call, work: Work[T], results: T) -> None:
    for stream in sorted(work.rung(results)):
        call.service.ring(stream)
