"""What follows from a report, one function a kind: status, event, suppression, sums."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import func, select
from sqlmodel import Session, col

from mailer import counters, ids, people
from mailer.counters import Tally
from mailer.feedback import optouts
from mailer.feedback.hearing import softly
from mailer.feedback.hearing.policy import BECOMES, moves
from mailer.feedback.inbound.report import Kind
from mailer.models import Email, Event, Opens, Told, ToldState
from mailer.people import EventKind, News
from mailer.status import Status
from suppression.entries import NewEntry
from suppression.rules import ALL, Origin, Reason
from suppression.token import OptOut


class Case(NamedTuple):
    """A report that is believed, and the mail that it is about; its row is the caller's alone."""

    told: Told
    email: Email


def follow(session: Session, case: Case, now: datetime) -> bool:
    """Do what follows from a report, and return whether it said anything new. Run it as a `conclusive` transaction."""
    return _FOLLOWS[Kind(case.told.kind)](session, case, now)


def bounced(session: Session, case: Case, now: datetime) -> bool:
    """The mail came back: `bounced`; an address that is the cause gets no mail any more, a soft bounce is counted."""
    told, email = case
    news = email.status is not Status.BOUNCED
    moved = _move(session, case, now)
    if news:
        data = {"hard": told.hard, "category": told.category, "code": told.code, "reply": told.diagnostic}
        _tell(session, case, EventKind.BOUNCED, data, now)
    if told.hard:
        news |= _suppress_hard(session, case, now)
    elif moved:
        softly.note(session, told, email, now)
    return news


def delivered(session: Session, case: Case, now: datetime) -> bool:
    """It arrived: `delivered`; what soft bounces forbade is over, for the mailbox takes mail."""
    told, email = case
    news = email.status is not Status.DELIVERED
    moved = _move(session, case, now)
    if news:
        _tell(session, case, EventKind.DELIVERED, {"reply": told.diagnostic}, now)
    if moved:
        softly.end(session, email, told.at, now)
    return news


def deferred(session: Session, case: Case, now: datetime) -> bool:
    """Another server has the mail and goes on trying: an event, no other status."""
    data = {"category": case.told.category, "code": case.told.code, "reply": case.told.diagnostic}
    _tell(session, case, EventKind.DEFERRED, data, now)
    return True


def complained(session: Session, case: Case, now: datetime) -> bool:
    """Somebody calls it spam: no promotional mail any more."""
    if (opt_out := _opt_out(case.email)) is None:
        return False
    optouts.complained(session, opt_out, optouts.How(optouts.Kind.COMPLAINT, evidence=_evidence(case)), now)
    return True


def unsubscribed(session: Session, case: Case, now: datetime) -> bool:
    """Somebody left by a way of the provider's: what the link of the mail leaves."""
    if (opt_out := _opt_out(case.email)) is None:
        return False
    optouts.opted_out(session, opt_out, optouts.How(optouts.Kind.PROVIDER, evidence=_evidence(case)), now)
    return True


_FOLLOWS: Mapping[Kind, Callable[[Session, Case, datetime], bool]] = {
    Kind.BOUNCED: bounced,
    Kind.DEFERRED: deferred,
    Kind.DELIVERED: delivered,
    Kind.COMPLAINED: complained,
    Kind.UNSUBSCRIBED: unsubscribed,
}


def _opt_out(email: Email) -> OptOut | None:
    """Return what the link of a mail says; None after erasure, which has forbidden everything already."""
    if email.fingerprint is None:
        return None
    topic = email.topic if email.leavable else None
    return OptOut(email.tenant_id, email.fingerprint, email.stream, topic, ids.to_bytes(email.id))


def _evidence(case: Case) -> dict[str, object]:
    told = case.told
    found = {"report_id": told.id, "provider": told.reporter or told.source, "category": told.category}
    return {**found, **({"code": told.code} if told.code else {})}


