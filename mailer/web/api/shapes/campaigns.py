"""Campaigns, their recipients and their numbers."""

from datetime import datetime

from pydantic import Field

from mailer.models import BrakeState, CampaignStatus, Opens
from mailer.web.api.shapes.alarms import AlarmView
from mailer.web.api.shapes.metrics import EstimateView, FirstView, NumberView
from mailer.web.api.shapes.problems import Shape
from suppression.rules import Stream


class ProgressView(Shape):
    """How far a campaign is: requested is the sum of all the others."""

    requested: int
    held: int = Field(description="Not at an end: waits until the campaign runs, for its turn, or for another try.")
    suppressed: int
    sent: int
    bounced: int
    failed: int
    cancelled: int
    expired: int
    uncertain: int


class WarningView(Shape):
    """Too many complaints, or addresses that do not exist."""

    measure: str = Field(description="`complaints` or `bounces`.")
    state: BrakeState = Field(description="`resumed`: somebody let it go on, and what was known then is not judged.")
    reason: str = Field(description="In words, with the numbers and the limit.")
    at: datetime


class CampaignView(Shape):
    """One mail for many people on one topic."""

    id: str
    name: str
    status: CampaignStatus
    stream: Stream
    topic: str
    template: str | None
    template_version: int | None = Field(description="From the start on, what everybody gets.")
    subject: str | None = Field(description="Of a literal body; a template's subject is made for each recipient.")
    variables: dict[str, object]
    locale: str
    from_: str = Field(alias="from")
    reply_to: list[str]
    headers: dict[str, str]
    tags: dict[str, str]
    opens: Opens
    clicks: Opens
    utm: dict[str, str]
    captured: bool = Field(description="Made with a key that only captures: all its mail goes to the inbox.")
    note: str | None = Field(description="Why it is paused.")
    created_at: datetime
    scheduled_at: datetime | None
    expires_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    progress: ProgressView
    warnings: list[WarningView] = Field(description="What somebody should look at, or paused the campaign.")


class CampaignPage(Shape):
    """Some campaigns, the newest first."""

    data: list[CampaignView]
    has_more: bool


class DeletedView(Shape):
    """What was deleted."""

    id: str
    deleted: bool


class RefusalView(Shape):
    """A line that added nobody: its number, counted from 1, and why."""

    line: int
    reason: str


class AddedRecipientsView(Shape):
    """What became of the people of one upload; each counts once."""

    new: int
    duplicates: int = Field(description="In the campaign already, or named before.")
    suppressed: int = Field(description="In the campaign, and a suppression forbids the mail.")
    refused: int
    lines: list[RefusalView] = Field(description="The first hundred of the refused lines.")


class CampaignReportView(Shape):
    """The numbers of one campaign, each with its formula."""

    id: str
    status: CampaignStatus
    numbers: dict[str, NumberView]
    suppressed_by: dict[str, int]
    first: dict[str, FirstView] = Field(description="Its first 24h, 3d and 7d; empty before it has started.")
    estimated_open_rate: EstimateView
    alarms: list[AlarmView] = Field(description="Opt-outs that a scanner may have made; they hold until undone.")
