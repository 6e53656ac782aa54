"""What support does for a person who asked for it: each act with a note that shows it, in the person's name."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime

from sqlmodel import Session
from starlette.responses import Response

from mailer import emails, erasure, people, profiles
from mailer.audit import Act
from mailer.drafts import Noted, PersonChange, parse
from mailer.emails import Filter
from mailer.errors import Conflict, Invalid, NotFound, Problem
from mailer.feedback.optouts import How, Kind
from mailer.people import Preferences
from mailer.profiles import Profile
from mailer.web.dashboard import whom
from mailer.web.dashboard.asking import Asked
from mailer.web.explaining import entry_view
from suppression import address, entries, rules
from suppression.address import Address, AddressError
from suppression.entries import Entry
from suppression.rules import Ender

#: How a yes that was said to support is proved: where, and what the person read.
_SOURCE, _WORDING = "support", "told to support"
_PAGE = 200


def profile(asked: Asked, who: Address) -> Profile:
    """Return the person of an address."""
    return Profile.of(asked.tenant_id, who, asked.service.intake.fingerprints)


def liftable(entry: Entry, now: datetime) -> bool:
    """Return whether an operator may end this entry, with a note."""
    return entry.live(now) and rules.may_end(entry.reason, Ender.OPERATOR)


async def act(asked: Asked) -> Response:
    """Do what was asked for, and lead back to the person."""
    do = asked.form.one("do")
    if do == "export":
        return await _export(asked)
    if do == "erase":
        return await _erase(asked)
    if do not in _ACTS:
        raise Invalid(Problem("do", f"must be one of export, erase, {', '.join(_ACTS)}"))

    def verb(session: Session) -> None:
        _ACTS[do](asked, _whose(session, asked), session)

    await asked.run(verb, conclusive=True)
    return asked.to(f"/people/{asked.param('print')}", done=f"person_{do}")


def leave(asked: Asked, whose: Profile, session: Session) -> None:
    """Opt a person out who asked for it: `leave_topic` is a key, `everything`, or empty for all promotional mail."""
    chosen = asked.form.one("leave_topic")
    everything = chosen == "everything"
    how = _how(asked, whose, "leave")
    topic = None if everything or not chosen else chosen
    outcome = profiles.leave(session, whose, topic, how, asked.now, everything=everything)
    _log(asked, session, Act.PERSON_LEFT, whose, scope=outcome.scope)


def _save(asked: Asked, whose: Profile, session: Session) -> None:
    """Save what the person wants now; what stays as it was is not said anew."""
    how = _how(asked, whose, "save")
    form, before = (
        asked.form,
        people.preferences(session, asked.tenant_id, whose.prints[0], asked.now, whose.prints[1:]),
    )
    if form.one("seen") != state_of(before):
        raise Conflict("what this person gets has changed since the page was loaded: load it again, and look")
    wanted = form.many("topic")
    given: dict[str, object] = {
        "topics": {
            each.topic.key: each.topic.key in wanted
            for each in before.topics
            if each.may_leave and (each.topic.key in wanted) is not each.gets
        }
    }
    if (said := {"yes": True, "no": False}.get(form.one("tracking"))) is not None and said is not before.tracking:
        given["tracking"] = said
    if (locale := form.one("locale") or None) != before.locale:
        given["locale"] = locale
    changed = sorted(name for name, value in given.items() if value != {})
    if not changed:
        raise Invalid(Problem("", "person_nothing_new"))
    draft = parse(PersonChange, {**given, "source": _SOURCE, "wording": _WORDING})
    _saved(asked, whose, session, draft, how)
    _log(asked, session, Act.PERSON_CHANGED, whose, changed=changed)


def state_of(chosen: Preferences) -> str:
    """Return what a form shows of a person's choices, in short; a stale one must undo nothing that they did since."""
    shown = [sorted((each.topic.key, each.gets) for each in chosen.topics), chosen.tracking, chosen.locale]
    return hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:16]


def _snooze(asked: Asked, whose: Profile, session: Session) -> None:
    _saved(asked, whose, session, PersonChange(snoozed=True), _how(asked, whose, "snooze"))
    _log(asked, session, Act.PERSON_CHANGED, whose, changed=["snooze"])


def _wake(asked: Asked, whose: Profile, session: Session) -> None:
    _saved(asked, whose, session, PersonChange(snoozed=False), _how(asked, whose, "wake"))
    _log(asked, session, Act.PERSON_CHANGED, whose, changed=["snooze"])


def _undo(asked: Asked, whose: Profile, session: Session) -> None:
    how = How(Kind.SUPPORT, address=whose.who.original, evidence={"by": asked.operator})
    profiles.save(session, whose, PersonChange(undo=True), how, asked.now)
    _log(asked, session, Act.PERSON_UNDONE, whose)


