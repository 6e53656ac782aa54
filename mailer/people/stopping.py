"""Entries begin and end: what waits is stopped at once, and everything is told."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, exists, false, or_, true, update
from sqlmodel import Session, SQLModel, col, select

from mailer import counters, database
from mailer.models import Campaign, CampaignStatus, Email, Tenant
from mailer.people import telling
from mailer.people.telling import EventKind, News, tell
from mailer.status import WAITING, Status, before
from suppression import entries, rules
from suppression.entries import Entry, KeyProof, NewEntry, kin
from suppression.rules import Origin, Reach, Reason, Scope, Stream

_ENTRY, _EMAIL = (SQLModel.metadata.tables[str(model.__tablename__)] for model in (Entry, Email))
#: Mail that an entry may still stop: what waits, and what is claimed without an intent.
_STOPPABLE = and_(
    col(Email.status).in_(before(Status.SUPPRESSED)),
    or_(col(Email.status).in_(WAITING), and_(col(Email.status) == Status.SENDING, col(Email.intent_at).is_(None))),
)
#: What of a complaint's evidence says from which mail it came.
_WHICH_MAIL = ("email_id", "campaign_id", "topic", "provider")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """Who leaves what, and what shows it."""

    tenant_id: int
    fingerprint: bytes
    scope: Scope
    #: The address as it was written, where it is still known.
    address: str | None = None
    evidence: Mapping[str, object] | None = None
    #: What whoever did it for them wrote down.
    note: str | None = None


class Left(NamedTuple):
    """The entry that now stands, and whether this act made it."""

    entry: Entry
    created: bool


def leave(session: Session, leaving: Leaving, now: datetime) -> Left:
    """Leave a topic, the promotional stream or both, and stop the mail that waits for it.

    Leaving twice is leaving once: the first entry and its time stay. What carries an intent to send is not touched.
    """
    return suppress(
        session,
        NewEntry(
            tenant_id=leaving.tenant_id,
            fingerprint=leaving.fingerprint,
            key_id=key_of(session, leaving.tenant_id, leaving.fingerprint),
            reason=Reason.UNSUBSCRIBE,
            scope=leaving.scope,
            origin=Origin.RECIPIENT,
            address=leaving.address,
            evidence=leaving.evidence,
            note=leaving.note,
        ),
        now,
    )


def suppress(session: Session, new: NewEntry, now: datetime) -> Left:
    """Add an entry, whatever its reason, and stop the person's waiting mail that it forbids.

    The entry that stands already is kept. What carries an intent to send is not touched.
    """
    entry, created = entries.add(session, new, now)
    if created:
        tell(session, [telling.created(entry)], now)
    if entry.live(now):
        _stop_waiting(session, entry, now)
    if entry.reason is Reason.COMPLAINT:
        _obey_complaint(session, entry, now)
    return Left(entry, created)


def suppress_many(session: Session, news: Sequence[NewEntry], now: datetime) -> list[bool]:
    """Do what `suppress` does for many people of one tenant for one reason, and return for each whether it is new.

    Of two entries about one person the first is added. Only a person for whom mail waits costs statements of their own.
    Complaints are not for this: what follows from one is more than its entry.
    """
    if not news:
        return []
    first: dict[bytes, int] = {}
    for place, new in enumerate(news):
        first.setdefault(new.fingerprint, place)
    # In one order, so that two who add the same entries wait for each other and not in a circle.
    added = entries.add_new(session, [news[first[one]] for one in sorted(first)], now)
    tell(session, [telling.created(entry) for entry in added], now)
    created = {first[entry.fingerprint] for entry in added}
    tenant_id, of_mailbox = news[0].tenant_id, news[0].reason in rules.OF_THE_MAILBOX
    families = entries.families(session, tenant_id, sorted(first), mailbox=of_mailbox)
    waiting = _who_waits(session, tenant_id, {one for family in families.values() for one in family})
    for one, family in families.items():
        if waiting.intersection(family):
            suppress(session, news[first[one]], now)
    return [place in created for place in range(len(news))]


def _who_waits(session: Session, tenant_id: int, prints: Collection[bytes]) -> set[bytes]:
    """Return for whom of these mail waits."""
    theirs = database.among(session, _EMAIL.c.fingerprint, sorted(prints))
    found = select(_EMAIL.c.fingerprint).where(_EMAIL.c.tenant_id == tenant_id, theirs, _STOPPABLE).distinct()
    return set(session.exec(found))


def _obey_complaint(session: Session, complaint: Entry, now: datetime) -> None:
    """Stop transactional mail too, where the tenant wants no more mail to those who complained (spec section 4)."""
    tenant = session.get(Tenant, complaint.tenant_id)
    if tenant is None or not tenant.complaints_block:
        return
    evidence = {name: value for name, value in (complaint.evidence or {}).items() if name in _WHICH_MAIL}
    new = NewEntry(
        tenant_id=complaint.tenant_id,
        fingerprint=complaint.fingerprint,
        key_id=complaint.key_id,
        reason=Reason.MANUAL,
        scope=rules.STREAM_TRANSACTIONAL,
        origin=complaint.origin,
        address=complaint.address,
        note="the tenant sends nothing to those who complained",
        evidence={**evidence, "complaint": complaint.id},
    )
    suppress(session, new, now)


def enforce(session: Session, tenant_id: int, fingerprint: bytes, now: datetime) -> None:
    """Stop the mail that waits for a person and that an entry forbids which stood before they were known as one."""
    for entry in standing(session, tenant_id, entries.family(session, tenant_id, [fingerprint]), now):
        _stop_waiting(session, entry, now)


def standing(session: Session, tenant_id: int, prints: Collection[bytes], now: datetime) -> list[Entry]:
    """Return what is in force for some fingerprints, strictest first."""
    statement = (
        select(Entry)
        .where(
            col(Entry.tenant_id) == tenant_id,
            col(Entry.fingerprint).in_(prints),
            col(Entry.lifted_at).is_(None),
        )
        .execution_options(populate_existing=True)
    )
    live = [entry for entry in session.exec(statement) if entry.live(now)]
    return sorted(live, key=lambda entry: (rules.strictness(entry.reason), entry.id))


def lift(session: Session, tenant_id: int, entry_id: str, by: str, note: str | None, now: datetime) -> Entry:
    """End an entry where `by` may end it (`entries.lift`), and tell it once."""
    standing = select(Entry.id).where(
        col(Entry.tenant_id) == tenant_id, col(Entry.id) == entry_id, col(Entry.lifted_at).is_(None)
    )
    stood = session.exec(standing.with_for_update()).first() is not None
    entry = entries.lift(session, tenant_id, entry_id, by, note, now)
    if stood:
        tell(session, [telling.lifted(entry)], now)
    return entry


def key_of(session: Session, tenant_id: int, fingerprint: bytes) -> str:
    """Return which key made a fingerprint, which a token does not say.

    Since there are several keys, every fingerprint by a newer one stands beside its kin (`entries.relate`). One that
    has none is older than that: it is of the oldest key in use, until the walk of a rotation reads its address.
    """
    return keys_of(session, tenant_id, [fingerprint])[fingerprint]


def keys_of(session: Session, tenant_id: int, prints: Sequence[bytes]) -> dict[bytes, str]:
    """Return for each of these fingerprints which key made it (`key_of`)."""
    mine = database.among(session, _ENTRY.c.fingerprint, list(prints))
    known = select(_ENTRY.c.fingerprint, _ENTRY.c.key_id).where(_ENTRY.c.tenant_id == tenant_id, mine)
    found: dict[bytes, str] = {one: key_id for one, key_id in session.exec(known)}  # noqa: C416 - rows are no tuples
    if unknown := [one for one in prints if one not in found]:
        found |= kin.keys_of(session, tenant_id, unknown)
    if any(one not in found for one in prints):
        oldest = (
            select(KeyProof.key_id)
            .where(col(KeyProof.retired_at).is_(None))
            .order_by(col(KeyProof.created_at), col(KeyProof.key_id))
            .limit(1)
        )
        name = session.exec(oldest).first() or "unknown"
        found |= {one: name for one in prints if one not in found}
    return found


def _stop_waiting(session: Session, entry: Entry, now: datetime) -> None:
    """Turn the person's waiting mail that the entry forbids into suppressed mail, count it and tell it.

    What is claimed or accepted beside it meets the entry with its intent: whoever calls runs it as a `conclusive`
    transaction (`Database.run`), and is answered once no older decision can be written any more (docs/architecture.md).
    """
    prints = entries.family(session, entry.tenant_id, [entry.fingerprint], mailbox=entry.reason in rules.OF_THE_MAILBOX)
    statement = (
        update(Email)
        .where(
            col(Email.tenant_id) == entry.tenant_id,
            col(Email.fingerprint).in_(prints),
            _STOPPABLE,
            _forbidden(entry),
            _due_before_its_end(entry),
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
    tally, news = counters.Tally(), []
    for (email,) in session.execute(statement):
        tally.count(email, f"suppressed:{entry.reason}", now, asked=False)
        data = {"reason": entry.reason.value, "suppression_id": entry.id}
        news.append(News(entry.tenant_id, EventKind.SUPPRESSED, data, email.id))
    tally.write(session)
    tell(session, news, now)


def _due_before_its_end(entry: Entry) -> ColumnElement[bool]:
    """Return the mail that would go while the entry stands; only the last answer ends mail that is due later.

    When the mail of a campaign that does not run would go, nobody knows yet.
    """
    if entry.expires_at is None:
        return true()
    runs = exists().where(col(Campaign.id) == col(Email.campaign_id), col(Campaign.status) == CampaignStatus.RUNNING)
    return and_(col(Email.due_at) < entry.expires_at, or_(col(Email.status) != Status.HELD, runs))


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
