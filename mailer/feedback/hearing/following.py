"""What follows from reports, a function a kind: status, event, suppression, sums.

Reports are followed one after the other, so that what comes out is the same however many come at once; but what they
need to know is looked up together, and what they leave is written together.
"""

from collections import Counter as Sums
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import func, select
from sqlmodel import Session, SQLModel

from mailer import database, ids, people
from mailer.counters import Tally
from mailer.feedback import optouts
from mailer.feedback.hearing.keeping import TOLD, Kept
from mailer.feedback.hearing.policy import BECOMES, COUNTS_SOFTLY, moves
from mailer.feedback.hearing.softly import Mailboxes
from mailer.feedback.inbound.report import Kind
from mailer.models import Email, Event, ToldState
from mailer.people import EventKind, News
from mailer.status import Status
from suppression.entries import NewEntry
from suppression.rules import ALL, Origin, Reason
from suppression.token import OptOut

_EVENT = SQLModel.metadata.tables[str(Event.__tablename__)]


class Case(NamedTuple):
    """A report that is believed, and the mail that it is about; its row is the caller's alone."""

    told: Kept
    email: Email


class Followed(NamedTuple):
    """What came of some cases."""

    #: Of each case, whether it said anything new.
    news: Sequence[bool]
    #: The reports that count as one of "so many soft bounces": id -> mailbox.
    counted: Mapping[str, bytes]


def follow(session: Session, cases: Sequence[Case], now: datetime) -> Followed:
    """Do what follows from reports, in their order. Run it as a `conclusive` transaction."""
    books = _Books(session, cases, now)
    news = [_FOLLOWS[case.told.kind](books, case) for case in cases]
    books.write()
    books.boxes.write()
    session.flush()
    news = [new or case.told.id in books.forbidden for new, case in zip(news, cases, strict=True)]
    return Followed(news, books.boxes.counted)


class _Books:
    """What is known of the mails of some cases, and what is to be written of them."""

    def __init__(self, session: Session, cases: Sequence[Case], now: datetime) -> None:
        self.session, self.now = session, now
        self.known = _known(session, cases)
        self.graded = _graded(session, cases)
        of_boxes = {case.email.id: case.email for case in cases if _of_box(case)}
        self.boxes = Mailboxes(session, of_boxes.values(), now, before=self.write)
        #: Bounces whose addresses are to be forbidden, and the reports that forbade one which was allowed.
        self.hard: list[Case] = []
        self.forbidden: set[str] = set()
        self._tally = Tally()
        self._news: list[News] = []

    def count(self, email: Email, metric: str, amount: int = 1) -> None:
        """Count on the day and in the dimensions of a mail."""
        self._tally.count(email, metric, self.now, amount)

    def count_tracked(self, email: Email, amount: int) -> None:
        """Count a mail among those that arrived, or take it back."""
        pixels, links = amount * email.tracked, amount * email.tracked_links
        self._tally.count_tracked(email, self.now, pixels=pixels, links=links)

    def tell(self, case: Case, kind: EventKind, data: Mapping[str, object]) -> None:
        """Have an event written about a mail."""
        told, email = case
        besides: dict[str, object] = {"source": told.source, "report_id": told.id}
        if told.at != told.heard_at:
            besides["happened_at"] = told.at.isoformat()
        if email.campaign_id:
            besides["campaign_id"] = email.campaign_id
        said = {name: value for name, value in data.items() if value is not None}
        self._news.append(News(email.tenant_id, kind, {**said, **besides}, email.id))

    def write(self) -> None:
        """Write what was gathered: what other verbs do to a mail or a person comes after what was told before."""
        people.tell(self.session, self._news, self.now)
        self._news = []
        self._tally.write(self.session)
        hard, self.hard = self.hard, []
        self.forbidden |= _suppress_hard(self.session, hard, self.now)


def _of_box(case: Case) -> bool:
    """Return whether a report says something of the mailbox that soft bounces are counted of."""
    told = case.told
    return told.kind is Kind.DELIVERED or (told.kind is Kind.BOUNCED and told.category in COUNTS_SOFTLY)


def _bounced(books: _Books, case: Case) -> bool:
    """The mail came back: `bounced`; an address that is the cause gets no mail any more, a soft bounce is counted."""
    told, email = case
    news = email.status is not Status.BOUNCED
    moved = _move(books, case)
    if news:
        data = {"hard": told.hard, "category": told.category, "code": told.code, "reply": told.diagnostic}
        books.tell(case, EventKind.BOUNCED, data)
        books.graded[email.id] = told.hard
    if told.hard:
        books.hard.append(case)
    elif moved:
        books.boxes.note(told, email)
    return news


def _delivered(books: _Books, case: Case) -> bool:
    """It arrived: `delivered`; what soft bounces forbade is over, for the mailbox takes mail."""
    told, email = case
    news = email.status is not Status.DELIVERED
    moved = _move(books, case)
    if news:
        books.tell(case, EventKind.DELIVERED, {"reply": told.diagnostic})
    if moved:
        books.boxes.end(email, told.at)
    return news


def _deferred(books: _Books, case: Case) -> bool:
    """Another server has the mail and goes on trying: an event, no other status."""
    told = case.told
    books.tell(case, EventKind.DEFERRED, {"category": told.category, "code": told.code, "reply": told.diagnostic})
    return True


