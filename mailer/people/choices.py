"""What a person gets, topic by topic, how they pause, and how they come back to one."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from sqlmodel import Session, col, select

from mailer.models import Email, LeaveRule, Topic, TopicDefault, Visibility
from mailer.people.consents import tracking_choice
from mailer.people.languages import chosen_languages
from mailer.people.permitting import Said, newest
from mailer.people.stopping import Leaving, Left, key_of, leave, lift, standing, suppress
from suppression import entries, rules
from suppression.entries import Entry, KinKind, NewEntry
from suppression.rules import Ender, Origin, Reason, Stream

#: What a person has decided, and may take back by a fresh opt-in. A pause (snooze) is no decision to leave.
_OWN = frozenset({Reason.UNSUBSCRIBE, Reason.COMPLAINT})


class Choice(NamedTuple):
    """One topic, as the person stands to it."""

    topic: Topic
    #: The person has left it.
    left: bool
    #: It comes, as far as the person decides: they have not left it and, where it asks for a yes, they said it.
    gets: bool
    #: Shown to this person: it is public, or it is private and came to them; never once it is retired.
    shown: bool
    #: Whether it is one that people may leave.
    may_leave: bool
    #: What decides that its mail does not go, None where it goes.
    why: Reason | None


class Preferences(NamedTuple):
    """What a person gets from a tenant, and whether opens may be measured."""

    topics: tuple[Choice, ...]
    all_promotional_left: bool
    #: The recorded yes or no, None where the person never said.
    tracking: bool | None
    #: Until when promotional mail pauses, None where it does not.
    snoozed_until: datetime | None = None
    #: The language that the person chose, None where they never did.
    locale: str | None = None
    #: A provider told us that they complained: only their own yes, given where they can be known, ends that.
    complained: bool = False


class Rejoined(NamedTuple):
    """What a return ended, and what stands in its place for the topics that stay left."""

    lifted: tuple[Entry, ...]
    added: tuple[Entry, ...]


def preferences(
    session: Session, tenant_id: int, fingerprint: bytes, now: datetime, others: Collection[bytes] = ()
) -> Preferences:
    """Return what the person gets, topic by topic.

    `others` are fingerprints of the same mailbox by older keys; kin that the table knows is found without being named.
    """
    prints = [fingerprint, *others]
    family = entries.family(session, tenant_id, prints)
    live = standing(session, tenant_id, family, now)
    own = [entry for entry in live if entry.reason in _OWN]
    known = topics(session, tenant_id)
    yes = _said_yes(session, tenant_id, prints, known, now)
    came = _came(session, tenant_id, family, [topic for topic in known if topic.visibility is Visibility.PRIVATE])
    choices = []
    for topic in known:
        left, said = _any_blocks(own, topic), rules.topic_scope(topic.key) in yes
        gets = not left and (topic.default is TopicDefault.OPT_IN or said)
        shown = not topic.retired and (topic.visibility is Visibility.PUBLIC or said or topic.key in came)
        why = next((entry.reason for entry in live if _blocks(entry, topic)), None)
        choices.append(Choice(topic, left, gets, shown, may_leave(topic), why))
    languages = chosen_languages(session, tenant_id, family)
    pauses = [entry.expires_at for entry in live if entry.reason is Reason.SNOOZE and entry.expires_at]
    return Preferences(
        topics=tuple(choices),
        all_promotional_left=any(_whole(each) for each in own),
        tracking=tracking_choice(session, tenant_id, fingerprint, others),
        snoozed_until=max(pauses, default=None),
        locale=next((languages[each] for each in family if each in languages), None),
        complained=any(entry.reason is Reason.COMPLAINT for entry in own),
    )


def snooze(session: Session, leaving: Leaving, until: datetime, now: datetime) -> Left:
    """Pause promotional mail until a time; a longer pause that stands is kept. `leaving.scope` says nothing here."""
    new = NewEntry(
        tenant_id=leaving.tenant_id,
        fingerprint=leaving.fingerprint,
        key_id=key_of(session, leaving.tenant_id, leaving.fingerprint),
        reason=Reason.SNOOZE,
        scope=rules.STREAM_PROMOTIONAL,
        origin=Origin.RECIPIENT,
        address=leaving.address,
        expires_at=until,
        evidence=leaving.evidence,
    )
    return suppress(session, new, now)


def wake(session: Session, tenant_id: int, fingerprint: bytes, now: datetime) -> list[Entry]:
    """End a pause before its time, in the person's name."""
    live = standing(session, tenant_id, entries.family(session, tenant_id, [fingerprint]), now)
    pauses = [entry for entry in live if entry.reason is Reason.SNOOZE]
    return [lift(session, tenant_id, entry.id, Ender.PERSON, None, now) for entry in pauses]