def _suppress_hard(session: Session, case: Case, now: datetime) -> bool:
    """Forbid all mail to the address and return whether it was allowed until now; after erasure nobody is known."""
    email = case.email
    if email.fingerprint is None:
        return False
    evidence = {**_evidence(case), "email_id": email.id, "reply": case.told.diagnostic}
    if email.campaign_id:
        evidence["campaign_id"] = email.campaign_id
    new = NewEntry(
        tenant_id=email.tenant_id,
        fingerprint=email.fingerprint,
        key_id=people.key_of(session, email.tenant_id, email.fingerprint),
        reason=Reason.HARD_BOUNCE,
        scope=ALL,
        origin=Origin.PROVIDER,
        address=email.address,
        evidence=evidence,
    )
    return people.suppress(session, new, now).created


def _move(session: Session, case: Case, now: datetime) -> bool:
    """Change the status where the table allows it, and put the sums right; return whether it changed."""
    told, email = case
    said = None if told.at == told.heard_at else told.at
    known = _known_at(session, case) if said is not None and email.status in BECOMES.values() else None
    if not moves(Kind(told.kind), email.status, said, known):
        return False
    tally, old = Tally(), email.status
    if email.sent_at is None:
        # Nobody knew, or we were told otherwise: it did go, or nobody could tell what became of it.
        email.sent_at = email.intent_at or now
        _count(tally, email, old.value, now, -1)
        _count(tally, email, Status.SENT.value, now)
        _count_tracked(tally, email, now, 1)
        if old is Status.BOUNCED:
            _count(tally, email, _grade(session, email), now, -1)
    elif old is Status.BOUNCED:
        _count(tally, email, "returned", now, -1)
        _count_tracked(tally, email, now, 1)
        _count(tally, email, _grade(session, email), now, -1)
    elif old is Status.DELIVERED:
        _count(tally, email, "delivered", now, -1)
    email.status = BECOMES[Kind(told.kind)]
    if email.status is Status.BOUNCED:
        _count(tally, email, "returned", now)
        _count_tracked(tally, email, now, -1)
        _count(tally, email, "hard_bounced" if told.hard else "soft_bounced", now)
    else:
        _count(tally, email, "delivered", now)
    tally.write(session)
    session.flush()
    return True


def _known_at(session: Session, case: Case) -> datetime | None:
    """Return when what is known of the mail happened: what others told, else our own outcome."""
    told = select(func.max(col(Told.at))).where(
        col(Told.email_id) == case.email.id,
        col(Told.state) == ToldState.DONE,
        col(Told.kind).in_([kind.value for kind in BECOMES]),
        col(Told.id) != case.told.id,
    )
    latest: datetime | None = session.execute(told).scalar_one()
    return latest or case.email.settled_at


def _grade(session: Session, email: Email) -> str:
    """Return as what the bounce that is taken back was counted."""
    last = (
        select(col(Event.data))
        .where(col(Event.email_id) == email.id, col(Event.kind) == EventKind.BOUNCED)
        .order_by(col(Event.id).desc())
        .limit(1)
    )
    data = session.execute(last).scalar_one_or_none() or {}
    return "hard_bounced" if data.get("hard") else "soft_bounced"


def _count_tracked(tally: Tally, email: Email, now: datetime, amount: int) -> None:
    """Count a mail among those that arrived with a pixel or links of ours, or take it back; rates divide by these."""
    if email.tracked:
        _count(tally, email, "tracked", now, amount)
        if email.opens is Opens.INDIVIDUAL:
            _count(tally, email, counters.FOLLOWED, now, amount)
    if email.tracked_links:
        _count(tally, email, "tracked_links", now, amount)


def _count(tally: Tally, email: Email, metric: str, now: datetime, amount: int = 1) -> None:
    dims = counters.dimensions(
        tags=email.tags, topic=email.topic, template=email.template, campaign=email.campaign_id, provider=email.provider
    )
    if metric == counters.FOLLOWED:
        dims = counters.of_providers(dims)
    tally.add(email.tenant_id, email.created_at.date(), email.stream, metric, dims, amount, at=now)


def _tell(session: Session, case: Case, kind: EventKind, data: Mapping[str, object], now: datetime) -> None:
    told, email = case
    besides: dict[str, object] = {"source": told.source, "report_id": told.id}
    if told.at != told.heard_at:
        besides["happened_at"] = told.at.isoformat()
    if email.campaign_id:
        besides["campaign_id"] = email.campaign_id
    said = {name: value for name, value in data.items() if value is not None}
    people.tell(session, [News(email.tenant_id, kind, {**said, **besides}, email.id)], now)
