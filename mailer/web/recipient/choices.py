"""The preference page: topics, all promotional mail, and whether opens may be measured."""

from datetime import datetime
from typing import NamedTuple

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import people
from mailer.feedback import optouts, visits
from mailer.feedback.optouts import Chosen, How, Kind
from mailer.feedback.visits import Visit
from mailer.web.recipient.asking import Form, Service, committed, how, read_form, token_of
from mailer.web.recipient.pages import Pages
from suppression.rules import Stream
from suppression.token import OptOut

_SOURCE = "preference page"
_ANSWERS = {"yes": True, "no": False}


class _Saved(NamedTuple):
    """How the person stands after a form, and what the page says of it."""

    visit: Visit
    saved: str = ""
    problem: str = ""


class Choices:
    """The two sides of `/p/{token}`."""

    def __init__(self, service: Service, pages: Pages) -> None:
        """Keep what answers need."""
        self._service = service
        self._pages = pages

    async def show(self, request: Request) -> Response:
        """Show what the person gets."""
        opt_out = self._service.links.read_preferences(token_of(request))
        if opt_out is None:
            return self._pages.damaged(request)
        now = self._service.now()
        visit = await self._service.database.read(lambda session: visits.look(session, opt_out, now))
        return self._page(request, _Saved(visit)) if visit else self._pages.damaged(request)

    async def save(self, request: Request) -> Response:
        """Save one of the two forms and show what holds now."""
        opt_out = self._service.links.read_preferences(token_of(request))
        form = await read_form(request)
        if opt_out is None:
            return self._pages.damaged(request)
        now, way = self._service.now(), how(request, Kind.PREFERENCES, self._service.settings)
        saved = await committed(self._service.database, lambda session: _save(session, opt_out, form, way, now))
        return self._page(request, saved) if saved else self._pages.damaged(request)

    def _page(self, request: Request, saved: _Saved) -> Response:
        visit = saved.visit
        notifications = [
            each for each in visit.preferences.topics if each.topic.stream is Stream.TRANSACTIONAL and each.may_leave
        ]
        values = {
            "visit": visit,
            "sender": visit.sender,
            "saved": saved.saved,
            "problem": saved.problem,
            "stopped": visits.stopped(visit.preferences),
            "notifications": notifications,
        }
        return self._pages.page(request, "preferences.html", values, locale=visit.locale)


def _save(session: Session, opt_out: OptOut, form: Form, way: How, now: datetime) -> _Saved | None:
    before = visits.look(session, opt_out, now)
    if before is None:
        return None
    saved, problem = "", ""
    if form.one("form") == "tracking":
        answer = _ANSWERS.get(form.one("tracking"))
        if answer is None:
            problem = "tracking_missing"
        else:
            saved = f"saved_tracking_{form.one('tracking')}"
            who = (opt_out.tenant_id, opt_out.fingerprint)
            people.choose_tracking(session, *who, granted=answer, source=_SOURCE, now=now)
    elif form.one("form") == "topics":
        saved = "saved_topics"
        optouts.choose(session, opt_out, _chosen(before, form), way, now)
    return _Saved(visits.look(session, opt_out, now) or before, saved, problem)


def _chosen(visit: Visit, form: Form) -> Chosen:
    wanted = form.many("topic")
    if form.one("promotional") == "none":
        wanted -= {each.topic.key for each in visit.promotional}
    return Chosen(form.many("shown"), wanted)
