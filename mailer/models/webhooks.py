"""Who is told of events by HTTP, and every message to them."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from mailer.models.columns import Json, choice

_WAITS, _FAILED = text("state = 'waiting'"), text("state = 'failed'")


class DeliveryState(StrEnum):
    """How a message stands."""

    #: To be delivered, or on its way.
    WAITING = "waiting"
    #: The endpoint said 2xx.
    DELIVERED = "delivered"
    #: Given up after the last try; a replay sends it again.
    FAILED = "failed"


class Webhook(SQLModel, table=True):
    """An endpoint of a tenant."""

    id: str = Field(primary_key=True, max_length=40)
    tenant_id: int = Field(foreign_key="tenant.id", index=True)
    url: str
    description: str = ""
    #: The events that it wants; None for all.
    kinds: list[str] | None = Field(default=None, sa_type=Json)
    #: Whether it is told of each mail that is sent; a column, for the statement that settles mail by the thousand asks.
    hears_sent: bool
    #: Sealed with the ring of `MAILER_SECRET_KEYS`.
    secret: bytes = Field(sa_type=LargeBinary)
    #: What it signed with before, and still does beside the new one until then.
    old_secret: bytes | None = Field(default=None, sa_type=LargeBinary)
    old_until: datetime | None = None
    enabled: bool = True
    disabled_at: datetime | None = None
    disabled_why: str | None = None
    #: Failed tries in a row, since when, and until when it is left alone.
    failures: int = 0
    failing_since: datetime | None = None
    rests_until: datetime | None = None
    created_at: datetime


class WebhookDelivery(SQLModel, table=True):
    """One message to one endpoint: written in the transaction of what it tells, so that no crash loses it."""

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        UniqueConstraint("webhook_id", "message_id"),
        Index("webhook_delivery_due", "webhook_id", "due_at", "number", sqlite_where=_WAITS, postgresql_where=_WAITS),
        # What is told of one email goes out in its order; and erasure finds an email's messages.
        Index("webhook_delivery_email", "email_id", "number"),
        Index("webhook_delivery_listed", "webhook_id", "number"),
        # What was given up is rare: whoever looks for it walks through nothing else.
        Index("webhook_delivery_failed", "webhook_id", "number", sqlite_where=_FAILED, postgresql_where=_FAILED),
    )

    number: int | None = Field(default=None, primary_key=True, sa_type=BigInteger().with_variant(Integer(), "sqlite"))
    webhook_id: str = Field(max_length=40)
    #: An event's id; or the email's with `_queued` or `_sent`, which have no row of their own.
    message_id: str = Field(max_length=60)
    tenant_id: int
    kind: str = Field(max_length=40)
    email_id: str | None = Field(default=None, max_length=40)
    at: datetime
    state: DeliveryState = Field(default=DeliveryState.WAITING, sa_type=choice(DeliveryState))
    #: When it is tried next; of one that is on its way, when whoever has it counts as dead.
    due_at: datetime
    lease: str | None = Field(default=None, max_length=40)
    tries: int = 0
    #: What came of the last try: the HTTP status, milliseconds, and the first kilobyte of the answer, or why none came.
    tried_at: datetime | None = None
    status_code: int | None = None
    took: int | None = None
    answer: str | None = None
