"""What a person has chosen: which topics to get, and whether opens may be measured."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, false, or_, update
from sqlmodel import Session, col, select

from mailer import counters, ids
from mailer.models import Consent, Email, LeaveRule, Topic
from mailer.status import WAITING, Status, before
from suppression import entries, rules
from suppression.entries import Entry, KeyProof, NewEntry
from suppression.rules import Ender, Origin, Reach, Reason, Scope, Stream

TRACKING = "tracking"
#: What a person has decided, and may take back by a fresh opt-in. A pause (snooze) is no decision to leave.
_OWN = frozenset({Reason.UNSUBSCRIBE, Reason.COMPLAINT})
_CHUNK = 400


class Choice(NamedTuple):
    """One topic, as the person stands to it."""

    topic: Topic
    #: The person has left it.
    left: bool
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """Who leaves what, and what shows it."""

    tenant_id: int
    fingerprint: bytes
    scope: Scope
    #: The address as it was written, where it is still known.
    address: str | None = None
    evidence: Mapping[str, object] | None = None


class Left(NamedTuple):
    """The entry that now stands, and whether this act made it."""

    entry: Entry
    created: bool


class Rejoined(NamedTuple):
    """What a return ended, and what stands in its place for the topics that stay left."""

    lifted: tuple[Entry, ...]
    added: tuple[Entry, ...]


def tracking_choice(session: Session, tenant_id: int, fingerprint: bytes) -> bool | None:
    """Return whether the person said yes or no to being measured, None where nothing was said."""
    return tracking_choices(session, tenant_id, [fingerprint]).get(fingerprint)


def tracking_choices(session: Session, tenant_id: int, fingerprints: Collection[bytes]) -> dict[bytes, bool]:
    """Return the newest yes or no of many people; who never said is left out."""
    asked = list(dict.fromkeys(fingerprints))
    found: dict[bytes, bool] = {}
    for start in range(0, len(asked), _CHUNK):
        statement = (
            select(Consent.fingerprint, Consent.granted)
            .where(
                col(Consent.tenant_id) == tenant_id,
                col(Consent.fingerprint).in_(asked[start : start + _CHUNK]),
                col(Consent.purpose) == TRACKING,
            )
            .order_by(col(Consent.at), col(Consent.id))
        )
        found.update((fingerprint, granted) for fingerprint, granted in session.exec(statement))
    return found


def choose_tracking(
    session: Session, tenant_id: int, fingerprint: bytes, *, granted: bool, source: str, now: datetime
) -> bool:
    """Record a yes or no to being measured and return whether it is news; earlier answers stay as proof."""
    if tracking_choice(session, tenant_id, fingerprint) is granted:
        return False
    session.add(
        Consent(
            id=ids.new("co", now),
            tenant_id=tenant_id,
            fingerprint=fingerprint,
            purpose=TRACKING,
            granted=granted,
            source=source,
            at=now,
        )
    )
    session.flush()
    return True


def preferences(session: Session, tenant_id: int, fingerprint: bytes, now: datetime) -> Preferences:
    """Return what the person gets, topic by topic."""
    live = _live(session, tenant_id, fingerprint, now)
    own = [entry for entry in live if entry.reason in _OWN]
    choices = [_choice(topic, live, own) for topic in topics(session, tenant_id)]
    return Preferences(
        topics=tuple(choices),
        all_promotional_left=any(_whole(each) for each in own),
        tracking=tracking_choice(session, tenant_id, fingerprint),
    )


def topics(session: Session, tenant_id: int) -> Sequence[Topic]:
    """Return the topics of a tenant in the order in which they were made."""
    return session.exec(select(Topic).where(col(Topic.tenant_id) == tenant_id).order_by(col(Topic.id))).all()


def may_leave(topic: Topic) -> bool:
    """Return whether people may leave a topic; promotional mail can always be left."""
    return topic.stream is Stream.PROMOTIONAL or topic.opt_out is LeaveRule.ALLOWED


def leave(session: Session, leaving: Leaving, now: datetime) -> Left:
    """Leave a topic, the promotional stream or both, and stop the mail that waits for it.

    Leaving twice is leaving once: the first entry and its time stay. What carries an intent to send is not touched.
    """
    return suppress(
        session,
        NewEntry(
            tenant_id=leaving.tenant_id,
            fingerprint=leaving.fingerprint,
            key_id=_key_id(session, leaving),
            reason=Reason.UNSUBSCRIBE,
            scope=leaving.scope,
            origin=Origin.RECIPIENT,
            address=leaving.address,
            evidence=leaving.evidence,
        ),
        now,
    )


def suppress(session: Session, new: NewEntry, now: datetime) -> Left:
    """Add an entry, whatever its reason, and stop the person's waiting mail that it forbids.

    The entry that stands already is kept. What carries an intent to send is not touched.
    """
    entry, created = entries.add(session, new, now)
    if entry.live(now):
        _stop_waiting(session, entry, now)
    return Left(entry, created)


def rejoin(session: Session, leaving: Leaving, back: Collection[str], now: datetime) -> Rejoined:
    """Come back to these topics only: what was left as a whole stays left topic by topic.

    `leaving` names the person and the evidence; its scope says nothing here.
    """
    known = topics(session, leaving.tenant_id)
    returning = [topic for topic in known if topic.key in back]
    live = _live(session, leaving.tenant_id, leaving.fingerprint, now)
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
    lifted = [entries.lift(session, leaving.tenant_id, entry.id, Ender.PERSON, None, now) for entry in ended]
    return Rejoined(tuple(lifted), tuple(each.entry for each in kept if each.created))


def _whole(entry: Entry) -> bool:
    return rules.blocks(entry.reason, entry.scope, Stream.PROMOTIONAL, None)


def _live(session: Session, tenant_id: int, fingerprint: bytes, now: datetime) -> list[Entry]:
    """Return what is in force for a mailbox, strictest first."""
    statement = (
        select(Entry)
        .where(col(Entry.tenant_id) == tenant_id, col(Entry.fingerprint) == fingerprint, col(Entry.lifted_at).is_(None))
        .execution_options(populate_existing=True)
    )
    live = [entry for entry in session.exec(statement) if entry.live(now)]
    return sorted(live, key=lambda entry: (rules.strictness(entry.reason), entry.id))


def _choice(topic: Topic, live: Iterable[Entry], own: Iterable[Entry]) -> Choice:
    why = next((entry.reason for entry in live if _blocks(entry, topic)), None)
    return Choice(topic, _any_blocks(own, topic), may_leave(topic), why)


def _blocks(entry: Entry, topic: Topic) -> bool:
    asked = rules.Topic(topic.key, topic.stream, may_leave(topic))
    return rules.blocks(entry.reason, entry.scope, topic.stream, asked)


def _any_blocks(found: Iterable[Entry], topic: Topic) -> bool:
    return any(_blocks(entry, topic) for entry in found)


def _key_id(session: Session, leaving: Leaving) -> str:
    """Return which key made the fingerprint of a link: a token carries none, so the newest key in use is named."""
    earlier = session.exec(
        select(Entry.key_id)
        .where(col(Entry.tenant_id) == leaving.tenant_id, col(Entry.fingerprint) == leaving.fingerprint)
        .limit(1)
    ).first()
    newest = select(KeyProof.key_id).order_by(col(KeyProof.created_at).desc(), col(KeyProof.key_id)).limit(1)
    return earlier or session.exec(newest).first() or "unknown"


def _stop_waiting(session: Session, entry: Entry, now: datetime) -> None:
    """Turn the person's waiting mail that the entry forbids into suppressed mail, and count it.

    What is claimed or accepted beside it meets the entry with its intent: whoever calls runs it as a `conclusive`
    transaction (`Database.run`), and is answered once no older decision can be written any more (docs/architecture.md).
    """
    claimed = and_(col(Email.status) == Status.SENDING, col(Email.intent_at).is_(None))
    waiting = or_(col(Email.status).in_(WAITING), claimed)
    statement = (
        update(Email)
        .where(
            col(Email.tenant_id) == entry.tenant_id,
            col(Email.fingerprint) == entry.fingerprint,
            col(Email.status).in_(before(Status.SUPPRESSED)),
            waiting,
            _forbidden(entry),
        )
        .values(
            status=Status.SUPPRESSED,
            suppression_id=entry.id,
            suppression_reason=entry.reason.value,
            settled_at=now,
        )
        .returning(Email)
        .execution_options(synchronize_session=False)
    )
    tally = counters.Tally()
    for (email,) in session.execute(statement):
        dims = counters.dimensions(
            tags=email.tags, topic=email.topic, template=email.template, campaign=email.campaign_id
        )
        tally.add(entry.tenant_id, email.created_at.date(), email.stream, f"suppressed:{entry.reason}", dims)
    tally.write(session)


def _forbidden(entry: Entry) -> ColumnElement[bool]:
    """Return the mail that an entry forbids: what `rules.blocks` says, over columns of `email`."""
    rule = rules.rule_of(entry.reason)
    clauses: list[ColumnElement[bool]] = []
    for stream in Stream:
        if rule.reach(stream) is Reach.NOTHING:
            continue
        clause = col(Email.stream) == stream
        if rule.reach(stream) is Reach.LEAVABLE:
            clause = and_(clause, col(Email.leavable), col(Email.topic).is_not(None))
        if rule.scoped and not rules.covers(entry.scope, stream, None):
            # A stream's scope names no topic, so it leaves nothing of the other stream.
            clause = and_(clause, col(Email.topic) == entry.scope.removeprefix(rules.TOPIC_PREFIX))
        clauses.append(clause)
    return or_(false(), *clauses)
