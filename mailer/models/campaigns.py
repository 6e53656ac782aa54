"""Campaigns: one template to many people on one topic."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from mailer.models.columns import Json, choice
from mailer.models.tenancy import Opens
from suppression.rules import Stream


class CampaignStatus(StrEnum):
    """Where a campaign stands."""

    DRAFT = "draft"
    #: Starts at `scheduled_at`.
    SCHEDULED = "scheduled"
    RUNNING = "running"
    PAUSED = "paused"
    #: Every recipient is settled; more recipients set it going again.
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    #: `expires_at` passed before everybody was reached.
    EXPIRED = "expired"


class Campaign(SQLModel, table=True):
    """What all its emails share; each is a row of `email`, `held` at first, from the moment its recipient is added."""

    __table_args__ = (Index("campaign_listed", "tenant_id", "id"), Index("campaign_status", "status"))

    id: str = Field(primary_key=True, max_length=40)
    tenant_id: int
    name: str
    status: CampaignStatus = Field(default=CampaignStatus.DRAFT, sa_type=choice(CampaignStatus))
    stream: Stream = Field(sa_type=choice(Stream))
    topic: str = Field(max_length=40)
    #: What is sent; frozen by the start, and given to each email by its claim.
    content_id: int
    template: str | None = None
    locale: str = Field(max_length=10)
    #: Shared by all recipients, whose own variables win.
    variables: dict[str, object] | None = Field(default=None, sa_type=Json)
    from_address: str
    from_name: str = ""
    #: reply_to, headers: as `Email.details`.
    details: dict[str, object] | None = Field(default=None, sa_type=Json)
    tags: dict[str, str] | None = Field(default=None, sa_type=Json)
    opens: Opens = Field(default=Opens.OFF, sa_type=choice(Opens))
    clicks: Opens = Field(default=Opens.OFF, sa_type=choice(Opens))
    #: What its links say of themselves, {"source": "newsletter"}; beside it stands what the tenant's say.
    utm: dict[str, str] | None = Field(default=None, sa_type=Json)
    #: Why it was paused, and by whom.
    note: str | None = None
    created_at: datetime
    scheduled_at: datetime | None = None
    expires_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
