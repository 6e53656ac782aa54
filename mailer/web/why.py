"""The page that answers "why did Ann not get this?", for whoever has an API key of the scope `suppressions`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlmodel import Session, col, select
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from mailer import tenancy
from mailer.drafts import parse
from mailer.errors import Forbidden, Invalid, Unauthorized
from mailer.models import ApiKey, Email, Scope, Tenant, Topic
from mailer.web.api.queries import CheckQuery
from mailer.web.explaining import enders, explained, topic_of
from mailer.web.recipient.asking import Form, Service, read_form
from mailer.web.recipient.pages import Pages, language_of
from mailer.web.recipient.routes import link
from suppression import address, rules

#: Where the page is. There is no dashboard yet that could lead to it.
PATH = "/why"
#: The fields of the form that are shown again; the key is not, and it never stands in a URL.
_KEPT = ("email", "stream", "topic")
#: What of the evidence has its own place on the page, or says nothing to a reader.
_PLACED = frozenset({"email_id", "act"})
_MAY = frozenset({Scope.SUPPRESSIONS, Scope.ADMIN})


class _Told(NamedTuple):
    """The answer, and what names on it mean."""

    sender: str
    answer: Mapping[str, Any]
    #: The mails from which entries came, by their ids.
    emails: Mapping[str, Email]
    topics: Mapping[str, Topic]


def routes(service: Service) -> list[BaseRoute]:
    """Return the route of the page: GET shows the form, POST takes key and question, and answers."""
    page = _Why(service, Pages())
    return [link(PATH, page.pages, page.show, page.answer)]


class _Why:
    """The two sides of `/why`."""

    def __init__(self, service: Service, pages: Pages) -> None:
        self._service = service
        self.pages = pages

    async def show(self, request: Request) -> Response:
        """Show the empty form; what a query says is passed over, so that nobody is led to put a key there."""
        return self._page(request, Form({}))

    async def answer(self, request: Request) -> Response:
        """Answer the question of whoever shows a key that may ask it."""
        form = await read_form(request)
        asked = {name: form.one(name).strip() for name in _KEPT if form.one(name).strip()}
        try:
            told = await self._service.database.read(lambda session: self._told(session, form.one("key"), asked))
        except (Unauthorized, Forbidden):
            return self._page(request, form, problem="why_wrong_key", status=403)
        except Invalid as error:
            return self._page(request, form, problem=f"why_wrong_{error.problems[0].path}", status=422)
        return self._page(request, form, told=told)

    def _told(self, session: Session, plain: str, asked: Mapping[str, str]) -> _Told:
        key = _allowed(session, plain)
        question, now = parse(CheckQuery, asked), self._service.now()
        topic = topic_of(session, key.tenant_id, question.topic, question.stream)
        canonical = address.parse(question.email).canonical
        prints = self._service.intake.fingerprints.all_of(key.tenant_id, canonical)
        answer = explained(session, key.tenant_id, prints, question.stream, topic, now)
        tenant = session.get_one(Tenant, key.tenant_id)
        return _Told(tenant.name, answer, _emails(session, key.tenant_id, answer), _topics(session, key.tenant_id))

    def _page(
        self, request: Request, form: Form, *, told: _Told | None = None, problem: str = "", status: int = 200
    ) -> Response:
        values: dict[str, object] = {
            "sender": told.sender if told else None,
            "asked": {name: form.one(name).strip() for name in _KEPT},
            "problem": problem,
            "told": told.answer if told else None,
            "emails": told.emails if told else {},
            "scope_names": _scope_names(told.topics, language_of(request, None)) if told else {},
            "end_of": _end_of,
            "day": _day,
            "placed": _PLACED,
        }
        return self.pages.page(request, "why.html", values, status=status)


def _allowed(session: Session, plain: str) -> ApiKey:
    key = tenancy.authenticate(session, plain.strip())
    if _MAY.isdisjoint(key.scopes):
        raise Forbidden(f"the key lacks the scope {Scope.SUPPRESSIONS}")
    return key


def _emails(session: Session, tenant_id: int, answer: Mapping[str, Any]) -> Mapping[str, Email]:
    """Return the mails that the evidence names, while they are kept."""
    shown: Sequence[Mapping[str, Any]] = [*answer["history"], *([answer["entry"]] if answer["entry"] else [])]
    named = {str(entry["evidence"]["email_id"]) for entry in shown if (entry["evidence"] or {}).get("email_id")}
    named |= {str(each["email_id"]) for each in answer["trace"] if each["email_id"]}
    mine = select(Email).where(col(Email.id).in_(sorted(named)), col(Email.tenant_id) == tenant_id)
    return {email.id: email for email in session.exec(mine)} if named else {}


def _topics(session: Session, tenant_id: int) -> Mapping[str, Topic]:
    mine = select(Topic).where(col(Topic.tenant_id) == tenant_id)
    return {topic.key: topic for topic in session.exec(mine)}


def _scope_names(topics: Mapping[str, Topic], language: str) -> Mapping[str, str]:
    """Return the scopes of topics as people call them."""
    return {rules.topic_scope(key): topic.name_in(language) for key, topic in topics.items()}


def _end_of(rule: str) -> str:
    """Return the key of the sentence that says who may end what this rule found."""
    return f"why_end_{enders(rule)}"


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else ""
