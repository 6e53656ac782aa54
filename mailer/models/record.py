"""What happened: events, counters, consents, and answers kept for repeated requests."""

from datetime import date, datetime

from sqlalchemy import BigInteger, Index, LargeBinary, UniqueConstraint
from sqlmodel import Field, SQLModel

from mailer.models.columns import Json


class Event(SQLModel, table=True):
    """A thing that happened to an email. `email.queued` and `email.sent` are told by the email's own times."""

    __table_args__ = (Index("event_email", "email_id"),)

    id: str = Field(primary_key=True, max_length=40)
    tenant_id: int = Field(foreign_key="tenant.id")
    email_id: str | None = Field(default=None, max_length=40)
    #: Such as `email.deferred`, `email.opened`, `email.unsubscribed`.
    kind: str = Field(max_length=40)
    at: datetime
    data: dict[str, object] | None = Field(default=None, sa_type=Json)


class Counter(SQLModel, table=True):
    """A sum kept as events arrive; a report adds up the slots."""

    tenant_id: int = Field(foreign_key="tenant.id", primary_key=True)
    day: date = Field(primary_key=True)
    stream: str = Field(primary_key=True, max_length=20)
    #: `all`, `tag`, `topic`, `template` …
    dimension: str = Field(primary_key=True, max_length=20)
    value: str = Field(primary_key=True, max_length=160)
    metric: str = Field(primary_key=True, max_length=40)
    #: Concurrent writers have a slot each, so that no commit waits for another one's row.
    slot: int = Field(default=0, primary_key=True)
    amount: int = Field(default=0, sa_type=BigInteger)


class Consent(SQLModel, table=True):
    """A recorded yes or no; the newest of a person and purpose holds."""

    __table_args__ = (Index("consent_person", "tenant_id", "fingerprint", "purpose"),)

    id: str = Field(primary_key=True, max_length=40)
    tenant_id: int = Field(foreign_key="tenant.id")
    fingerprint: bytes = Field(sa_type=LargeBinary(16))
    #: `tracking`, or `topic:<key>`.
    purpose: str = Field(max_length=60)
    granted: bool
    source: str
    at: datetime


class SeenHit(SQLModel, table=True):
    """A hash of an aggregate pixel's random number, so that a picture loaded twice counts once."""

    __tablename__ = "seen_hit"

    tenant_id: int = Field(foreign_key="tenant.id", primary_key=True)
    mark: bytes = Field(sa_type=LargeBinary(16), primary_key=True)
    day: date = Field(index=True)


class StoredAnswer(SQLModel, table=True):
    """What we answered to a request with an `Idempotency-Key`, kept for 24 hours."""

    __tablename__ = "stored_answer"
    __table_args__ = (UniqueConstraint("tenant_id", "route", "key"),)

    id: int | None = Field(default=None, primary_key=True)
    tenant_id: int = Field(foreign_key="tenant.id")
    route: str = Field(max_length=80)
    key: str = Field(max_length=256)
    digest: str = Field(max_length=64)
    #: 0 while the first request is in flight.
    status_code: int = 0
    body: bytes = Field(default=b"", sa_type=LargeBinary)
    created_at: datetime = Field(index=True)


class Role(SQLModel, table=True):
    """Who has a role of which there is one, such as the clock."""

    name: str = Field(primary_key=True, max_length=40)
    holder: str
    until: datetime
