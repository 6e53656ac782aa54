"""Reports as rows: each is kept once, and what is not done is shown."""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlmodel import Session, SQLModel, col, select

from mailer import database, ids
from mailer.feedback.hearing.policy import believed
from mailer.feedback.inbound.report import Proof, Report
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


def keep(session: Session, report: Report, proof: Proof, email: Email | None, now: datetime) -> Told | None:
    """Write a report down as unmatched; None where it was heard before.

    Of two at once, the second waits for the first. A report for which nobody vouches leaves no word about a person.
    """
    vouched = believed(proof)
    row: dict[str, object] = {
        "id": ids.new("rp", now),
        "digest": digest_of(report, proof, email),
        "state": ToldState.UNMATCHED,
        "why": None,
        "tenant_id": email.tenant_id if email else None,
        "email_id": email.id if email else None,
        "fingerprint": None,
        "kind": report.kind.value,
        "category": report.category.value,
        "hard": report.hard,
        "code": _text(report.status, 20),
        "diagnostic": words(report.diagnostic) if vouched else None,
        "at": happened(report, now) or now,
        "heard_at": now,
        "source": _text(report.source, 20) or "",
        "rule": _text(report.rule, 80) or "",
        "reporter": _text(report.reporter, 255),
        "proof": (_text(proof.by, 80) or "") if vouched else "",
        "recipient": _text(report.recipient, 320) if vouched and email is None else None,
        "message_id": _text(report.message_id, 255) if vouched and email is None else None,
        "envelope_id": _text(report.envelope_id, 255) if vouched and email is None else None,
    }
    fresh = database.insert(session, TOLD).values(row).on_conflict_do_nothing(index_elements=["digest"])
    found = session.execute(fresh.returning(TOLD.c.id)).scalar_one_or_none()
    return session.get_one(Told, found) if found is not None else None


def earlier(session: Session, report: Report, proof: Proof, email: Email | None) -> Told:
    """Return what was kept of a report when it was heard first."""
    return session.exec(select(Told).where(col(Told.digest) == digest_of(report, proof, email))).one()


def settle(session: Session, told: Told, state: ToldState, why: str | None = None) -> None:
    """Write down what became of a report; a done one needs no longer know what named its mail."""
    told.state, told.why = state, why
    if state is ToldState.DONE:
        told.recipient = told.message_id = told.envelope_id = None
    session.flush()


def happened(report: Report, now: datetime) -> datetime | None:
    """Return when a report says that it happened; None where it does not say, or names a time that is to come."""
    return report.at if report.at is not None and report.at <= now + _AHEAD else None


def words(text: str | None) -> str | None:
    """Return another server's words as they may be kept: one line, without addresses, 500 characters at most."""
    found = _text(text, 4 * _LONGEST_WORDS)
    return _ADDRESS.sub("<address>", found)[:_LONGEST_WORDS] if found else None


class Page(NamedTuple):
    """Some reports, newest first, and whether more follow."""

    reports: Sequence[Told]
    has_more: bool


def listing(session: Session, state: ToldState, *, limit: int, after: str | None = None) -> Page:
    """Return a page of the reports of the whole installation in this state; `after` is the last id of the one before.

    An unmatched report has no tenant.
    """
    wanted = select(Told).where(col(Told.state) == state)
    if after is not None:
        wanted = wanted.where(col(Told.id) < after)
    found = session.exec(wanted.order_by(col(Told.id).desc()).limit(limit + 1)).all()
    return Page(found[:limit], len(found) > limit)


def forget(session: Session, now: datetime) -> int:
    """Drop some reports that were heard 30 days ago, and return how many; the clock calls it again and again."""
    old = select(TOLD.c.id).where(TOLD.c.heard_at < now - KEPT).limit(_CHUNK).scalar_subquery()
    return len(session.execute(TOLD.delete().where(TOLD.c.id.in_(old)).returning(TOLD.c.id)).all())


def digest_of(report: Report, proof: Proof, email: Email | None) -> bytes:
    """Return what makes a repeated report the same one: its source's own id of it, else all that it says.

    Who vouches is part of it, so that a forged report can never stand in the place of a true one.
    """
    said: tuple[object, ...] = (
        ("id", report.event_id)
        if report.event_id
        else (report.message_id, report.envelope_id, report.return_path, report.status, report.at, report.diagnostic)
    )
    about = email.id if email is not None else (report.recipient or "").lower()
    parts = (report.source, report.kind.value, proof.by if believed(proof) else "", about, *said)
    packed = repr(tuple(str(part) if part is not None else None for part in parts))
    return hashlib.blake2b(packed.encode(errors="replace"), digest_size=16, person=b"told").digest()


def _text(text: str | None, longest: int) -> str | None:
    """Return text as every database can keep it."""
    return _UNSEEN.sub(" ", text[: 4 * longest]).strip()[:longest] if text else None
