"""The unsubscribe link: GET shows a page and changes nothing, POST opts out (RFC 8058)."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlsplit

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer.errors import NotFound
from mailer.feedback import optouts, visits
from mailer.feedback.optouts import How, Kind
from mailer.feedback.visits import Visit
from mailer.web.recipient.asking import Form, Service, committed, how, read_form, token_of
from mailer.web.recipient.pages import Pages, language_of
from mailer.web.recipient.words import WORDS
from suppression import rules
from suppression.rules import Stream
from suppression.token import OptOut, verify_opt_out


class _Answer(NamedTuple):
    """What the page after an act says, and how the person stands now."""

    visit: Visit
    title: str
    lead: str
    hint: str
    #: Keys of topics, where the sentence ends in a list.
    stops: tuple[str, ...] = ()
    #: Whether smaller (or larger) steps are offered.
    offered: bool = False


class _Asked(NamedTuple):
    """What is asked of one link at one moment."""

    opt_out: OptOut
    form: Form
    how: How
    now: datetime


class Leaving:
    """The two sides of `/u/{token}`."""

    def __init__(self, service: Service, pages: Pages) -> None:
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
        language = language_of(request, visit.locale)
        # Whoever holds the mail can read this: it names what there is, not how the person stands (R10.2).
        every = [each.topic.name_in(language) for each in visit.promotional]
        stops = [_topic_name(visit, language)] if visit.topic_only else every
        return self._page(request, "ask.html", opt_out, visit, {"stops": stops})

    async def act(self, request: Request) -> Response:
        """Do what the form of our own page says; opt out whatever else was posted. Committed before the answer."""
        opt_out = verify_opt_out(self._service.links.ring, token_of(request))
        form = await read_form(request)
        if opt_out is None:
            return self._pages.damaged(request)
        one_click = form.one("List-Unsubscribe") or form.one("act") not in _ACTS
        kind = Kind.ONE_CLICK if one_click else Kind.LINK
        act = _leave if one_click else _ACTS[form.one("act")]
        asked = _Asked(opt_out, form, how(request, kind, self._service.settings), self._service.now())
        try:
            answer = await committed(self._service.database, lambda session: act(session, asked))
        except NotFound:
            return self._pages.damaged(request)
        language = language_of(request, answer.visit.locale)
        names = {each.topic.key: each.topic.name_in(language) for each in answer.visit.preferences.topics}
        stops = [names[key] for key in answer.stops]
        return self._page(request, "done.html", opt_out, answer.visit, {**answer._asdict(), "stops": stops})

    def _page(
        self, request: Request, template: str, opt_out: OptOut, visit: Visit, values: Mapping[str, object]
    ) -> Response:
        common = {
            "visit": visit,
            "sender": visit.sender,
            "topic_name": _topic_name(visit, language_of(request, visit.locale)),
            # The path alone: the page may be read under another name of this host than mail is sent with.
            "preferences_url": urlsplit(self._service.links.ways_out(opt_out).preferences).path,
        }
        return self._pages.page(request, template, {**common, **values}, locale=visit.locale)


def _leave(session: Session, asked: _Asked) -> _Answer:
    optouts.opted_out(session, asked.opt_out, asked.how, asked.now)
    visit = _look(session, asked)
    lead = "done_topic" if visit.topic_only else "done_all"
    return _Answer(visit, "done_title", lead, "in_flight", offered=True)


def _everything(session: Session, asked: _Asked) -> _Answer:
    if asked.opt_out.stream is not Stream.PROMOTIONAL:
        return _leave(session, asked)
    optouts.opted_out(session, asked.opt_out, asked.how, asked.now, scope=rules.STREAM_PROMOTIONAL)
    return _Answer(_look(session, asked), "done_title", "done_all", "in_flight", offered=True)


def _only_topic(session: Session, asked: _Asked) -> _Answer:
    topic = asked.opt_out.topic
    if topic is None or asked.opt_out.stream is not Stream.PROMOTIONAL:
        return _leave(session, asked)
    return _left_only(session, asked, {topic})


def _keep(session: Session, asked: _Asked) -> _Answer:
    # Also what was not shown to this link: who keeps some topics gets those and no other.
    every = _look(session, asked).preferences.topics
    known = {each.topic.key for each in every if each.topic.stream is Stream.PROMOTIONAL}
    # Who ticks nothing keeps nothing: that is the whole stream, topics of the future included.
    if not known & asked.form.many("topic") or asked.opt_out.stream is not Stream.PROMOTIONAL:
        return _everything(session, asked)
    return _left_only(session, asked, known - asked.form.many("topic"))


def _left_only(session: Session, asked: _Asked, topics: set[str]) -> _Answer:
    optouts.left_only(session, asked.opt_out, topics, asked.how, asked.now)
    visit = _look(session, asked)
    if visit.preferences.all_promotional_left:
        return _Answer(visit, "done_title", "done_all", "in_flight")
    gone = tuple(each.topic.key for each in visit.promotional if each.topic.key in topics)
    if not gone:
        return _Answer(visit, "done_none_title", "done_none", "")
    return _Answer(visit, "done_some_title", "done_some", "in_flight", stops=gone)


def _why(session: Session, asked: _Asked) -> _Answer:
    kept = optouts.say_why(session, asked.opt_out, asked.form.one("said"), asked.now)
    visit = _look(session, asked)
    if not kept:
        return _Answer(visit, "late_title", "", "late")
    # The words are kept, and nothing is taken back by them: the page says how the person stands.
    lead = ("already_topic" if visit.topic_only else "already") if visit.left else ""
    return _Answer(visit, "thanks_title", lead, "" if lead else "thanks")


def _undo(session: Session, asked: _Asked) -> _Answer:
    if optouts.undo(session, asked.opt_out, asked.now) is None:
        return _Answer(_look(session, asked), "late_title", "", "late")
    return _Answer(_look(session, asked), "undone_title", "undone", "undone_hint")


def _look(session: Session, asked: _Asked) -> Visit:
    visit = visits.look(session, asked.opt_out, asked.now)
    if visit is None:
        raise NotFound("there is no such sender")
    return visit


def _topic_name(visit: Visit, language: str) -> str:
    """Return what a link about a topic leaves, also where the topic is no more or the link names none."""
    return visit.topic.name_in(language) if visit.topic else visit.topic_key or WORDS[language]["pref_notifications"]


#: What the forms of our own page may ask; every other body opts out.
_ACTS: Mapping[str, Callable[[Session, _Asked], _Answer]] = {
    "leave": _leave,
    "undo": _undo,
    "only_topic": _only_topic,
    "keep": _keep,
    "everything": _everything,
    "why": _why,
}
