"""The preference page: a link of a mail stops things, a link that was mailed for it changes everything (R10.2)."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import people, subscribing
from mailer.feedback import optouts, visits
from mailer.feedback.optouts import How, Kind
from mailer.feedback.visits import Visit
from mailer.submission import Intake
from mailer.web.recipient.asking import Form, Service, committed, how, read_form, token_of
from mailer.web.recipient.editing import edit
from mailer.web.recipient.pages import Pages, language_of
from mailer.web.recipient.words import SPOKEN
from suppression.rules import Stream
from suppression.token import OptOut

_SOURCE = "preference page"


class _Link(NamedTuple):
    """What a link says, and how much it may do."""

    opt_out: OptOut
    #: It was mailed because somebody asked for it, and its end has not come.
    edits: bool
    #: It was, and its end has come.
    ended: bool = False


class Asked(NamedTuple):
    """What is asked of one link at one moment."""

    opt_out: OptOut
    form: Form
    how: How
    now: datetime
    context: Intake


class Told(NamedTuple):
    """What the page says of an act: keys of its words, and what stands in them."""

    saved: str = ""
    problem: str = ""
    #: Keys of the topics that were stopped by it.
    stopped: tuple[str, ...] = ()
    #: Something was left, so that a reason may be said.
    left: bool = False
    #: Mail waits to be sent.
    rings: bool = False


class Choices:
    """The two sides of `/p/{token}`."""

    def __init__(self, service: Service, pages: Pages) -> None:
        """Keep what answers need."""
        self._service = service
        self._pages = pages

    async def show(self, request: Request) -> Response:
        """Show what may be chosen by this link; nothing changes."""
        link = self._read(request)
        if link is None:
            return self._pages.damaged(request)
        now = self._service.now()
        visit = await self._service.database.read(lambda session: _look(session, link, now))
        return self._page(request, link, visit, Told()) if visit else self._pages.damaged(request)

    async def save(self, request: Request) -> Response:
        """Do what one of the forms says, and show what may be chosen now."""
        link = self._read(request)
        form = await read_form(request)
        if link is None:
            return self._pages.damaged(request)
        kind = Kind.EDIT if link.edits else Kind.PREFERENCES
        way, now = how(request, kind, self._service.settings), self._service.now()
        asked = Asked(link.opt_out, form, way, now, self._service.intake)
        acts = _EDITS if link.edits else _STOPS

        def verb(session: Session) -> tuple[Visit, Told] | None:
            if _look(session, link, now) is None:
                return None
            act = acts.get(form.one("form"))
            told = act(session, asked) if act else Told()
            visit = _look(session, link, now)
            return (visit, told) if visit else None

        answer = await committed(self._service.database, verb)
        if answer is None:
            return self._pages.damaged(request)
        if answer[1].rings:
            self._service.ring(Stream.TRANSACTIONAL)
        return self._page(request, link, *answer)

    def _read(self, request: Request) -> _Link | None:
        token, links = token_of(request), self._service.links
        if (opt_out := links.read_preferences(token)) is not None:
            return _Link(opt_out, edits=False)
        if (opt_out := links.read_edit(token, self._service.now())) is not None:
            return _Link(opt_out, edits=True)
        ended = links.read_ended(token)
        return _Link(ended, edits=False, ended=True) if ended is not None else None

    def _page(self, request: Request, link: _Link, visit: Visit, told: Told) -> Response:
        language = language_of(request, visit.locale)
        named = visit.own if link.edits else visit.offered
        names = {each.topic.key: each.topic.name_in(language) for each in named}
        values: dict[str, object] = {
            "visit": visit,
            "sender": visit.sender,
            "told": told,
            "names": [names[key] for key in told.stopped if key in names],
            "ended": link.ended,
            "promotional": [each for each in named if each.topic.stream is Stream.PROMOTIONAL],
            "notifications": [each for each in named if each.topic.stream is Stream.TRANSACTIONAL],
        }
        if link.edits:
            values |= {"stopped": visits.stopped(visit.preferences), "languages": SPOKEN}
        return self._pages.page(
            request, "preferences.html" if link.edits else "stopping.html", values, locale=visit.locale
        )


def _look(session: Session, link: _Link, now: datetime) -> Visit | None:
    done_by = optouts.BY_EDIT if link.edits else optouts.BY_LINK
    return visits.look(session, link.opt_out, now, done_by=done_by)


def _stop(session: Session, asked: Asked) -> Told:
    stopped = optouts.stop(session, asked.opt_out, asked.form.many("topic"), asked.how, asked.now)
    return Told("saved_stop", stopped=stopped, left=True) if stopped else Told(problem="stop_missing")


def _all(session: Session, asked: Asked) -> Told:
    optouts.stop(session, asked.opt_out, (), asked.how, asked.now, promotional=True)
    return Told("saved_all", left=True)


def _snooze(session: Session, asked: Asked) -> Told:
    optouts.snooze(session, asked.opt_out, asked.how, asked.now)
    return Told("saved_snooze")


def _untracked(session: Session, asked: Asked) -> Told:
    who = (asked.opt_out.tenant_id, asked.opt_out.fingerprint)
    people.choose_tracking(session, *who, granted=False, source=_SOURCE, now=asked.now)
    return Told("saved_tracking_no")


def _mail(session: Session, asked: Asked) -> Told:
    accepted = subscribing.mail_link(session, asked.opt_out, asked.context, asked.now)
    # The same words whether or not a mail goes: the page tells nobody whether the address is still known.
    return Told("saved_link", rings=accepted is not None)


def _undo(session: Session, asked: Asked) -> Told:
    done_by = optouts.BY_EDIT if asked.how.kind is Kind.EDIT else optouts.BY_LINK
    given = optouts.undo(session, asked.opt_out, asked.now, asked.how, done_by=done_by)
    return Told("saved_undo") if given else Told(problem="late")


def _why(session: Session, asked: Asked) -> Told:
    done_by = optouts.BY_EDIT if asked.how.kind is Kind.EDIT else optouts.BY_LINK
    kept = optouts.say_why(session, asked.opt_out, asked.form.one("said"), asked.now, done_by=done_by)
    return Told("thanks") if kept else Told()


def _edited(session: Session, asked: Asked) -> Told:
    return Told("saved_topics", left=edit(session, asked.opt_out, asked.form, asked.how, asked.now))


def _tracking(session: Session, asked: Asked) -> Told:
    answer = {"yes": True, "no": False}.get(asked.form.one("tracking"))
    if answer is None:
        return Told(problem="tracking_missing")
    who = (asked.opt_out.tenant_id, asked.opt_out.fingerprint)
    people.choose_tracking(session, *who, granted=answer, source=_SOURCE, now=asked.now)
    return Told(f"saved_tracking_{asked.form.one('tracking')}")


_Act = Callable[[Session, Asked], Told]
#: What the link of a mail may do: whoever was forwarded the mail has it too, so it only ever stops things.
_STOPS: Mapping[str, _Act] = {
    "stop": _stop,
    "all": _all,
    "snooze": _snooze,
    "untracked": _untracked,
    "link": _mail,
    "undo": _undo,
    "why": _why,
}
#: What a link may do that only the mailbox itself got.
_EDITS: Mapping[str, _Act] = {
    "topics": _edited,
    "tracking": _tracking,
    "undo": _undo,
    "why": _why,
}
