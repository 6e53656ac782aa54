"""What the steps of a claim share: the table, what is written about a row, who works on it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import func, literal
from sqlmodel import SQLModel

from mailer import counters, ids, models
from mailer.counters import Tally
from mailer.models import Opens
from mailer.status import Status
from suppression.rules import Stream

EMAIL, EVENT, LEASE, CAMPAIGN, TALLY = (
    SQLModel.metadata.tables[str(model.__tablename__)]
    for model in (models.Email, models.Event, models.Lease, models.Campaign, models.Tally)
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
_STREAMS = {stream.value: stream for stream in Stream}
_OPENS = {opens.value: opens for opens in Opens}
_PLACES = {name: Job._fields.index(name) for name in ("stream", "opens", "variables", "details", "tags")}


def job_of(record: Iterable[Any]) -> Job:
    """Return a job from what a driver read, which knows neither our enums nor JSON."""
    values = list(record)
    values[_PLACES["stream"]] = _STREAMS[values[_PLACES["stream"]]]
    values[_PLACES["opens"]] = _OPENS[values[_PLACES["opens"]]]
    for name in ("variables", "details", "tags"):
        place = _PLACES[name]
        if values[place] is not None:
            values[place] = orjson.loads(values[place])
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
    """Who commits: under which lease, with which suppression key."""

    lease: str
    key_id: str


class Outcome(NamedTuple):
    """What became of one attempt."""

    job: Job
    status: Status
    reply: str | None = None
    category: str = ""
    hard: bool = False
    tracked: bool = False
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
    return {
        "id": ids.new("ev", now),
        "tenant_id": job.tenant_id,
        "email_id": job.id,
        "kind": f"email.{status}",
        "at": now,
        "data": data,
    }


def count(tally: Tally, job: Job, metric: str) -> None:
    """Count one fact about an email, on the day on which it was asked for."""
    dims = counters.dimensions(tags=job.tags, topic=job.topic, template=job.template, campaign=job.campaign_id)
    tally.add(job.tenant_id, job.created_at.date(), job.stream, metric, dims)
