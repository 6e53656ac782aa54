"""Reports come in: each is kept once, matched, and what follows from it follows."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlmodel import Session, SQLModel, col

from mailer import database
from mailer.feedback.hearing import keeping
from mailer.feedback.hearing.following import Case, follow
from mailer.feedback.hearing.keeping import TOLD, First, Kept, Standing, in_state
from mailer.feedback.hearing.matching import Match, match
from mailer.feedback.hearing.policy import UNSETTLED, Fate, Heard, believed, too_early
from mailer.feedback.hearing.softly import Mailboxes
from mailer.feedback.inbound.report import Kind, Proof, Report
from mailer.models import Email, ToldState

#: How long a report waits for the outcome of its mail.
WAITS = timedelta(days=3)
#: How many of these the clock looks at together.
CHUNK = 200
#: The source of what a relay answers us, and who vouches for it.
AT_ONCE, OURSELVES = "relay", "delivery"
_NOBODY = "nobody vouches for it"
_TOO_LONG = "its mail has had no outcome for three days"
_EARLY = "its mail has no outcome yet"
#: Reports that came before the outcome of their mail, which has one by now.
_READY = (
    select(TOLD.c.id, TOLD.c.email_id)
    .join(Email, col(Email.id) == TOLD.c.email_id)
    .where(in_state(ToldState.EARLY), col(Email.status).not_in(UNSETTLED))
)
_EMAIL_ID = SQLModel.metadata.tables[str(Email.__tablename__)].c.id
_KEPT = tuple(TOLD.c[name] for name in Kept._fields)


class _Item(NamedTuple):
    """One report of a batch: where it stood, and which mail it is about."""

    place: int
    report: Report
    proof: Proof
    email: Email | None
    why: str | None
    digest: bytes


def hear(session: Session, heard: Sequence[tuple[Report, Proof]], now: datetime) -> list[Heard]:
    """Take reports in and return what became of each, in their order.

    `now` is aware; `Proof.email_id` wins over whatever a report says, and a report for which nobody vouches changes
    nothing. One that was heard before is `repeated`, one that comes before our own outcome is done by the clock
    (`hear_again`). It raises nothing because of what a report says. Run it as a `conclusive` transaction: from its
    answer on no promotional mail goes to whoever complained, and none at all to an address that does not exist.

    However many they are, it takes some twenty statements, and a few more for each complaint, each opt-out and each
    person whose mail is stopped.
    """
    items = _matched(session, heard)
    firsts = keeping.heard_before(session, {item.digest for item in items})
    results: dict[int, Heard] = {}
    fresh: list[tuple[_Item, Kept, Standing]] = []
    # Of one mail as it happened.
    for item in sorted(items, key=lambda each: _order(each, now)):
        if (first := firsts.get(item.digest)) is not None:
            results[item.place] = Heard(Fate.REPEATED, first.report_id, first.email_id)
            continue
        told = keeping.kept(item.report, item.proof, now)
        firsts[item.digest] = First(told.id, item.email.id if item.email else None)
        fresh.append((item, told, _standing(item)))
    cases = [
        Case(told, item.email)
        for item, told, standing in fresh
        if item.email is not None and standing.state is ToldState.DONE
    ]
    followed = follow(session, cases, now)
    news = {case.told.id for case, new in zip(cases, followed.news, strict=True) if new}
    rows = []
    for item, told, standing in fresh:
        counted = standing._replace(fingerprint=followed.counted.get(told.id))
        rows.append(keeping.row_of(told, item.report, item.proof, item.email, counted))
        results[item.place] = _heard(item, told, standing, news=told.id in news)
    keeping.write(session, rows)
    _yield(session, [item for item, _told, standing in fresh if standing.state is ToldState.UNMATCHED], results)
    return [results[place] for place in range(len(items))]


def hear_again(session: Session, now: datetime) -> int:
    """Do what follows from reports that came before the outcome of their mail, which has one now; return how many."""
    ready = {told_id: str(email_id) for told_id, email_id in session.execute(_READY.order_by(TOLD.c.id).limit(CHUNK))}
    if not ready:
        return 0
    emails = _locked(session, set(ready.values()))
    early = select(TOLD.c.email_id, *_KEPT).where(
        database.among(session, TOLD.c.id, sorted(ready)), TOLD.c.state == ToldState.EARLY
    )
    found = session.execute(early.order_by(TOLD.c.email_id, TOLD.c.at, TOLD.c.id).with_for_update()).all()
    # Looked at once more behind the lock: it may be tried again by now.
    cases = [
        Case(told, emails[email_id])
        for email_id, *row in found
        if not too_early((told := _kept(row)).kind, emails[email_id].status)
    ]
    followed = follow(session, cases, now)
    keeping.done(session, [case.told.id for case in cases], followed.counted)
    return len(cases)


def refused(session: Session, email_id: str, report: Report, now: datetime) -> None:
    """Count a soft bounce that our own relay told us at once; the outcome of its mail is written already."""
    email = session.get_one(Email, email_id, populate_existing=True)
    report, proof = report._replace(source=AT_ONCE), Proof(OURSELVES, email_id)
    if keeping.heard_before(session, [keeping.digest_of(report, proof, email_id)]):
        return
    told, boxes = keeping.kept(report, proof, now), Mailboxes(session, [email], now)
    boxes.note(told, email)
    standing = Standing(ToldState.DONE, fingerprint=boxes.counted.get(told.id))
    keeping.write(session, [keeping.row_of(told, report, proof, email, standing)])


def waiting(session: Session) -> bool:
    """Return whether some report waits for its mail's outcome that is there by now."""
    return session.execute(_READY.limit(1)).first() is not None


