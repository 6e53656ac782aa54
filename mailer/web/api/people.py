"""A person as the product's own profile page shows them, and what they choose there."""

from datetime import datetime

from sqlmodel import Session, col, select

from mailer import emails, moving, people
from mailer.drafts import PersonChange
from mailer.errors import Conflict, Invalid, NotFound, Problem
from mailer.feedback import optouts
from mailer.feedback.optouts import Chosen, How, Kind
from mailer.models import Consent, Email, Event
from mailer.people import Preferences
from mailer.web.api.calls import Answer, Call
from suppression import address, entries
from suppression.entries import Entry, KinKind
from suppression.rules import Stream
from suppression.token import OptOut

#: How much of what happened is shown: the newest mails, and all that was said and left.
_MAILS = 50


async def show(call: Call) -> Answer:
    """Show what a person gets, what they permitted, and what happened."""
    who = _who(call)
    return Answer(await call.read(lambda session: _view(session, call, who)))


async def change(call: Call) -> Answer:
    """Save what a person chose on the profile page of the product; nothing here ends a complaint."""
    draft, who = call.draft(PersonChange), _who(call)

    def verb(session: Session) -> dict[str, object]:
        now_at = _moved(session, call, who, draft)
        named = call.service.intake.fingerprints.named(call.tenant_id, now_at.canonical)
        entries.relate(session, call.tenant_id, [named], KinKind.KEY, call.now)
        _save(session, call, now_at, draft)
        return _view(session, call, now_at)

    return Answer(await call.run(verb, conclusive=True))


def _who(call: Call) -> address.Address:
    try:
        return address.parse(call.path("email"))
    except address.AddressError:
        raise NotFound("there is no such address") from None


def _moved(session: Session, call: Call, former: address.Address, draft: PersonChange) -> address.Address:
    """Return the address that the person has now; what else they chose is chosen for it."""
    if draft.email is None:
        return former
    present = address.parse(draft.email)
    moving.move(session, call.tenant_id, former, present, call.service.intake, call.now)
    return present


def _opt_out(call: Call, who: address.Address) -> OptOut:
    fingerprint = call.service.intake.fingerprints.of(call.tenant_id, who.canonical)
    return OptOut(call.tenant_id, fingerprint, Stream.PROMOTIONAL)


def _save(session: Session, call: Call, who: address.Address, draft: PersonChange) -> None:
    opt_out, how = _opt_out(call, who), How(Kind.API, draft.ip, who.original)
    if draft.undo:
        if optouts.undo(session, opt_out, call.now, how, done_by=optouts.BY_API) is None:
            raise Conflict("there is nothing to undo: taking back works for 30 minutes, and only once")
        return
    before = people.preferences(session, call.tenant_id, opt_out.fingerprint, call.now)
    _check(draft, before)
    known = {each.topic.key: each for each in before.topics}
    back = frozenset(key for key, wanted in draft.topics.items() if wanted and not known[key].gets)
    if back:
        proof = Chosen(back, back, source=draft.source or "", wording=draft.wording)
        optouts.choose(session, opt_out, proof, how, call.now)
    gone = [key for key, wanted in draft.topics.items() if not wanted]
    if gone or draft.promotional is False:
        optouts.stop(session, opt_out, gone, how, call.now, promotional=draft.promotional is False)
    if draft.snoozed:
        optouts.snooze(session, opt_out, how, call.now)
    elif draft.snoozed is False or (
        draft.snoozed is None and any(known[key].topic.stream is Stream.PROMOTIONAL for key in back)
    ):
        # Who says yes today wants it from today on, unless they say that the pause goes on.
        people.wake(session, call.tenant_id, opt_out.fingerprint, call.now)
    _answer(session, call, who, draft)
    if draft.reason:
        optouts.say_why(session, opt_out, draft.reason, call.now, done_by=optouts.BY_API)


def _answer(session: Session, call: Call, who: address.Address, draft: PersonChange) -> None:
    """Keep the yes or no to being measured, and the language."""
    fingerprint = _opt_out(call, who).fingerprint
    if draft.tracking is not None and draft.tracking is not people.tracking_choice(
        session, call.tenant_id, fingerprint
    ):
        said = people.Permission(
            tenant_id=call.tenant_id,
            fingerprint=fingerprint,
            purpose=people.TRACKING,
            granted=draft.tracking,
            source=draft.source or "api",
            wording=draft.wording,
        )
        people.permit(session, said, call.now)
    if "locale" in draft.model_fields_set:
        person = (call.tenant_id, fingerprint, draft.locale)
        people.choose_language(session, *person, address=who.original, now=call.now)


