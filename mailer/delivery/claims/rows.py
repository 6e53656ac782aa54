"""What the steps of a claim share: the table, what is written about a row, who works on it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import func, literal, type_coerce
from sqlalchemy.types import NULLTYPE
from sqlmodel import SQLModel

from mailer import events, models
from mailer.models import Opens
from mailer.status import Status
from suppression.rules import Stream

EMAIL, LEASE, CAMPAIGN, TALLY = (
    SQLModel.metadata.tables[str(model.__tablename__)]
    for model in (models.Email, models.Lease, models.Campaign, models.Tally)
)


class Job(NamedTuple):
    """One email as a claim returned it: what delivering it needs of its row."""

    id: str
    tenant_id: int
    stream: Stream
    urgency: int
    due_at: datetime
    created_at: datetime
    expires_at: datetime | None
    content_id: int
    template: str | None
    locale: str
    variables: Mapping[str, object] | None
    campaign_id: str | None
    topic: str | None
    leavable: bool
    address: str | None
    name: str | None
    #: Empty after erasure.
    fingerprint: bytes
    provider: str
    from_address: str
    from_name: str
    details: Mapping[str, object] | None
    tags: Mapping[str, str] | None
    opens: Opens
    clicks: Opens
    attempts: int
    dated_at: datetime | None
    intent_at: datetime | None
    reply: str | None


#: The columns of a `Job`, in its order.
COLUMNS = tuple(
    func.coalesce(EMAIL.c.fingerprint, literal(b"", EMAIL.c.fingerprint.type)).label(name)
    if name == "fingerprint"
    else EMAIL.c[name]
    for name in Job._fields
)
#: The same as the driver of PostgreSQL reads them, without SQLAlchemy's conversions, which cost twice as much as ours.
RAW = tuple(type_coerce(column, NULLTYPE).label(name) for name, column in zip(Job._fields, COLUMNS, strict=True))
_STREAMS = {stream.value: stream for stream in Stream}
_OPENS = {opens.value: opens for opens in Opens}
_STREAM, _LOADS, _CLICKS = (Job._fields.index(name) for name in ("stream", "opens", "clicks"))


def job_of(record: Iterable[Any]) -> Job:
    """Return a job from what the driver of PostgreSQL read, which does not know our enums."""
    values = list(record)
    values[_STREAM] = _STREAMS[values[_STREAM]]
    values[_LOADS] = _OPENS[values[_LOADS]]
    values[_CLICKS] = _OPENS[values[_CLICKS]]
    return Job._make(values)


class Ask(NamedTuple):
    """What a worker wants to claim."""

    stream: Stream
    #: None: whatever the route; else only what goes to the inbox, or only what goes to the relay.
    captured: bool | None
    lease: str
    limit: int
    urgencies: tuple[int, ...] = (0, 1, 2)


class Worker(NamedTuple):
    """Who commits: under which lease."""

    lease: str


class Outcome(NamedTuple):
    """What became of one attempt."""

    job: Job
    status: Status
    reply: str | None = None
    category: str = ""
    hard: bool = False
    tracked: bool = False
    tracked_links: bool = False
    due_at: datetime | None = None
    maybe_duplicate: bool = False


@dataclass(slots=True)
class Step:
    """What one connection wants committed: the outcome of its last mail, and the intent of its next."""

    outcome: Outcome | None = None
    intent: Job | None = None
    granted: bool = field(default=False)


def event_of(job: Job, status: Status, data: Mapping[str, object] | None, now: datetime) -> dict[str, object]:
    """Return the row of an event that a change of status leaves."""
    return events.row(job.tenant_id, f"email.{status}", data, now, email_id=job.id)