def _lift(asked: Asked, whose: Profile, session: Session) -> None:
    """End an entry of this person that operators may end."""
    entry_id, why = asked.form.one("entry"), note(asked, "lift")
    prints = entries.family(session, asked.tenant_id, whose.prints)
    entry = entries.by_ids(session, asked.tenant_id, [entry_id]).get(entry_id)
    if entry is None or entry.fingerprint not in prints:
        raise NotFound("this person has no such entry")
    people.lift(session, asked.tenant_id, entry_id, asked.operator, why, asked.now)
    _log(asked, session, Act.PERSON_LIFTED, whose, entry=entry_id)


_ACTS = {"leave": leave, "save": _save, "snooze": _snooze, "wake": _wake, "undo": _undo, "lift": _lift}


def _saved(asked: Asked, whose: Profile, session: Session, draft: PersonChange, how: How) -> None:
    try:
        profiles.save(session, whose, draft, how, asked.now)
    except Conflict:
        # The one thing that is refused here: a complaint is ended by the person alone.
        raise Invalid(Problem("", "person_complained")) from None


async def _export(asked: Asked) -> Response:
    """Hand over everything that is known of the person, as JSON."""

    whose = await asked.read(lambda session: _whose(session, asked))
    # Written down first, and read outside of that transaction: nobody's mail waits while it is gathered.
    await asked.run(lambda session: _log(asked, session, Act.PERSON_EXPORTED, whose))
    known = await asked.read(lambda session: _known(session, asked, whose))
    body = json.dumps(known, ensure_ascii=False, indent=2, default=_plain)
    headers = {
        "Content-Disposition": f'attachment; filename="person-{asked.param("print")[:8]}.json"',
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    return Response(body, media_type="application/json", headers=headers)


def _known(session: Session, asked: Asked, whose: Profile) -> Mapping[str, object]:
    prints = entries.family(session, asked.tenant_id, whose.prints)
    mails: list[dict[str, object]] = []
    after: str | None = None
    while True:
        page = emails.listing(session, asked.tenant_id, Filter(prints=prints), limit=_PAGE, after=after)
        shown = emails.versions_of(session, page.emails)
        mails += [
            emails.view(each, emails.events_of(session, each), shown.get(each.content_id)) for each in page.emails
        ]
        if not page.has_more:
            break
        after = page.emails[-1].id
    found = entries.list_entries(session, asked.tenant_id, limit=10_000, now=asked.now, fingerprints=prints)
    return {
        "person": profiles.view(session, whose, asked.now, Kind.SUPPORT),
        "suppressions": [entry_view(entry) for entry in found],
        "emails": mails,
    }


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


async def _erase(asked: Asked) -> Response:
    """Forget the person, once their address was typed as the sign that it is meant."""
    whose = await asked.read(lambda session: _whose(session, asked))
    if not _is_address(asked.form.one("confirm"), whose.who):
        raise Invalid(Problem("confirm", "person_wrong_confirm"))
    why = note(asked, "erase")

    def verb(session: Session) -> erasure.Erased:
        erased = erasure.erase(session, asked.tenant_id, whose.prints, asked.now, why)
        _log(asked, session, Act.PERSON_ERASED, whose)
        return erased

    spelled = (whose.who.original, whose.who.envelope)
    await erasure.everywhere(asked.service.database, asked.service.store, verb, spelled)
    return asked.to("/people", done="person_erased")


def _is_address(text: str, who: Address) -> bool:
    try:
        return address.parse(text.strip()).canonical == who.canonical
    except AddressError:
        return False


def _whose(session: Session, asked: Asked) -> Profile:
    person = whom.by_fingerprint(session, asked, asked.param("print"))
    if person.address is None:
        raise Conflict("this person was erased: nothing is left to act upon")
    return profile(asked, address.parse(person.address))


def _how(asked: Asked, whose: Profile, do: str) -> How:
    """Return by whom an act was done, and the note that shows that the person asked for it."""
    return How(Kind.SUPPORT, address=whose.who.original, evidence={"by": asked.operator}, note=note(asked, do))


def note(asked: Asked, do: str) -> str:
    """Return why something is done, from the field `note_…` of its form; raises `Invalid` where nothing is said."""
    name = f"note_{do}"
    if not (text := asked.form.one(name).strip()):
        raise Invalid(Problem(name, "person_no_note"))
    try:
        return parse(Noted, {"note": text}).note
    except Invalid as error:
        raise Invalid(*(Problem(name, each.message) for each in error.problems)) from None


def _log(asked: Asked, session: Session, done: Act, whose: Profile, **data: object) -> None:
    asked.log(session, done, whom.written(whose.prints[0]), **data)
