"""How the streams stand."""

from datetime import datetime

from pydantic import Field

from mailer.web.api.shapes.problems import Shape
from suppression.rules import Stream


class RelayView(Shape):
    """A relay, and why it rests, if it does: it failed, and is tried again."""

    name: str
    resting: bool
    reason: str | None
    since: datetime | None
    until: datetime | None = Field(description="When it is tried again.")
    failures: int


class PausedTenantView(Shape):
    """Whose mail of a stream is paused: by an operator, or because of too many complaints or bounces."""

    tenant: str
    reason: str
    since: datetime


class StreamView(Shape):
    """How a stream stands."""

    stream: Stream
    paused: bool = Field(description="By an operator: mail is accepted and waits.")
    reason: str | None = Field(description="Why it is paused.")
    since: datetime | None = Field(description="Since when it is paused.")
    oldest_due_at: datetime | None = Field(description="Since when the oldest mail that could go has been due.")
    queue_age_seconds: float
    relays: list[RelayView]
    tenants: list[PausedTenantView]
    warnings: list[str] = Field(description="Complaints or bounces above the limit at which somebody should look.")
    summary: str


class StreamPage(Shape):
    """Both streams."""

    data: list[StreamView]
    has_more: bool