def _complained(books: _Books, case: Case) -> bool:
    """Somebody calls it spam: no promotional mail any more."""
    if (opt_out := _opt_out(case.email)) is None:
        return False
    books.write()
    how = optouts.How(optouts.Kind.COMPLAINT, evidence=_evidence(case))
    optouts.complained(books.session, opt_out, how, books.now)
    return True


def _unsubscribed(books: _Books, case: Case) -> bool:
    """Somebody left by a way of the provider's: what the link of the mail leaves."""
    if (opt_out := _opt_out(case.email)) is None:
        return False
    books.write()
    how = optouts.How(optouts.Kind.PROVIDER, evidence=_evidence(case))
    optouts.opted_out(books.session, opt_out, how, books.now)
    return True


_FOLLOWS: Mapping[Kind, Callable[[_Books, Case], bool]] = {
    Kind.BOUNCED: _bounced,
    Kind.DEFERRED: _deferred,
    Kind.DELIVERED: _delivered,
    Kind.COMPLAINED: _complained,
    Kind.UNSUBSCRIBED: _unsubscribed,
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


def _suppress_hard(session: Session, cases: Iterable[Case], now: datetime) -> set[str]:
    """Forbid all mail to addresses; return the reports of those allowed until now. After erasure nobody is known."""
    fresh: set[str] = set()
    of_tenant: dict[int, list[Case]] = {}
    for case in cases:
        if case.email.fingerprint is not None:
            of_tenant.setdefault(case.email.tenant_id, []).append(case)
    for tenant_id, theirs in sorted(of_tenant.items()):
        prints = sorted({case.email.fingerprint for case in theirs if case.email.fingerprint is not None})
        keys = people.keys_of(session, tenant_id, prints)
        created = people.suppress_many(session, [_hard_entry(case, keys) for case in theirs], now)
        fresh |= {case.told.id for case, new in zip(theirs, created, strict=True) if new}
    return fresh


def _hard_entry(case: Case, keys: Mapping[bytes, str]) -> NewEntry:
    email = case.email
    assert email.fingerprint is not None
    evidence = {**_evidence(case), "email_id": email.id, "reply": case.told.diagnostic}
    if email.campaign_id:
        evidence["campaign_id"] = email.campaign_id
    return NewEntry(
        tenant_id=email.tenant_id,
        fingerprint=email.fingerprint,
        key_id=keys[email.fingerprint],
        reason=Reason.HARD_BOUNCE,
        scope=ALL,
        origin=Origin.PROVIDER,
        address=email.address,
        evidence=evidence,
    )


def _move(books: _Books, case: Case) -> bool:
    """Change the status where the table allows it, and put the sums right; return whether it changed."""
    told, email = case
    said = None if told.at == told.heard_at else told.at
    # What is known is what others told, else our own outcome.
    known = books.known.get(email.id) or email.settled_at
    books.known[email.id] = max(told.at, books.known.get(email.id, told.at))
    if not moves(told.kind, email.status, said, known):
        return False
    old = email.status
    grade = "hard_bounced" if books.graded.get(email.id) else "soft_bounced"
    if email.sent_at is None:
        # Nobody knew, or we were told otherwise: it did go, or nobody could tell what became of it.
        email.sent_at = email.intent_at or books.now
        books.count(email, old.value, -1)
        books.count(email, Status.SENT.value)
        books.count_tracked(email, 1)
        if old is Status.BOUNCED:
            books.count(email, grade, -1)
    elif old is Status.BOUNCED:
        books.count(email, "returned", -1)
        books.count_tracked(email, 1)
        books.count(email, grade, -1)
    elif old is Status.DELIVERED:
        books.count(email, "delivered", -1)
    email.status = BECOMES[told.kind]
    if email.status is Status.BOUNCED:
        books.count(email, "returned")
        books.count_tracked(email, -1)
        books.count(email, "hard_bounced" if told.hard else "soft_bounced")
    else:
        books.count(email, "delivered")
    return True


def _known(session: Session, cases: Sequence[Case]) -> dict[str, datetime]:
    """Return when what others told of mails happened, where a report may contradict it."""
    times = Sums(case.email.id for case in cases if case.told.kind in BECOMES)
    asked = {
        case.email.id
        for case in cases
        if case.told.kind in BECOMES and (case.email.status in BECOMES.values() or times[case.email.id] > 1)
    }
    if not asked:
        return {}
    latest = (
        select(TOLD.c.email_id, func.max(TOLD.c.at))
        .where(
            database.among(session, TOLD.c.email_id, sorted(asked)),
            TOLD.c.state == ToldState.DONE,
            TOLD.c.kind.in_([kind.value for kind in BECOMES]),
        )
        .group_by(TOLD.c.email_id)
    )
    return {email_id: at for email_id, at in session.execute(latest) if at is not None}


def _graded(session: Session, cases: Iterable[Case]) -> dict[str, bool]:
    """Return of mails that came back whether they did so for good, where a report may take that back."""
    asked = {case.email.id for case in cases if case.email.status is Status.BOUNCED and case.told.kind in BECOMES}
    if not asked:
        return {}
    told = select(_EVENT.c.email_id, _EVENT.c.data).where(
        database.among(session, _EVENT.c.email_id, sorted(asked)), _EVENT.c.kind == EventKind.BOUNCED
    )
    return {email_id: bool((data or {}).get("hard")) for email_id, data in session.execute(told.order_by(_EVENT.c.id))}
