"""The unsubscribe link: GET shows a page and changes nothing, POST opts out (RFC 8058)."""

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer.errors import NotFound
from mailer.feedback import optouts, visits
from mailer.feedback.optouts import How, Kind
from mailer.feedback.visits import Visit
from mailer.web.recipient.asking import Asked, Desk, asked_of, committed, token_of
from mailer.web.recipient.pages import Pages, language_of
from suppression import rules
from suppression.rules import Stream
from suppression.token import OptOut, verify_opt_out

_FIRST = 0
_Act = Callable[[Session], "_Answer"]


class _Answer(NamedTuple):
    """What the page after an act says, and how the person stands now."""

    visit: Visit
    title: str
    lead: str
    hint: str = ""
    #: Names of topics, where the sentence ends in a list.
    stops: tuple[str, ...] = ()
    #: Whether smaller (or larger) steps are offered.
    offered: bool = False


class Leaving:
    """The two sides of `/u/{token}`."""

    def __init__(self, service: Desk, pages: Pages) -> None:
        """Keep what answers need."""
        self._service = service
        self._pages = pages

    async def show(self, request: Request) -> Response:
        """Show what the link leaves. Mail scanners fetch every link, so nothing happens here (RFC 8058 section 1)."""
        opt_out = verify_opt_out(self._service.links.ring, token_of(request))
        if opt_out is None:
            return self._pages.damaged(request)
        now = self._service.now()
        visit = await self._service.database.read(lambda session: visits.look(session, opt_out, now))
        if visit is None:
            return self._pages.damaged(request)
        language = language_of(request, visit.locale).language
        topic = _topic_name(visit, language)
        promotional = [each.topic.name_in(language) for each in visit.promotional if not each.left]
        values = {"topic_name": topic, "stops": [topic] if visit.topic_only else promotional}
        return self._page(request, "ask.html", opt_out, visit, values)

    async def act(self, request: Request) -> Response:
        """Do what the form of our own page says; opt out whatever else was posted. Committed before the answer."""
        opt_out = verify_opt_out(self._service.links.ring, token_of(request))
        asked = await asked_of(request)
        if opt_out is None:
            return self._pages.damaged(request)
        acts = {"undo": self._undo, "only_topic": self._only_topic, "keep": self._keep, "everything": self._everything}
        act = acts.get(asked.act, self._leave)(opt_out, asked)
        try:
            answer = await committed(self._service.database, act)
        except NotFound:
            return self._pages.damaged(request)
        visit = answer.visit
        language = language_of(request, visit.locale).language
        names = {each.topic.key: each.topic.name_in(language) for each in visit.preferences.topics}
        values = {
            "title": answer.title,
            "lead": answer.lead,
            "hint": answer.hint,
            "stops": [names.get(key, key) for key in answer.stops],
            "offered": answer.offered,
            "topic_name": _topic_name(visit, language),
        }
        return self._page(request, "done.html", opt_out, visit, values)

    def _page(self, request: Request, template: str, opt_out: OptOut, visit: Visit, values: dict[str, object]) -> Response:
        # The path alone: the page may be read under another name of this host than mail is sent with.
        url = urlsplit(self._service.links.preferences(opt_out)).path
        common = {"visit": visit, "sender": visit.sender, "preferences_url": url}
        return self._pages.page(request, template, {**common, **values}, locale=visit.locale)

    def _leave(self, opt_out: OptOut, asked: Asked) -> _Act:
        now = self._service.now()

        def act(session: Session) -> _Answer:
            optouts.opted_out(session, opt_out, asked.how, now)
            visit = _look(session, opt_out, now)
            lead = "done_topic" if visit.topic_only and visit.topic else "done_all"
            return _Answer(visit, "done_title", lead, "in_flight", offered=True)

        return act

    def _everything(self, opt_out: OptOut, asked: Asked) -> _Act:
        if opt_out.stream is not Stream.PROMOTIONAL:
            return self._leave(opt_out, asked)
        now = self._service.now()

        def act(session: Session) -> _Answer:
            optouts.opted_out(session, opt_out, asked.how, now, scope=rules.STREAM_PROMOTIONAL)
            return _Answer(_look(session, opt_out, now), "done_title", "done_all", "in_flight")

        return act

    def _only_topic(self, opt_out: OptOut, asked: Asked) -> _Act:
        if opt_out.topic is None or opt_out.stream is not Stream.PROMOTIONAL:
            return self._leave(opt_out, asked)
        return self._left_only(opt_out, asked, lambda _promotional: {str(opt_out.topic)})

    def _keep(self, opt_out: OptOut, asked: Asked) -> _Act:
        # Who ticks nothing keeps nothing: that is the whole stream, topics of the future included.
        if not asked.topics or opt_out.stream is not Stream.PROMOTIONAL:
            return self._everything(opt_out, asked)
        return self._left_only(opt_out, asked, lambda promotional: promotional - asked.topics)

    def _left_only(self, opt_out: OptOut, asked: Asked, leaving: Callable[[set[str]], set[str]]) -> _Act:
        now = self._service.now()

        def act(session: Session) -> _Answer:
            before = _look(session, opt_out, now)
            promotional = {each.topic.key for each in before.promotional}
            wanted = leaving(promotional)
            if not (promotional | {opt_out.topic}) & asked.topics and asked.act == "keep":
                return self._everything(opt_out, asked)(session)
            optouts.left_only(session, opt_out, wanted, asked.how, now)
            visit = _look(session, opt_out, now)
            if visit.preferences.all_promotional_left:
                return _Answer(visit, "done_title", "done_all", "in_flight")
            gone = tuple(each.topic.key for each in visit.promotional if each.left)
            if not gone:
                return _Answer(visit, "done_none_title", "done_none")
            return _Answer(visit, "done_title", "done_some", "in_flight", stops=gone)

        return act

    def _undo(self, opt_out: OptOut, _asked: Asked) -> _Act:
        now = self._service.now()

        def act(session: Session) -> _Answer:
            undone = optouts.undo(session, opt_out, now)
            visit = _look(session, opt_out, now)
            if undone is None:
                return _Answer(visit, "late_title", "", "late")
            return _Answer(visit, "undone_title", "undone", "undone_hint")

        return act


def _look(session: Session, opt_out: OptOut, now: object) -> Visit:
    raise NotImplementedError


def _topic_name(visit: Visit, language: str) -> str:
    return visit.topic.name_in(language) if visit.topic else ""


__all__ = ["Kind", "How", "Leaving"]
