"""Endpoints of webhooks, and messages to them."""

from datetime import datetime

from pydantic import Field

from mailer.models import DeliveryState
from mailer.web.api.shapes.problems import Shape


class WebhookView(Shape):
    """An endpoint."""

    id: str
    url: str
    description: str
    events: list[str] | None = Field(description="Null: all.")
    enabled: bool
    disabled_at: datetime | None
    disabled_why: str | None = Field(description="Set where it was not its owner who disabled it.")
    failures: int = Field(description="Failed tries in a row.")
    failing_since: datetime | None
    old_secret_until: datetime | None = Field(description="Until then the secret before this one signs too.")
    created_at: datetime


class WebhookSecretView(WebhookView):
    """An endpoint with its secret, which is shown this once."""

    secret: str


class WebhookPage(Shape):
    """All endpoints."""

    data: list[WebhookView]
    has_more: bool


class DeliveryView(Shape):
    """A message to an endpoint, and what came of its last try."""

    id: str = Field(description="The same as the header webhook-id.")
    type: str
    email_id: str | None
    state: DeliveryState
    at: datetime
    tries: int
    tried_at: datetime | None
    next_try_at: datetime | None
    status_code: int | None = Field(description="Null where no answer came.")
    took_ms: int | None
    answer: str | None = Field(description="The first kilobyte of the answer, or why none came.")


class DeliveryPage(Shape):
    """Some messages, the newest first."""

    data: list[DeliveryView]
    has_more: bool


class TestedView(Shape):
    """The test message that is on its way."""

    id: str


class ReplayedView(Shape):
    """How many messages are sent again."""

    replayed: int
