"""People: found by an address or a mail; why each mail comes or not, what they chose and permitted, what they got."""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial
from typing import NamedTuple

from sqlmodel import Session
from starlette.responses import Response

from mailer import emails, people, profiles
from mailer.emails import Filter, Page, Shown
from mailer.errors import Forbidden, Invalid, Problem
from mailer.feedback.optouts import Kind
from mailer.models import Consent, Email, Topic
from mailer.people import Preferences
from mailer.users.permissions import May
from mailer.web.dashboard import helping, whom
from mailer.web.dashboard.asking import Asked, Screen
from mailer.web.dashboard.words import SPOKEN
from mailer.web.explaining import enders, explained
from suppression import address, entries, rules
from suppression.entries import Entry
from suppression.rules import Stream

_MAILS = 20
_ENTRIES = 100


async def show(asked: Asked, unknown: str = "") -> Response:
    """Show the form that finds somebody; `unknown` is an address of which nothing is known here."""
    if asked.form.one("do") == "leave":
        unknown = asked.form.one("who")
    topics = await asked.read(lambda session: people.topics(session, asked.tenant_id))
    leavable = [topic for topic in topics if people.may_leave(topic)]
    return asked.page("people.html", {"unknown": unknown, "leavable": leavable, "called": {"who": "people_who"}})


async def act(asked: Asked) -> Response:
    """Find somebody, or opt out somebody of whom nothing is known yet."""
    if asked.form.one("do") == "leave":
        if not asked.may(May.EDIT_PEOPLE):
            raise Forbidden("your role may see people and change nothing about them")
        who = _parsed(asked.form.one("who"))
        await asked.run(partial(helping.leave, asked, helping.profile(asked, who)), conclusive=True)
        fingerprint = whom.written(helping.profile(asked, who).prints[0])
        return asked.to(f"/people/{fingerprint}", done="person_leave")
    typed = asked.form.one("who").strip()
    if not typed:
        raise Invalid(Problem("who", "whom_neither"))

    def look(session: Session) -> str:
        found = whom.by_words(session, asked, typed)
        fingerprint = found.fingerprint if isinstance(found, Email) else found
        if fingerprint is None:
            raise Invalid(Problem("who", "whom_erased"))
        return whom.written(fingerprint) if people.find(session, asked.tenant_id, [fingerprint]) else ""

    fingerprint = await asked.read(look)
    return asked.to(f"/people/{fingerprint}") if fingerprint else await show(asked, _parsed(typed).original)


def _parsed(text: str) -> address.Address:
    try:
        return address.parse(text.strip())
    except address.AddressError as error:
        raise Invalid(Problem("who", str(error))) from None


class _Seen(NamedTuple):
    """What is known of a person."""

    person: whom.Person
    chosen: Preferences
    #: About which mail the rules are asked: `topic:…` or `stream:…`.
    mail: str
    why: Mapping[str, object]
    consents: Sequence[Consent]
    entries: Sequence[Entry]
    mails: Page
    shown: Mapping[int, Shown]
    last_open: date | None
    undoable: bool
    users: Mapping[str, str]
    #: Only the day of the last open is kept of what they do.
    last_open_only: bool


async def show_one(asked: Asked) -> Response:
    """Show a person: what comes and why not, what they chose, said and left, their newest mail, what can be done."""
    seen = await asked.read(lambda session: _see(session, asked))
    topics = {rules.topic_scope(each.topic.key): each.topic for each in seen.chosen.topics}
    return asked.page(
        "person.html",
        {
            **{name: value for name, value in seen._asdict().items() if name != "mail"},
            "reference": asked.param("print"),
            "topics": topics,
            "names": {scope: topic.name_in(asked.say.language) for scope, topic in topics.items()},
            "enders": enders,
            "liftable": helping.liftable,
            "languages": _languages(seen.chosen),
            "state": helping.state_of(seen.chosen),
            "mail_asked": seen.mail,
            "now": asked.now,
        },
    )


def _see(session: Session, asked: Asked) -> _Seen:
    tenant_id, now = asked.tenant_id, asked.now
    person = whom.by_fingerprint(session, asked, asked.param("print"))
    prints = person.prints
    chosen = people.preferences(session, tenant_id, prints[0], now, prints[1:])
    mail, stream, topic = _asked_about(asked, [each.topic for each in chosen.topics])
    found = entries.list_entries(session, tenant_id, limit=_ENTRIES, now=now, fingerprints=prints)
    mails = emails.listing(session, tenant_id, Filter(prints=prints), limit=_MAILS)
    opens = people.last_opens(session, tenant_id, prints)
    known = helping.profile(asked, address.parse(person.address)) if person.address else None
    said_by = [*(each.lifted_by or "" for each in found), *(str((each.evidence or {}).get("by")) for each in found)]
    consents = people.answers_of(session, tenant_id, prints)
    return _Seen(
        person=person,
        chosen=chosen,
        mail=mail,
        why=explained(session, tenant_id, prints, stream, topic, now),
        consents=consents[::-1],
        entries=found,
        mails=mails,
        shown=emails.versions_of(session, mails.emails),
        last_open=max(opens.values(), default=None),
        undoable=known is not None and profiles.undoable(session, known, now, Kind.SUPPORT),
        users=whom.operators(session, [*said_by, *(str((each.evidence or {}).get("by")) for each in consents)]),
        last_open_only=asked.tenant.last_open_only,
    )


def _asked_about(asked: Asked, known: Sequence[Topic]) -> tuple[str, Stream, rules.Topic | None]:
    """Return about which mail the rules are asked; all promotional mail where nothing else was chosen."""
    mail = asked.query("mail", 60)
    topic = next((each for each in known if rules.topic_scope(each.key) == mail), None)
    if topic is not None:
        return mail, topic.stream, rules.Topic(topic.key, topic.stream, people.may_leave(topic))
    if mail == rules.STREAM_TRANSACTIONAL:
        return mail, Stream.TRANSACTIONAL, None
    return rules.STREAM_PROMOTIONAL, Stream.PROMOTIONAL, None


def _languages(chosen: Preferences) -> Mapping[str, str]:
    """Return the languages to choose from: ours, and the one that was chosen."""
    return {**SPOKEN, **({chosen.locale: SPOKEN.get(chosen.locale, chosen.locale)} if chosen.locale else {})}


SCREENS = (
    Screen("/people", May.SEE_PEOPLE, show, act),
    Screen("/people/{print}", May.SEE_PEOPLE, show_one, helping.act, may_act=May.EDIT_PEOPLE),
)