def _check(draft: PersonChange, before: Preferences) -> None:
    """Refuse what a profile page may not do: unknown topics, a yes without its proof, the end of a complaint."""
    known = {each.topic.key: each for each in before.topics}
    problems = [Problem(f"topics.{key}", f"there is no topic {key}") for key in draft.topics if key not in known]
    problems += [
        Problem(f"topics.{key}", f"mail of the topic {key} always comes: people need it")
        for key, wanted in draft.topics.items()
        if not wanted and key in known and not known[key].may_leave
    ]
    begins = [key for key, wanted in draft.topics.items() if wanted and key in known and not known[key].gets]
    if begins or (draft.tracking and not before.tracking):
        problems += [
            Problem(name, "is required with a yes: it is the proof that the person gave it")
            for name in ("source", "wording")
            if getattr(draft, name) is None
        ]
    if problems:
        raise Invalid(*problems)
    if before.complained and any(known[key].topic.stream is Stream.PROMOTIONAL for key in begins):
        raise Conflict(
            "the person complained: only they can end that, by the link that their preference page mails them"
            " or by a confirmation mail"
        )


def _view(session: Session, call: Call, who: address.Address) -> dict[str, object]:
    prints = call.service.intake.fingerprints.all_of(call.tenant_id, who.canonical)
    chosen = people.preferences(session, call.tenant_id, prints[0], call.now, prints[1:])
    family = entries.family(session, call.tenant_id, prints)
    said = people.answers_of(session, call.tenant_id, family)
    return {
        "email": who.original,
        "locale": chosen.locale,
        "tracking": chosen.tracking,
        "all_promotional_left": chosen.all_promotional_left,
        "complained": chosen.complained,
        "snoozed_until": chosen.snoozed_until,
        "undoable": optouts.undoable(session, _opt_out(call, who), call.now, done_by=optouts.BY_API),
        "topics": [
            {
                "key": each.topic.key,
                "stream": each.topic.stream,
                "names": each.topic.names,
                "descriptions": each.topic.descriptions,
                "may_leave": each.may_leave,
                "shown": each.shown,
                "gets": each.gets,
                "blocked_by": each.why,
            }
            for each in chosen.topics
        ],
        "consents": [_consent(each) for each in reversed(said)],
        "timeline": _timeline(session, call.tenant_id, family, said),
    }


def _consent(consent: Consent) -> dict[str, object]:
    return {
        "id": consent.id,
        "purpose": consent.purpose,
        "granted": consent.granted,
        "source": consent.source,
        "wording": consent.wording,
        "at": consent.at,
        "expires_at": consent.expires_at,
        "email_id": consent.email_id,
    }


def _timeline(
    session: Session, tenant_id: int, prints: tuple[bytes, ...], said: list[Consent]
) -> list[dict[str, object]]:
    """Return what happened, the newest first."""
    mails = select(Email).where(col(Email.tenant_id) == tenant_id, col(Email.fingerprint).in_(prints))
    found = session.exec(mails.order_by(col(Email.id).desc()).limit(_MAILS)).all()
    of_mails = select(Event).where(col(Event.email_id).in_([each.id for each in found])).order_by(col(Event.id))
    events: dict[str | None, list[Event]] = {}
    for event in session.exec(of_mails):
        events.setdefault(event.email_id, []).append(event)
    told: list[tuple[datetime, str, dict[str, object]]] = []
    for email in found:
        of_mail: dict[str, object] = {"email_id": email.id, "stream": email.stream, "topic": email.topic}
        told += [(at, kind, of_mail) for at, kind in emails.moments(email, events.get(email.id, ()))]
    left = select(Entry).where(col(Entry.tenant_id) == tenant_id, col(Entry.fingerprint).in_(prints))
    for entry in session.exec(left):
        about: dict[str, object] = {"suppression_id": entry.id, "reason": entry.reason, "scope": entry.scope}
        told.append((entry.created_at, "suppression.created", about))
        if entry.lifted_at is not None:
            told.append((entry.lifted_at, "suppression.lifted", about))
    told += [
        (each.at, "consent.changed", {"consent_id": each.id, "purpose": each.purpose, "granted": each.granted})
        for each in said
    ]
    newest = sorted(told, key=lambda one: one[0], reverse=True)
    return [{"type": kind, "at": at, **about} for at, kind, about in newest]