def give_up(session: Session, now: datetime) -> None:
    """Show reports as unmatched whose mail has had no outcome for three days."""
    late = (in_state(ToldState.EARLY), TOLD.c.heard_at < now - WAITS)
    session.execute(TOLD.update().where(*late).values(state=ToldState.UNMATCHED, why=_TOO_LONG))


def _matched(session: Session, heard: Sequence[tuple[Report, Proof]]) -> list[_Item]:
    """Return each report with its mail, whose row is then ours alone."""
    asked = [place for place, (_report, proof) in enumerate(heard) if believed(proof)]
    found = dict(zip(asked, match(session, [heard[place] for place in asked]), strict=True))
    emails = _locked(session, {each.email_id for each in found.values() if each.email_id is not None})
    items = []
    for place, (report, proof) in enumerate(heard):
        email_id, why = found.get(place, Match(None, _NOBODY))
        email = emails[email_id] if email_id is not None else None
        items.append(_Item(place, report, proof, email, why, keeping.digest_of(report, proof, email_id)))
    return items


def _locked(session: Session, wanted: Collection[str]) -> dict[str, Email]:
    """Return mails as they stand now, locked in one order everywhere, so that two batches never wait in a circle."""
    if not wanted:
        return {}
    statement = (
        select(Email)
        .where(database.among(session, _EMAIL_ID, sorted(wanted)))
        .order_by(col(Email.id))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return {email.id: email for email in session.execute(statement).scalars()}


def _standing(item: _Item) -> Standing:
    if item.email is None:
        return Standing(ToldState.UNMATCHED, item.why)
    if too_early(item.report.kind, item.email.status):
        return Standing(ToldState.EARLY, _EARLY)
    return Standing(ToldState.DONE)


def _heard(item: _Item, told: Kept, standing: Standing, *, news: bool) -> Heard:
    if item.email is None:
        return Heard(Fate.UNMATCHED if believed(item.proof) else Fate.REFUSED, told.id, None, standing.why)
    if standing.state is ToldState.EARLY:
        return Heard(Fate.EARLY, told.id, item.email.id, standing.why)
    return Heard(Fate.DONE if news else Fate.REPEATED, told.id, item.email.id)


def _yield(session: Session, unmatched: Sequence[_Item], results: dict[int, Heard]) -> None:
    """Put right what became of reports that another batch wrote down a moment before: of one mail none can be."""
    firsts = keeping.heard_before(session, {item.digest for item in unmatched})
    for item in unmatched:
        first = firsts[item.digest]
        if first.report_id != results[item.place].report_id:
            results[item.place] = Heard(Fate.REPEATED, *first)


def _kept(row: Sequence[Any]) -> Kept:
    told = Kept._make(row)
    return told._replace(kind=Kind(told.kind))


def _order(item: _Item, now: datetime) -> tuple[str, datetime, int]:
    return (
        item.email.id if item.email else "",
        keeping.happened(item.report, now) or now,
        list(Kind).index(item.report.kind),
    )
