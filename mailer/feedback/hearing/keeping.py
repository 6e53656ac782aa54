"""Reports as rows: each is kept once, and what is not done is shown."""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, bindparam, literal_column, select, update
from sqlmodel import Session, SQLModel, col

from mailer import database, ids
from mailer.feedback.hearing.policy import believed
from mailer.feedback.inbound.report import Kind, Proof, Report
from mailer.models import Email, Told, ToldState

TOLD = SQLModel.metadata.tables[str(Told.__tablename__)]
#: How long reports are kept.
KEPT = timedelta(days=30)
#: A clock that runs ahead, or a time zone that was forgotten, must not make a report win against all later ones.
_AHEAD = timedelta(minutes=5)
_CHUNK = 1000
_LONGEST_WORDS = 500
_ADDRESS = re.compile(r"[^\s<>\"'(),;:=\[\]]*@[^\s<>\"'(),;:\[\]]*")
_UNSEEN = re.compile("[\x00-\x1f\x7f\ud800-\udfff]+")
#: The words of the index of what is not done: of a parameter no engine knows that it means one of these.
_NOT_DONE = TOLD.c.state != literal_column(f"'{ToldState.DONE}'")


class Kept(NamedTuple):
    """What is kept of a report and says what follows from it."""

    id: str
    kind: Kind
    category: str
    hard: bool
    code: str | None
    #: The other server's words, without addresses.
    diagnostic: str | None
    #: When it happened, as far as the source says; else when we heard it.
    at: datetime
    heard_at: datetime
    source: str
    reporter: str | None


class Standing(NamedTuple):
    """How a report stands: its state, and why it is not done."""

    state: ToldState
    why: str | None = None
    #: The mailbox, where this bounce counts as one of "so many soft ones".
    fingerprint: bytes | None = None


class First(NamedTuple):
    """A report that was heard before."""

    report_id: str
    email_id: str | None


def kept(report: Report, proof: Proof, now: datetime) -> Kept:
    """Return what is kept of a report; one for which nobody vouches leaves no word about a person."""
    return Kept(
        id=ids.new("rp", now),
        kind=report.kind,
        category=report.category.value,
        hard=report.hard,
        code=_text(report.status, 20),
        diagnostic=words(report.diagnostic) if believed(proof) else None,
        at=happened(report, now) or now,
        heard_at=now,
        source=_text(report.source, 20) or "",
        reporter=_text(report.reporter, 255),
    )


def row_of(told: Kept, report: Report, proof: Proof, email: Email | None, standing: Standing) -> dict[str, object]:
    """Return the row of a report; what named its mail is kept only where that was not found."""
    vouched = believed(proof)
    shown = vouched and email is None
    return {
        **told._asdict(),
        "kind": told.kind.value,
        "digest": digest_of(report, proof, email.id if email else None),
        "state": standing.state,
        "why": standing.why,
        "tenant_id": email.tenant_id if email else None,
        "email_id": email.id if email else None,
        "fingerprint": standing.fingerprint,
        "rule": _text(report.rule, 80) or "",
        "proof": (_text(proof.by, 80) or "") if vouched else "",
        "recipient": _text(report.recipient, 320) if shown else None,
        "message_id": _text(report.message_id, 255) if shown else None,
        "envelope_id": _text(report.envelope_id, 255) if shown else None,
    }


def heard_before(session: Session, digests: Collection[bytes]) -> dict[bytes, First]:
    """Return what was kept of these reports when they were heard first."""
    if not digests:
        return {}
    statement = select(TOLD.c.digest, TOLD.c.id, TOLD.c.email_id).where(
        database.among(session, TOLD.c.digest, sorted(digests))
    )
    return {digest: First(*first) for digest, *first in session.execute(statement)}


