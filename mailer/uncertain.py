"""Emails of which nobody knows whether they went: what a person decides about each."""

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, and_, func, or_, select, true, update
from sqlmodel import Session, SQLModel

from mailer import counters, database, events
from mailer.counters import Tally
from mailer.errors import Conflict
from mailer.models import Campaign, CampaignStatus, Email
from mailer.status import Status

#: How many emails one call resolves; whoever has more commits between them.
CHUNK = 500
_EMAIL, _CAMPAIGN = (SQLModel.metadata.tables[str(model.__tablename__)] for model in (Email, Campaign))
#: The words of the partial index: no look at the rest of a big table.
_DOUBTFUL = and_(_EMAIL.c.doubtful == true(), _EMAIL.c.status == Status.UNCERTAIN)
_OVER = (CampaignStatus.CANCELLED, CampaignStatus.EXPIRED)
_NAMES = ("id", "tenant_id", "stream", "created_at", "tags", "topic", "template", "campaign_id", "provider")


class Resolution(StrEnum):
    """What a person says about an uncertain email."""

    #: It went: the relay's log or its recipient says so.
    SENT = "sent"
    #: It did not go, and is not to go any more.
    FAILED = "failed"
    #: It is sent again, though it may have gone: its recipient may get it twice.
    AGAIN = "again"


_BECOMES = {Resolution.SENT: Status.SENT, Resolution.FAILED: Status.FAILED, Resolution.AGAIN: Status.QUEUED}


def waiting(
    session: Session, tenant_id: int, *, limit: int, campaign_id: str | None = None, after: str | None = None
) -> Sequence[str]:
    """Return the ids of uncertain emails, newest first; `after` is the last one of the page before."""
    statement = select(_EMAIL.c.id).where(*_of(tenant_id, campaign_id))
    if after is not None:
        statement = statement.where(_EMAIL.c.id < after)
    return session.execute(statement.order_by(_EMAIL.c.id.desc()).limit(limit)).scalars().all()


def number(session: Session, tenant_id: int, *, campaign_id: str | None = None) -> int:
    """Return how many emails are uncertain: few, and each stands in its own index."""
    return int(session.execute(select(func.count()).where(*_of(tenant_id, campaign_id))).scalar_one())


class Decision(NamedTuple):
    """What a person decided, who it was, and why."""

    resolution: Resolution
    by: str
    note: str | None = None


def resolve(session: Session, tenant_id: int, wanted: Collection[str], decision: Decision, now: datetime) -> list[str]:
    """Settle uncertain emails as a person says, at most `CHUNK` at once, and return the ids of those that were.

    What is not uncertain (any more) stays as it is, and so does, of `AGAIN`, the mail of a campaign that was cancelled
    or has expired. An email that went has the time of its intent as `sent_at`. One that is sent again keeps its
    Message-ID, and is tried afresh, from its Date on: its opt-outs are asked as for every mail.
    """
    resolution = decision.resolution
    status = _BECOMES[resolution]
    ours = [*_of(tenant_id, None), database.among(session, _EMAIL.c.id, list(wanted)[:CHUNK])]
    values: dict[str, object] = {"status": status, "lease": None, "intent_at": None, "settled_at": now}
    if resolution is Resolution.SENT:
        values["sent_at"] = func.coalesce(_EMAIL.c.intent_at, now)
    if resolution is Resolution.AGAIN:
        # Counted from its first try, the time in which it is tried might be over.
        fresh = {"dated_at": None, "attempts": 0, "due_at": now, "settled_at": None}
        values |= {**fresh, "maybe_duplicate": True}
        ours.append(_may_go())
    changed = update(_EMAIL).where(*ours).values(**values).returning(*(_EMAIL.c[name] for name in _NAMES))
    rows = session.execute(changed).all()
    _tell(session, rows, status, {"resolved_by": decision.by, "note": decision.note}, now)
    return [row.id for row in rows]


def resolve_one(session: Session, email: Email, decision: Decision, now: datetime) -> Email:
    """Settle one uncertain email; raises `Conflict` where that cannot be done, with the reason."""
    resolved = resolve(session, email.tenant_id, [email.id], decision, now)
    session.refresh(email)
    if not resolved:
        if email.status is Status.UNCERTAIN:
            raise Conflict("its campaign was cancelled or has expired: resolve it as sent or failed")
        raise Conflict(f"the email is {email.status}, not uncertain: there is nothing to resolve")
    return email


def _of(tenant_id: int, campaign_id: str | None) -> list[ColumnElement[bool]]:
    found = [_EMAIL.c.tenant_id == tenant_id, _DOUBTFUL]
    return [*found, _EMAIL.c.campaign_id == campaign_id] if campaign_id is not None else found


def _may_go() -> ColumnElement[bool]:
    over = select(_CAMPAIGN.c.id).where(_CAMPAIGN.c.id == _EMAIL.c.campaign_id, _CAMPAIGN.c.status.in_(_OVER))
    return or_(_EMAIL.c.campaign_id.is_(None), ~over.exists())


def _tell(session: Session, rows: Sequence[Row[Any]], status: Status, data: dict[str, object], now: datetime) -> None:
    """Take the doubt back from the sums, count what is known now, and write an event for each."""
    tally, happened = Tally(), []
    for row in rows:
        # A relay was asked, so that the doubt was counted by provider too.
        dims = counters.dimensions(
            tags=row.tags, topic=row.topic, template=row.template, campaign=row.campaign_id, provider=row.provider
        )
        fact = (row.tenant_id, row.created_at.date(), row.stream)
        tally.add(*fact, Status.UNCERTAIN, dims, -1, at=now)
        if status is not Status.QUEUED:
            tally.add(*fact, status, dims, at=now)
        happened.append(events.row(row.tenant_id, f"email.{status}", data, now, email_id=row.id))
    events.write(session, happened)
    tally.write(session)
