"""What the steps of a claim share: the table, what is written about a row, who works on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row
from sqlmodel import SQLModel

from mailer import counters, ids, models
from mailer.counters import Tally
from mailer.status import Status
from suppression.rules import Stream

EMAIL = SQLModel.metadata.tables[str(models.Email.__tablename__)]
EVENT = SQLModel.metadata.tables[str(models.Event.__tablename__)]
LEASE = SQLModel.metadata.tables[str(models.Lease.__tablename__)]
#: One email as a claim returned it: every column of the table.
Job = Row[Any]


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
