"""Reports about our mail, as they were heard."""

from datetime import datetime

from pydantic import Field

from mailer.feedback.inbound.report import Category, Kind
from mailer.models import ToldState
from mailer.web.api.shapes.problems import Shape


class ToldView(Shape):
    """What somebody told about a mail of ours."""

    id: str
    state: ToldState
    why: str | None = Field(description="Why nothing followed from it.")
    kind: Kind
    category: Category
    hard: bool = Field(description="The address is the cause and will stay so.")
    code: str | None = Field(description="Enhanced status code (RFC 3463).")
    diagnostic: str | None = Field(description="What the other server said, without addresses.")
    at: datetime = Field(description="When it happened, as far as it says.")
    heard_at: datetime
    source: str
    reporter: str | None = Field(description="The domain that reports.")
    proof: str | None = Field(description="Who vouches for it; null: nobody does.")
    email_id: str | None
    recipient: str | None = Field(description="Whom it names, while it is not done.")
    message_id: str | None
    envelope_id: str | None


class ToldPage(Shape):
    """Some reports, the newest first."""

    data: list[ToldView]
    has_more: bool
