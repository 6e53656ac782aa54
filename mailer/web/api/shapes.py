"""What the API answers, for its document: tests hold every real answer against these types."""

from datetime import date, datetime

from pydantic import BaseModel, ConfigDict, Field

from mailer.models import CampaignStatus, LeaveRule, Opens
from mailer.status import Status
from suppression.rules import Origin, Reason, Stream


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ProblemEntry(_Shape):
    """What is wrong with one value: where it stands, and a sentence that says the way out."""

    path: str
    message: str


class ProblemDocument(_Shape):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemEntry]


class SuppressionView(_Shape):
    """An entry that forbids mail to an address."""

    id: str
    email: str | None = Field(description="Null after erasure.")
    reason: Reason
    scope: str
    origin: Origin
    created_at: datetime
    expires_at: datetime | None
    lifted_at: datetime | None
    lifted_by: str | None
    lift_note: str | None
    note: str | None
    evidence: dict[str, object] | None


class AddedView(SuppressionView):
    """The entry that now stands, and whether this request made it."""

    created: bool


class PlacedView(_Shape):
    """One accepted email; a suppressed one says which entry forbids it."""

    id: str
    status: Status
    to: str | None = Field(default=None, description="Where the request had several recipients.")
    suppression: SuppressionView | None = None


class SeveralView(_Shape):
    """The emails of a request with several recipients."""

    data: list[PlacedView]


class BatchView(_Shape):
    """What became of each mail of a batch, in its order."""

    data: list[PlacedView | SeveralView | ProblemDocument]


class ChangedView(_Shape):
    """An email after a change."""

    id: str
    status: Status
    scheduled_at: datetime | None = None


class EventView(BaseModel):
    """A thing that happened to an email, with what is known of it."""

    model_config = ConfigDict(extra="allow")

    type: str
    at: datetime


class DecidingView(_Shape):
    """The entry that forbade an email."""

    id: str
    reason: Reason


class EmailSummary(_Shape):
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


class EmailPage(_Shape):
    """Some emails, the newest first."""

    data: list[EmailSummary]
    has_more: bool


class RelayView(_Shape):
    """A relay, and why it rests, if it does: it failed, and is tried again."""

    name: str
    resting: bool
    reason: str | None
    since: datetime | None
    until: datetime | None = Field(description="When it is tried again.")
    failures: int


class StreamView(_Shape):
    """How a stream stands."""

    stream: Stream
    paused: bool = Field(description="By an operator: mail is accepted and waits.")
    reason: str | None = Field(description="Why it is paused.")
    since: datetime | None = Field(description="Since when it is paused.")
    oldest_due_at: datetime | None = Field(description="Since when the oldest mail that could go has been due.")
    queue_age_seconds: float
    relays: list[RelayView]
    summary: str


class StreamPage(_Shape):
    """Both streams."""

    data: list[StreamView]
    has_more: bool


class RenderedView(_Shape):
    """What a mail would look like."""

    subject: str
    html: str | None
    text: str | None


class TemplateSummary(_Shape):
    """One version of a template; a shipped one has no number before it is first sent."""

    name: str
    version: int | None
    shipped: bool
    stream: Stream
    topic: str | None
    urgency: str
    written_by: str
    description: str
    locales: list[str]
    created_at: datetime | None
    retired_at: datetime | None


class PartsView(_Shape):
    """One locale's sources."""

    subject: str
    html: str | None
    text: str | None


class TemplateView(TemplateSummary):
    """One version of a template, whole."""

    default_locale: str
    variables: dict[str, object]
    json_schema: dict[str, object]
    example: dict[str, object]
    parts: dict[str, PartsView]


class TemplatePage(_Shape):
    """Templates or versions."""

    data: list[TemplateSummary]
    has_more: bool


class TopicView(_Shape):
    """What people can leave, if it may be left."""

    key: str
    stream: Stream
    opt_out: LeaveRule
    may_leave: bool
    names: dict[str, str]
    descriptions: dict[str, str]


class TopicPage(_Shape):
    """All topics."""

    data: list[TopicView]
    has_more: bool


class SuppressionPage(_Shape):
    """Some suppressions, the newest first."""

    data: list[SuppressionView]
    has_more: bool


class RuleView(_Shape):
    """One rule of the policy: whether an entry meets it, and whether that forbids this mail."""

    rule: Reason
    matched: bool
    blocks: bool


class CheckView(_Shape):
    """Whether an address may get this mail, and why."""

    allowed: bool
    entry: SuppressionView | None
    trace: list[RuleView]


class NumberView(_Shape):
    """A number and how it is worked out; null where there is nothing to divide by."""

    value: float | None
    formula: str


class MetricsView(_Shape):
    """The numbers of the emails that were accepted in some days."""

    from_: date = Field(alias="from")
    to: date
    numbers: dict[str, NumberView]
    suppressed_by: dict[str, int]
    streams: dict[str, dict[str, float | dict[str, int] | None]]
    campaigns: dict[str, dict[str, float | dict[str, int] | None]]


class ProgressView(_Shape):
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


class CampaignView(_Shape):
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
    captured: bool = Field(description="Made with a key that only captures: all its mail goes to the inbox.")
    note: str | None = Field(description="Why it is paused.")
    created_at: datetime
    scheduled_at: datetime | None
    expires_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    progress: ProgressView


class CampaignPage(_Shape):
    """Some campaigns, the newest first."""

    data: list[CampaignView]
    has_more: bool


class DeletedView(_Shape):
    """What was deleted."""

    id: str
    deleted: bool


class RefusalView(_Shape):
    """A line that added nobody: its number, counted from 1, and why."""

    line: int
    reason: str


class AddedRecipientsView(_Shape):
    """What became of the people of one upload; each counts once."""

    new: int
    duplicates: int = Field(description="In the campaign already, or named before.")
    suppressed: int = Field(description="In the campaign, and a suppression forbids the mail.")
    refused: int
    lines: list[RefusalView] = Field(description="The first hundred of the refused lines.")


class CampaignReportView(_Shape):
    """The numbers of one campaign, each with its formula."""

    id: str
    status: CampaignStatus
    numbers: dict[str, NumberView]
    suppressed_by: dict[str, int]
