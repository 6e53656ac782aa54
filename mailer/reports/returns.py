"""What came back, mail by mail: bounces and complaints of a tenant, the newest first, page by page."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, TypeVar

from sqlalchemy import ColumnElement, and_, func, select
from sqlmodel import Session, SQLModel
from sqlmodel import select as select_rows

from mailer import database
from mailer.models import Email, Event
from mailer.models.record import RETURNED
from suppression import entries
from suppression.entries import Entry
from suppression.rules import Reason, Stream

#: How many bounces and complaints one page looks at, so that no page takes long however few fit.
LOOKED_AT = 2_000
#: What may follow from them.
_REASONS = frozenset({Reason.HARD_BOUNCE, Reason.SOFT_BOUNCE, Reason.COMPLAINT})
_MOST_ENTRIES = 1_000
BOUNCED, COMPLAINED = "email.bounced", "email.complained"
_Row = TypeVar("_Row", Event, Email)
_email, _event = (SQLModel.metadata.tables[str(model.__tablename__)] for model in (Email, Event))


class Wanted(NamedTuple):
    """Which ones are asked for; what is None does not matter."""

    #: `email.bounced` or `email.complained`.
    kind: str | None = None
    #: Of bounces: for good, or not.
    hard: bool | None = None
    category: str | None = None
    provider: str | None = None
    stream: Stream | None = None
    campaign_id: str | None = None


class Return(NamedTuple):
    """One mail that came back or was called spam."""

    event: Event
    #: None where its row is gone.
    email: Email | None
    #: What forbids mail because of it, or did so.
    entries: tuple[Entry, ...]


class Returns(NamedTuple):
    """Some of them, the newest first."""

    returns: Sequence[Return]
    #: The event from which the next page goes on, None where that was all; a page may have fewer than its limit.
    after: str | None


def returned(
    session: Session, tenant_id: int, wanted: Wanted, now: datetime, *, limit: int, after: str | None = None
) -> Returns:
    """Return what came back to a tenant; `after` is where the page before ended."""
    some = (
        select(_event.c.id, _event.c.email_id, _event.c.kind, _event.c.data)
        .where(_event.c.tenant_id == tenant_id, RETURNED, *([_event.c.id < after] if after else []))
        .order_by(_event.c.id.desc())
        .limit(LOOKED_AT)
        .subquery("some")
    )
    its_mail = and_(_email.c.id == some.c.email_id, _email.c.tenant_id == tenant_id)
    found = select(some.c.id, some.c.email_id).select_from(some.outerjoin(_email, its_mail))
    asked: list[ColumnElement[bool]] = [
        column == value
        for column, value in (
            (some.c.kind, wanted.kind),
            (some.c.data["category"].as_string(), wanted.category),
            (_email.c.provider, wanted.provider),
            (_email.c.stream, wanted.stream),
            (_email.c.campaign_id, wanted.campaign_id),
        )
        if value is not None
    ]
    if wanted.hard is not None:
        asked += [some.c.kind == BOUNCED, some.c.data["hard"].as_boolean() == wanted.hard]
    rows = session.execute(found.where(*asked).order_by(some.c.id.desc()).limit(limit + 1)).all()
    shown = _with_mail(session, tenant_id, now, [(row.id, row.email_id) for row in rows[:limit]])
    if len(rows) > limit:
        return Returns(shown, shown[-1].event.id)
    last, looked_at = session.execute(select(func.min(some.c.id), func.count()).select_from(some)).one()
    return Returns(shown, last if looked_at == LOOKED_AT else None)


def _with_mail(
    session: Session, tenant_id: int, now: datetime, found: Sequence[tuple[str, str | None]]
) -> list[Return]:
    events = _by_id(session, Event, _event.c.id, [event_id for event_id, _ in found])
    mails = _by_id(session, Email, _email.c.id, [email_id for _, email_id in found if email_id])
    prints = sorted({mail.fingerprint for mail in mails.values() if mail.fingerprint})
    known = (
        entries.list_entries(session, tenant_id, limit=_MOST_ENTRIES, now=now, fingerprints=prints) if prints else []
    )
    followed: dict[object, list[Entry]] = {}
    for entry in known:
        if entry.reason in _REASONS:
            followed.setdefault((entry.evidence or {}).get("email_id"), []).append(entry)
    return [
        Return(events[event_id], mails.get(email_id or ""), tuple(followed.get(email_id, ()) if email_id else ()))
        for event_id, email_id in found
    ]


def _by_id(session: Session, model: type[_Row], column: ColumnElement[str], wanted: list[str]) -> dict[str, _Row]:
    if not wanted:
        return {}
    rows = session.exec(select_rows(model).where(database.among(session, column, wanted))).all()
    return {row.id: row for row in rows}
