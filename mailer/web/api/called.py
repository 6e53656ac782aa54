"""Providers call: verify, read, take in, commit, answer; nothing is believed before its signature."""

import asyncio
import logging
from collections.abc import Sequence
from http import HTTPStatus

from sqlmodel import Session
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mailer.database import full, unreachable
from mailer.errors import NotFound, Unauthorized
from mailer.feedback import hearing
from mailer.feedback.inbound.providers import Accounts, Arrival, Batch, Told, accounts, ses, sns, tokens
from mailer.outside import Refused, Unreachable
from mailer.web import problems
from mailer.web.api.calls import MOST_DRAINED, URGENT, Answer, Service
from mailer.web.api.certificates import Certificates, Fetch
from mailer.web.api.hooks import HOOKS, Hook
from mailer.web.api.shapes.hooks import HeardView
from mailer.web.drain import drain
from mailer.web.problems import TooLarge

logger = logging.getLogger(__name__)

#: Seconds in which a body must have come.
_PATIENCE = 30.0
#: Reports a transaction, by engine: the one writer of SQLite must soon be free again.
_TOGETHER = {True: 500, False: 20}
#: So many unreadable events are named in the answer.
_SHOWN = 20
#: How Postmark is asked for its secret (RFC 7617).
_BASIC = {"WWW-Authenticate": 'Basic realm="mailer", charset="UTF-8"'}


def routes(service: Service, fetch: Fetch) -> list[BaseRoute]:
    """Return the routes of the addresses that providers call; raises `ConfigurationError` for an unusable setting."""
    ear = _Ear(service, accounts(service.settings), Certificates(fetch), fetch)
    return [Route(hook.path, _Listener(ear, hook)) for hook in HOOKS]


class _Listener:
    """One address."""

    def __init__(self, ear: "_Ear", hook: Hook) -> None:
        self._ear, self._hook = ear, hook

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response: ASGIApp = await self._answer(request)
        except ClientDisconnect:
            return
        except Unauthorized as error:
            response = problems.response(problems.describe(error), HTTPStatus.UNAUTHORIZED, _BASIC)
        except (Refused, Unreachable) as error:
            logger.warning("what %s needs could not be fetched: %s", self._hook.provider, error)
            status = HTTPStatus.SERVICE_UNAVAILABLE
            response = problems.response(problems.described(status, f"{error}: send it again later"), status)
        except Exception as error:  # noqa: BLE001 - whoever calls always reads an answer
            response = problems.answer(error)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method != "POST":
            return problems.not_allowed(["POST"])
        hook = self._hook
        known = self._ear.knows(hook.provider)
        most = hook.most if known else 0
        drained = await drain(request.stream(), keep=most, limit=MOST_DRAINED, patience=_PATIENCE)
        if not known:
            raise NotFound(f"events of this provider are not taken here: set {hook.setting}")
        if not drained.whole:
            raise TooLarge(f"the body did not arrive, or is larger than {hook.most // 1024} KB")
        headers = {name.lower(): value for name, value in request.headers.items()}
        arrival = Arrival(headers, drained.kept, str(request.path_params.get("secret", "")))
        view = await self._ear.hear(hook.provider, arrival)
        return Answer(view.model_dump(mode="json")).response()


class _Ear:
    """Takes in what is believed."""

    def __init__(self, service: Service, believed: Accounts, certificates: Certificates, fetch: Fetch) -> None:
        self._service, self._believed = service, believed
        self._certificates, self._fetch = certificates, fetch

    def knows(self, provider: str) -> bool:
        """Return whether a provider is set up."""
        return provider in self._believed.readers or (provider == "ses" and bool(self._believed.topics))

    async def hear(self, provider: str, arrival: Arrival) -> HeardView:
        """Take in one request; what it says is committed when this returns."""
        if provider == "ses":
            batch = await self._of_sns(arrival)
        else:
            # In a thread: a large batch takes tens of milliseconds to verify and to read.
            batch = await asyncio.to_thread(self._believed.readers[provider], arrival, self._service.now())
        if batch.flaws:
            logger.warning(
                "%d events of %s could not be read; the first: %s", len(batch.flaws), provider, batch.flaws[0]
            )
        repeated = batch.token is not None and not await self._commit(batch.told, batch.token)
        if batch.token is None:
            await self._all(batch.told)
        heard = 0 if repeated else len(batch.told)
        return HeardView(heard=heard, ignored=batch.ignored, repeated=repeated, errors=list(batch.flaws[:_SHOWN]))

    async def _of_sns(self, arrival: Arrival) -> Batch:
        notice = await asyncio.to_thread(sns.read, arrival, self._believed.topics)
        certificate = await self._certificates.get(notice.certificate_url)
        sns.verify(notice, certificate, self._service.now())
        if notice.kind == sns.NOTIFICATION:
            return await asyncio.to_thread(ses.read, notice.message)
        if notice.kind == sns.SUBSCRIBE:
            answer = await self._fetch(notice.subscribe_url)
            if answer.status != HTTPStatus.OK:
                raise Unreachable(f"Amazon SNS answered {answer.status} to the confirmation")
            logger.info("the subscription of the topic %s is confirmed", notice.topic)
        else:
            logger.warning("this address was unsubscribed from the topic %s: its events come no more", notice.topic)
        return Batch(ignored=1)

    async def _all(self, told: Sequence[Told]) -> None:
        """Commit some reports after the other; where one trips over a bug of ours the others are taken in all the same.

        Then the answer is an error, so that all come again; what is known by then is only repeated.
        """
        failures: list[Exception] = []
        size = _TOGETHER[self._service.database.on_postgresql]
        for start in range(0, len(told), size):
            part = told[start : start + size]
            if await self._failure(part) is not None:
                failures += [failure for each in part if (failure := await self._failure([each])) is not None]
        if failures:
            logger.error("%d of %d reports could not be taken in", len(failures), len(told))
            raise failures[0]

    async def _failure(self, told: Sequence[Told]) -> Exception | None:
        """Return why some reports cannot be taken in together, None where they are; raises where none could be now."""
        try:
            await self._commit(told, None)
        except Exception as error:
            if unreachable(error) or full(error):
                raise
            return error
        return None

    async def _commit(self, told: Sequence[Told], token: bytes | None) -> bool:
        """Return whether this is new; a token that was heard before brings nothing."""
        read = self._service.intake.links.read_return_path
        # What names a mail by a token of ours is as good as the return path itself, wherever it stands.
        proven = [(report, hearing.vouched(read, report, proof)) for report, proof in told]

        def verb(session: Session) -> bool:
            now = self._service.now()
            if token is not None and not tokens.take(session, token, now):
                return False
            hearing.hear(session, proven, now)
            return True

        return await self._service.database.run(verb, urgency=URGENT, conclusive=True)
