"""Scanner alarms, and what undoing one did."""

from datetime import datetime

from pydantic import Field

from mailer.models import AlarmKind
from mailer.web.api.shapes.problems import Shape


class AlarmView(Shape):
    """Many opt-outs of one domain or network soon after delivery: perhaps a scanner. They hold until undone."""

    id: str
    campaign_id: str | None = Field(description="Null where the mail belongs to none.")
    kind: AlarmKind
    value: str = Field(description="The domain, or the network that they came from.")
    opt_outs: int = Field(description="How many people's.")
    first_at: datetime
    last_at: datetime
    undone_at: datetime | None = Field(description="Null again where more came afterwards.")
    note: str | None = Field(description="Who undid it, and why.")


class AlarmPage(Shape):
    """Some alarms, the newest first."""

    data: list[AlarmView]
    has_more: bool


class UndoneView(AlarmView):
    """The alarm, and what became of its opt-outs."""

    lifted: int
    left_out: int = Field(description="The person said it again later or from elsewhere, or is back already.")
