"""A person as a sender knows them: what they get and permitted, what happened, and what is chosen in their name.

The product's own profile page (by the API) and support (in the dashboard and on the command line) speak for people, by
the same lines; what nobody but the person themselves may do, such as ending a complaint, is refused to both.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlmodel import Session, col, select

from mailer import emails, people
from mailer.drafts import PersonChange
from mailer.errors import Conflict, Invalid, Problem
from mailer.feedback import optouts
from mailer.feedback.optouts import Chosen, How, Outcome
from mailer.models import Consent, Email, Event
from mailer.people import Preferences
from suppression import entries, rules
from suppression.address import Address, Fingerprints
from suppression.entries import Entry, KinKind
from suppression.rules import Stream
from suppression.token import OptOut

#: How much of what happened is shown: the newest mails, and all that was said and left.
_MAILS = 50


class Profile(NamedTuple):
    """Whose: the address, and its fingerprint by each key (-> id of the key), the primary first."""

    tenant_id: int
    who: Address
    named: Mapping[bytes, str]

    @classmethod
    def of(cls, tenant_id: int, who: Address, fingerprints: Fingerprints) -> "Profile":
        """Return the profile of an address."""
        return cls(tenant_id, who, fingerprints.named(tenant_id, who.canonical))

    @property
    def prints(self) -> tuple[bytes, ...]:
        """Return the fingerprints, the primary first."""
        return tuple(self.named)

    def opt_out(self, stream: Stream = Stream.PROMOTIONAL, topic: str | None = None) -> OptOut:
        """Return what a link of a mail to this person would say."""
        return OptOut(self.tenant_id, self.prints[0], stream, topic)


def leave(
    session: Session, profile: Profile, topic: str | None, how: How, now: datetime, *, everything: bool = False
) -> Outcome:
    """Opt a person out who asked for it: a topic, all promotional mail, or with `everything` all that may be left.

    It counts as their own act, and only they can end it. Raises `Invalid` where there is no such topic, or none that
    people can leave. Run it `conclusive` (`Database.run`).
    """
    stream = _stream_of(session, profile.tenant_id, topic)
    _relate(session, profile, now)
    scope = rules.topic_scope(topic) if topic else rules.ALL if everything else rules.STREAM_PROMOTIONAL
    return optouts.opted_out(session, profile.opt_out(stream, topic), how, now, scope=scope)


def save(session: Session, profile: Profile, draft: PersonChange, how: How, now: datetime) -> None:
    """Save what a person chose, whoever says it for them; nothing here ends a complaint.

    `how` says by which way, and what shows it; an undo takes back the last act of the same way. Raises `Invalid` and
    `Conflict` with the reason. Run it `conclusive` (`Database.run`).
    """
    _relate(session, profile, now)
    opt_out, done_by = profile.opt_out(), frozenset({how.kind})
    if draft.undo:
        if optouts.undo(session, opt_out, now, how, done_by=done_by) is None:
            raise Conflict("there is nothing to undo: taking back works for 30 minutes, and only once")
        return
    before = people.preferences(session, profile.tenant_id, opt_out.fingerprint, now)
    _check(draft, before)
    known = {each.topic.key: each for each in before.topics}
    back = frozenset(key for key, wanted in draft.topics.items() if wanted and not known[key].gets)
    if back:
        proof = Chosen(back, back, source=draft.source or "", wording=draft.wording, evidence=_shown_by(how))
        optouts.choose(session, opt_out, proof, how, now)
    gone = [key for key, wanted in draft.topics.items() if not wanted]
    if gone or draft.promotional is False:
        optouts.stop(session, opt_out, gone, how, now, promotional=draft.promotional is False)
    if draft.snoozed:
        optouts.snooze(session, opt_out, how, now)
    elif draft.snoozed is False or (
        draft.snoozed is None and any(known[key].topic.stream is Stream.PROMOTIONAL for key in back)
    ):
        # Who says yes today wants it from today on, unless they say that the pause goes on.
        people.wake(session, profile.tenant_id, opt_out.fingerprint, now)
    _answer(session, profile, draft, how, now)
    if draft.reason:
        optouts.say_why(session, opt_out, draft.reason, now, done_by=done_by)


def view(session: Session, profile: Profile, now: datetime, by: optouts.Kind) -> dict[str, object]:
    """Return a person as JSON shows them; `undoable` says whether the last act by this way can be taken back."""
    prints = profile.prints
    chosen = people.preferences(session, profile.tenant_id, prints[0], now, prints[1:])
    family = entries.family(session, profile.tenant_id, prints)
    said = people.answers_of(session, profile.tenant_id, family)
    return {
        "email": profile.who.original,
        "locale": chosen.locale,
        "tracking": chosen.tracking,
        "last_open": max(people.last_opens(session, profile.tenant_id, prints).values(), default=None),
        "all_promotional_left": chosen.all_promotional_left,
        "complained": chosen.complained,
        "snoozed_until": chosen.snoozed_until,
        "undoable": undoable(session, profile, now, by),
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
        "timeline": _timeline(session, profile.tenant_id, family, said),
    }


def undoable(session: Session, profile: Profile, now: datetime, by: optouts.Kind) -> bool:
    """Return whether the last act by this way can be taken back."""
    return optouts.undoable(session, profile.opt_out(), now, done_by=frozenset({by}))


def _relate(session: Session, profile: Profile, now: datetime) -> None:
    entries.relate(session, profile.tenant_id, [profile.named], KinKind.KEY, now)


def _stream_of(session: Session, tenant_id: int, key: str | None) -> Stream:
    """Return the stream of the topic; raises `Invalid` where people cannot leave it."""
    if key is None:
        return Stream.PROMOTIONAL
    topic = next((each for each in people.topics(session, tenant_id) if each.key == key), None)
    if topic is None:
        raise Invalid(Problem("topic", f"there is no topic {key}"))
    if not people.may_leave(topic):
        raise Invalid(Problem("topic", f"{key} is mail that people cannot leave, such as invoices and security"))
    return topic.stream


def _shown_by(how: How) -> dict[str, object]:
    """Return what shows a yes that somebody else wrote down: who it was, and their note."""
    return {**(how.evidence or {}), **({"note": how.note} if how.note else {})}


def _answer(session: Session, profile: Profile, draft: PersonChange, how: How, now: datetime) -> None:
    """Keep the yes or no to being measured, and the language."""
    tenant_id, fingerprint = profile.tenant_id, profile.prints[0]
    if draft.tracking is not None and draft.tracking is not people.tracking_choice(session, tenant_id, fingerprint):
        said = people.Permission(
            tenant_id=tenant_id,
            fingerprint=fingerprint,
            purpose=people.TRACKING,
            granted=draft.tracking,
            source=draft.source or how.kind.value,
            wording=draft.wording,
            evidence=_shown_by(how),
        )
        people.permit(session, said, now)
    if "locale" in draft.model_fields_set:
        people.choose_language(session, tenant_id, fingerprint, draft.locale, address=profile.who.original, now=now)


def _check(draft: PersonChange, before: Preferences) -> None:
    """Refuse what nobody may do for a person: unknown topics, a yes without its proof, the end of a complaint."""
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
    session: Session, tenant_id: int, prints: Sequence[bytes], said: Sequence[Consent]
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
