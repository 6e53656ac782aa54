"""What is sent: content once, an email a recipient, and the leases of the workers."""

from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, Column, Computed, Index, LargeBinary, SmallInteger, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from mailer.models.columns import Json, choice
from mailer.models.tenancy import Opens
from mailer.status import CLAIMABLE, Status
from suppression.rules import Stream

_CLAIMABLE = "status IN ({})".format(", ".join(f"'{status}'" for status in CLAIMABLE))


def _where(column: str, known: str | None = None) -> dict[str, Any]:
    """Return the predicate of a partial index, in both dialects' words; of `known` any value will do."""
    also = f" AND {known} IS NOT NULL" if known else ""
    return {"sqlite_where": text(f"{column} = 1{also}"), "postgresql_where": text(f"{column}{also}")}


class Content(SQLModel, table=True):
    """A version of a template, or a literal body kept once. Rows never change, so what is compiled is cached by id."""

    __table_args__ = (UniqueConstraint("tenant_id", "digest"), UniqueConstraint("tenant_id", "name", "version"))

    id: int | None = Field(default=None, primary_key=True)
    tenant_id: int = Field(foreign_key="tenant.id")
    digest: str = Field(max_length=64)
    #: Template and version; None for a literal body.
    name: str | None = Field(default=None, max_length=80)
    version: int | None = None
    #: True for a template that travels with the program.
    shipped: bool = False
    data: dict[str, object] = Field(sa_type=Json)
    created_at: datetime
    retired_at: datetime | None = None


class Attachment(SQLModel, table=True):
    """The bytes of a file, kept once a tenant."""

    __table_args__ = (UniqueConstraint("tenant_id", "digest"),)

    id: int | None = Field(default=None, primary_key=True)
    tenant_id: int = Field(foreign_key="tenant.id")
    digest: str = Field(max_length=64)
    data: bytes = Field(sa_type=LargeBinary)


class Email(SQLModel, table=True):
    """One mail to one recipient: one row, one envelope, one decision, one status."""

    # No index knows the status itself: from a claim on, PostgreSQL rewrites a row in place where its page has room.
    __table_args__ = (
        # The queue: what a claim walks through, in the order in which it goes out.
        Index("email_work", "stream", "captured", "urgency", "due_at", **_where("waiting")),
        # What waits and may be too late one day: in the queue for the first time, few have either moment.
        Index("email_expiring", "expires_at", **_where("waiting", "expires_at")),
        Index("email_tried", "dated_at", **_where("waiting", "dated_at")),
        # A campaign's mail that is not in the queue yet.
        Index("email_held", "campaign_id", "captured", "due_at", **_where("held")),
        Index(
            "email_lease", "lease", sqlite_where=text("lease IS NOT NULL"), postgresql_where=text("lease IS NOT NULL")
        ),
        # A tenant's own, however much mail its neighbours have (docs/architecture.md).
        Index("email_listed", "tenant_id", "id"),
        # The few that a person has to decide about; named twice, `doubtful` has SQLite prefer it to the one above.
        Index("email_doubtful", "tenant_id", "doubtful", "id", **_where("doubtful")),
        # Finds a person's mail; and of a campaign nobody has more than one (NULLs are distinct).
        Index("email_person", "tenant_id", "fingerprint", "campaign_id", unique=True),
        {"postgresql_with": {"fillfactor": 70}},
    )

    id: str = Field(primary_key=True, max_length=40)
    #: Of `tenant`; a foreign key would cost every insert a look and a lock.
    tenant_id: int
    stream: Stream = Field(sa_type=choice(Stream))
    status: Status = Field(sa_type=choice(Status))
    waiting: bool | None = Field(default=None, sa_column=Column(Boolean, Computed(_CLAIMABLE, persisted=True)))
    held: bool | None = Field(
        default=None, sa_column=Column(Boolean, Computed(f"status = '{Status.HELD}'", persisted=True))
    )
    doubtful: bool | None = Field(
        default=None, sa_column=Column(Boolean, Computed(f"status = '{Status.UNCERTAIN}'", persisted=True))
    )
    urgency: int = Field(sa_type=SmallInteger)
    #: Goes to the inbox whatever the relay is.
    captured: bool = False
    due_at: datetime
    created_at: datetime
    scheduled_at: datetime | None = None
    expires_at: datetime | None = None

    #: Of `content`; a campaign's mail takes what the campaign froze when it is claimed.
    content_id: int
    template: str | None = None
    locale: str = Field(max_length=10)
    variables: dict[str, object] | None = Field(default=None, sa_type=Json)
    campaign_id: str | None = None
    topic: str | None = Field(default=None, max_length=40)
    #: Whether the person may leave the topic (always true of promotional mail).
    leavable: bool = False

    #: Null after erasure.
    address: str | None = None
    name: str | None = None
    fingerprint: bytes | None = Field(default=None, sa_type=LargeBinary(16))
    provider: str = Field(default="other", max_length=20)
    from_address: str
    from_name: str = ""
    #: What few emails have: to, cc, reply_to, headers, attachments, message_key.
    details: dict[str, object] | None = Field(default=None, sa_type=Json)
    tags: dict[str, str] | None = Field(default=None, sa_type=Json)
    meta: dict[str, object] | None = Field(default=None, sa_type=Json, sa_column_kwargs={"name": "metadata"})
    #: How opens and clicks are measured, at most; the person's choice may still lower it.
    opens: Opens = Field(default=Opens.OFF, sa_type=choice(Opens))
    clicks: Opens = Field(default=Opens.OFF, sa_type=choice(Opens))

    attempts: int = 0
    #: The worker that has it, or had it last (`Lease.id`); an outcome or intent under another lease changes nothing.
    lease: str | None = Field(default=None, max_length=40)
    #: Date of the mail: that of its first attempt, the same in every further one.
    dated_at: datetime | None = None
    #: The durable intent to send (RFC 5321 section 6.1): without it nothing was sent.
    intent_at: datetime | None = None
    sent_at: datetime | None = None
    settled_at: datetime | None = None
    #: True where the mail carried a pixel.
    tracked: bool = False
    #: True where it carried a link that leads by way of us.
    tracked_links: bool = False
    maybe_duplicate: bool = False
    #: The relay's last words, without addresses.
    reply: str | None = None
    suppression_id: str | None = None
    suppression_reason: str | None = Field(default=None, max_length=20)


class Lease(SQLModel, table=True):
    """A worker that may hold emails, alive while it beats."""

    id: str = Field(primary_key=True, max_length=40)
    stream: Stream = Field(sa_type=choice(Stream))
    #: Names the process, so that a restarted `serve` can void what its predecessor held.
    holder: str
    beat_at: datetime
