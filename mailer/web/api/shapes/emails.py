"""Emails: accepted, changed, shown."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from mailer.status import Status
from mailer.web.api.shapes.problems import ProblemDocument, Shape
from mailer.web.api.shapes.suppressions import SuppressionView
from suppression.rules import Reason, Stream


class PlacedView(Shape):
    """One accepted email; a suppressed one says which entry forbids it."""

    id: str
    status: Status
    to: str | None = Field(default=None, description="Where the request had several recipients.")
    suppression: SuppressionView | None = None
    reason: Literal["not_opted_in"] | None = Field(
        default=None, description="Where no entry forbids it: its topic goes only to those who said yes."
    )


class SeveralView(Shape):
    """The emails of a request with several recipients."""

    data: list[PlacedView]


class BatchView(Shape):
    """What became of each mail of a batch, in its order."""

    data: list[PlacedView | SeveralView | ProblemDocument]


class ChangedView(Shape):
    """An email after a change."""

    id: str
    status: Status
    scheduled_at: datetime | None = None


class EventView(BaseModel):
    """A thing that happened to an email, with what is known of it."""

    model_config = ConfigDict(extra="allow")

    type: str
    at: datetime


class DecidingView(Shape):
    """What forbade an email: an entry, or that its topic goes only to those who said yes."""

    id: str | None = Field(description="The entry's id; null where a yes was missing.")
    reason: Reason | Literal["not_opted_in"]


class EmailSummary(Shape):
    """One mail to one recipient."""

    id: str
    stream: Stream
    status: Status
    to: str | None = Field(description="Null after erasure.")
    from_: str = Field(alias="from")
    subject: str | None = Field(description="Of a literal body; a template's subject is made for each recipient.")
    template: str | None
    template_version: int | None
    locale: str
    topic: str | None
    campaign_id: str | None
    tags: dict[str, str]
    metadata: dict[str, object]
    created_at: datetime
    scheduled_at: datetime | None
    sent_at: datetime | None
    expires_at: datetime | None
    attempts: int
    reply: str | None = Field(description="The relay's last words.")
    captured: bool = Field(description="Went to the built-in inbox, or will go there: nobody gets it.")
    maybe_duplicate: bool
    suppression: DecidingView | None


class EmailView(EmailSummary):
    """One mail to one recipient, with everything that happened to it."""

    events: list[EventView]


class EmailPage(Shape):
    """Some emails, the newest first."""

    data: list[EmailSummary]
    has_more: bool


class RenderedView(Shape):
    """What a mail would look like."""

    subject: str
    html: str | None
    text: str | None