def _said_yes(
    session: Session, tenant_id: int, prints: Collection[bytes], known: Collection[Topic], now: datetime
) -> set[str]:
    """Return the purposes, among these topics', to which this mailbox said yes last; a former address's is no yes."""
    last = dict[str, Said]()
    for heard, said in newest(session, tenant_id, prints, [rules.topic_scope(topic.key) for topic in known]).items():
        if heard.kind is KinKind.KEY:
            last[heard.purpose] = max(last.get(heard.purpose, said), said)
    return {purpose for purpose, said in last.items() if said.holds(now)}


def _came(session: Session, tenant_id: int, prints: Collection[bytes], among: Collection[Topic]) -> set[str]:
    """Return which of these topics a person has had mail of."""
    if not among:
        return set()
    statement = (
        select(Email.topic)
        .where(
            col(Email.tenant_id) == tenant_id,
            col(Email.fingerprint).in_(prints),
            col(Email.topic).in_([topic.key for topic in among]),
        )
        .distinct()
    )
    return {key for key in session.exec(statement) if key is not None}


def topics(session: Session, tenant_id: int) -> Sequence[Topic]:
    """Return the topics of a tenant in the order in which they were made."""
    return session.exec(select(Topic).where(col(Topic.tenant_id) == tenant_id).order_by(col(Topic.id))).all()


def may_leave(topic: Topic) -> bool:
    """Return whether people may leave a topic; promotional mail can always be left."""
    return topic.stream is Stream.PROMOTIONAL or topic.opt_out is LeaveRule.ALLOWED


def rejoin(session: Session, leaving: Leaving, back: Collection[str], now: datetime) -> Rejoined:
    """Come back to these topics only: what was left as a whole stays left topic by topic.

    `leaving` names the person and the evidence; its scope says nothing here.
    """
    known = topics(session, leaving.tenant_id)
    returning = [topic for topic in known if topic.key in back]
    live = standing(session, leaving.tenant_id, entries.family(session, leaving.tenant_id, [leaving.fingerprint]), now)
    # Facts about the mailbox and an operator's entries are not the person's to end, so they are not touched.
    ended = [
        entry
        for entry in live
        if rules.may_end(entry.reason, Ender.PERSON)
        and entry.reason in _OWN
        and any(_blocks(entry, t) for t in returning)
    ]
    stay = [topic for topic in known if topic not in returning and may_leave(topic) and _any_blocks(ended, topic)]
    scopes = [rules.topic_scope(topic.key) for topic in stay]
    if any(_whole(entry) for entry in ended) and not any(topic.stream is Stream.PROMOTIONAL for topic in returning):
        # Only a notification comes back, so promotional mail stays left as a whole, topics of the future included.
        scopes = [rules.topic_scope(topic.key) for topic in stay if topic.stream is not Stream.PROMOTIONAL]
        scopes.append(rules.STREAM_PROMOTIONAL)
    # The others are left one by one before the whole is lifted, so that there is no moment between.
    kept = [leave(session, replace(leaving, scope=scope), now) for scope in scopes]
    lifted = [lift(session, leaving.tenant_id, entry.id, Ender.PERSON, None, now) for entry in ended]
    return Rejoined(tuple(lifted), tuple(each.entry for each in kept if each.created))


def _whole(entry: Entry) -> bool:
    return rules.blocks(entry.reason, entry.scope, Stream.PROMOTIONAL, None)


def _blocks(entry: Entry, topic: Topic) -> bool:
    asked = rules.Topic(topic.key, topic.stream, may_leave(topic))
    return rules.blocks(entry.reason, entry.scope, topic.stream, asked)


def _any_blocks(found: Iterable[Entry], topic: Topic) -> bool:
    return any(_blocks(entry, topic) for entry in found)
