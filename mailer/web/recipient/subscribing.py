"""The form by which somebody asks to get mail; nothing comes before the mailbox itself says yes."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias
from urllib.parse import parse_qs

import orjson
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import subscribing, tenancy
from mailer.drafts import parse
from mailer.drafts.subscribing import UNSTATED, PublicSubscription
from mailer.errors import Invalid, NotFound
from mailer.models import Tenant, Topic
from mailer.submission import Accepted
from mailer.web import problems
from mailer.web.clients import client_of
from mailer.web.drain import drain
from mailer.web.problems import Malformed
from mailer.web.recipient.asking import Service
from mailer.web.recipient.pages import Pages, language_of
from mailer.web.recipient.words import WORDS
from suppression.rules import valid_topic_key

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_KEPT = 8 * 1024
_DRAINED = 1024 * 1024
_PATIENCE = 20.0
_MANY_FIELDS = 100
#: The form's names for what a request says; whatever else a site puts into its form is passed over.
_FIELDS = ("email", "name", "tenant", "locale", "source", "wording")
#: Where its address stands, our own page says no more about itself.
_OWN_PAGE = "subscribe page"
_SAID = ("subscribe_title", "subscribe_lead", "subscribe_once", "subscribe_leave", "subscribe_button")

Fields: TypeAlias = Mapping[str, object]


class _Offer(NamedTuple):
    """Who offers what."""

    tenant: Tenant
    topics: tuple[Topic, ...]


class Subscribing:
    """The two sides of `/subscribe`."""

    def __init__(self, service: Service, pages: Pages) -> None:
        """Keep what answers need."""
        self._service = service
        self._pages = pages

    async def show(self, request: Request) -> Response:
        """Show the form of a tenant, with the topics of the query ticked; nothing changes by it."""
        offer = await self._offer(request.query_params.get("tenant", ""))
        if offer is None:
            return self._nowhere(request)
        fields = {"topics": request.query_params.getlist("topic"), "locale": request.query_params.get("locale")}
        return self._form(request, offer, fields)

    async def act(self, request: Request) -> Response:
        """Take a form or JSON; whether a mail goes out is told to the mailbox alone."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        body = await drain(request.stream(), keep=_KEPT, limit=_DRAINED, patience=_PATIENCE)
        kept = body.kept if body.whole else b""
        if kind == _JSON:
            return await self._as_json(request, kept)
        fields = _form_fields(request, kept if kind == _FORM else b"")
        offer = await self._offer(str(fields.get("tenant", "")))
        if offer is None:
            return self._nowhere(request)
        try:
            await self._ask(request, fields)
        except Invalid as error:
            return self._form(request, offer, fields, problem=_problem(error))
        values = {"sender": offer.tenant.name, "address": fields["email"]}
        return self._pages.page(request, "subscribe-sent.html", values, locale=_locale(fields))

    async def _as_json(self, request: Request, body: bytes) -> Response:
        try:
            fields = orjson.loads(body)
        except orjson.JSONDecodeError:
            return problems.answer(Malformed("the body is not JSON, or longer than 8 KB"))
        try:
            await self._ask(request, fields)
        except (Invalid, NotFound) as error:
            return problems.answer(error)
        answer = orjson.dumps({"status": "asked"})
        return Response(answer, 202, headers={"Cache-Control": "no-store"}, media_type=_JSON)

    async def _ask(self, request: Request, fields: object) -> None:
        draft = parse(PublicSubscription, fields)
        service, now, ip = self._service, self._service.now(), client_of(request, self._service.settings)

        def verb(session: Session) -> Accepted | None:
            tenant = tenancy.only_tenant(session, draft.tenant or tenancy.DEFAULT)
            asked = subscribing.Request(
                tenant_id=tenant.id or 0,
                email=draft.email,
                topics=draft.topics,
                source=draft.source or UNSTATED,
                wording=draft.wording or UNSTATED,
                name=draft.name,
                locale=draft.locale or language_of(request, None),
                ip=ip,
            )
            return subscribing.ask(session, asked, service.intake, now)

        accepted = await service.database.run(verb)
        if accepted is not None:
            service.ring(accepted.stream)

    async def _offer(self, key: str) -> _Offer | None:
        def verb(session: Session) -> _Offer | None:
            # A key is written like a topic's; whatever else is asked for, no database need be asked.
            if key and not valid_topic_key(key):
                return None
            try:
                tenant = tenancy.only_tenant(session, key or tenancy.DEFAULT)
            except NotFound:
                return None
            topics = tuple(subscribing.askable(session, tenant.id or 0))
            return _Offer(tenant, topics) if topics else None

        return await self._service.database.read(verb)

    def _form(self, request: Request, offer: _Offer, fields: Fields, *, problem: str = "") -> Response:
        asked = fields.get("topics")
        values = {
            "sender": offer.tenant.name,
            "tenant": offer.tenant.key,
            "topics": offer.topics,
            "asked": asked if isinstance(asked, list) else [],
            "address": fields.get("email", ""),
            "source": _OWN_PAGE,
            "wording": wording(language_of(request, _locale(fields))),
            "problem": problem,
        }
        status = 422 if problem else 200
        return self._pages.page(request, "subscribe.html", values, status=status, locale=_locale(fields))

    def _nowhere(self, request: Request) -> Response:
        return self._pages.page(request, "note.html", {"note": "nowhere"}, status=404)


def wording(language: str) -> str:
    """Return the version of the words on our own form: another sentence is another version."""
    said = "\n".join(WORDS[language][key] for key in _SAID)
    return f"{language}-{hashlib.blake2b(said.encode(), digest_size=6).hexdigest()}"


def _form_fields(request: Request, body: bytes) -> Fields:
    try:
        posted = parse_qs(body.decode("utf-8", "replace"), max_num_fields=_MANY_FIELDS)
    except ValueError:
        posted = {}
    found: dict[str, object] = {name: posted[name][0].strip() for name in _FIELDS if name in posted}
    found.setdefault("email", "")
    found.setdefault("tenant", request.query_params.get("tenant", ""))
    found["topics"] = list(dict.fromkeys(posted.get("topic") or request.query_params.getlist("topic")))
    return {name: value for name, value in found.items() if value or name != "locale"}


def _locale(fields: Fields) -> str | None:
    locale = fields.get("locale")
    return locale if isinstance(locale, str) else None


def _problem(error: Invalid) -> str:
    """Return the sentence of a page for the first thing that is wrong."""
    path = error.problems[0].path.partition("[")[0]
    return f"subscribe_wrong_{path}" if path in ("email", "topics") else "subscribe_wrong"