def write(session: Session, rows: Collection[dict[str, object]]) -> None:
    """Write reports down; of two that write the same one at once, the second waits for the first and writes nothing."""
    if rows:
        fresh = database.insert(session, TOLD).on_conflict_do_nothing(index_elements=["digest"])
        # In one order, so that two batches wait for each other and not in a circle.
        session.connection().execute(fresh, sorted(rows, key=_digest))


def done(session: Session, told: Collection[str], counted: Mapping[str, bytes]) -> None:
    """Write down that what follows from reports has followed; what named their mails is needed no longer."""
    if told:
        over = {"state": ToldState.DONE, "why": None, "recipient": None, "message_id": None, "envelope_id": None}
        session.execute(update(TOLD).where(database.among(session, TOLD.c.id, sorted(told))).values(over))
    if counted:
        rows = [{"this": told_id, "mailbox": fingerprint} for told_id, fingerprint in sorted(counted.items())]
        session.connection().execute(_COUNT, rows)


_COUNT = (
    update(TOLD)
    .where(TOLD.c.id == bindparam("this"))
    .values(fingerprint=bindparam("mailbox", type_=TOLD.c.fingerprint.type))
)


def _digest(row: Mapping[str, object]) -> bytes:
    digest = row["digest"]
    assert isinstance(digest, bytes)
    return digest


def happened(report: Report, now: datetime) -> datetime | None:
    """Return when a report says that it happened; None where it does not say, or names a time that is to come."""
    return report.at if report.at is not None and report.at <= now + _AHEAD else None


def words(text: str | None) -> str | None:
    """Return another server's words as they may be kept: one line, without addresses, 500 characters at most."""
    found = _text(text, 4 * _LONGEST_WORDS)
    return _ADDRESS.sub("<address>", found)[:_LONGEST_WORDS] if found else None


def in_state(state: ToldState) -> ColumnElement[bool]:
    """Return "the report has this state": but for those that are done, a look at an index of few rows."""
    asked = TOLD.c.state == state
    return asked if state is ToldState.DONE else and_(asked, _NOT_DONE)


class Page(NamedTuple):
    """Some reports, newest first, and whether more follow."""

    reports: Sequence[Told]
    has_more: bool


def listing(session: Session, state: ToldState, *, limit: int, after: str | None = None) -> Page:
    """Return a page of the reports of the whole installation in this state; `after` is the last id of the one before.

    An unmatched report has no tenant.
    """
    wanted = select(Told).where(in_state(state))
    if after is not None:
        wanted = wanted.where(col(Told.id) < after)
    found = session.execute(wanted.order_by(col(Told.id).desc()).limit(limit + 1)).scalars().all()
    return Page(found[:limit], len(found) > limit)


def forget(session: Session, now: datetime) -> int:
    """Drop some reports that were heard 30 days ago, and return how many; the clock calls it again and again."""
    old = select(TOLD.c.id).where(TOLD.c.heard_at < now - KEPT).limit(_CHUNK).scalar_subquery()
    return len(session.execute(TOLD.delete().where(TOLD.c.id.in_(old)).returning(TOLD.c.id)).all())


def digest_of(report: Report, proof: Proof, email_id: str | None) -> bytes:
    """Return what makes a repeated report the same one: its source's own id of it, else all that it says.

    Who vouches is part of it, so that a forged report can never stand in the place of a true one.
    """
    said: tuple[object, ...] = (
        ("id", report.event_id)
        if report.event_id
        else (report.message_id, report.envelope_id, report.return_path, report.status, report.at, report.diagnostic)
    )
    about = email_id if email_id is not None else (report.recipient or "").lower()
    parts = (report.source, report.kind.value, proof.by if believed(proof) else "", about, *said)
    packed = repr(tuple(str(part) if part is not None else None for part in parts))
    return hashlib.blake2b(packed.encode(errors="replace"), digest_size=16, person=b"told").digest()


def _text(text: str | None, longest: int) -> str | None:
    """Return text as every database can keep it."""
    return _UNSEEN.sub(" ", text[: 4 * longest]).strip()[:longest] if text else None
