"""Numbers of days."""

from datetime import date, datetime

from pydantic import Field

from mailer.reports import By, Step
from mailer.web.api.shapes.problems import Shape


class NumberView(Shape):
    """A number and how it is worked out; null where there is nothing to divide by."""

    value: float | None
    formula: str


class MetricsView(Shape):
    """The numbers of the emails that were accepted in some days."""

    from_: date = Field(alias="from")
    to: date
    numbers: dict[str, NumberView]
    suppressed_by: dict[str, int]
    streams: dict[str, dict[str, float | dict[str, int] | None]]
    campaigns: dict[str, dict[str, float | dict[str, int] | None]]


class RowView(Shape):
    """The numbers of one topic, one provider, one link …"""

    value: str
    label: str = Field(description="What people call it: a campaign's name, where a link leads.")
    numbers: dict[str, float | None]


class TableView(Shape):
    """Numbers side by side, those with the most mail first."""

    by: By
    from_: date = Field(alias="from")
    to: date
    formulas: dict[str, str]
    data: list[RowView]
    has_more: bool


class PointView(Shape):
    """What happened in an hour or a day; what is taken back counts less than 0 where that was learnt."""

    at: datetime
    counts: dict[str, int]


class SeriesView(Shape):
    """What happened in each hour or day, whenever the emails were accepted."""

    step: Step
    tz: str
    from_: date = Field(alias="from")
    to: date
    data: list[PointView]


class FirstView(Shape):
    """What happened in the beginning of a campaign, by whole hours."""

    until: datetime
    complete: bool
    counts: dict[str, int]


class IntervalView(Shape):
    """From where to where, with 95 % confidence."""

    low: float
    high: float


class JudgedView(Shape):
    """A mailbox provider, and whether its opens say who reads."""

    provider: str
    followed: int = Field(description="Accepted with a pixel of their own.")
    opened: int
    machines: float | None = Field(description="The share of these mails whose picture a machine loaded.")
    left_out: str | None = Field(description="Why it is left out; null: it is trusted.")


class EstimateView(Shape):
    """What share of the audience reads, as far as that can be seen."""

    rate: float | None
    interval: IntervalView | None
    of: int = Field(description="How many mails it is told from.")
    share: float | None = Field(description="What share of all accepted mails that is.")
    providers: list[JudgedView]
    words: str


class DifferenceView(Shape):
    """A rate of two campaigns."""

    name: str
    first: float | None
    second: float | None
    difference: float | None = Field(description="Second - first.")
    interval: IntervalView | None
    chance: float | None = Field(
        description="How likely campaigns that are alike would differ so much; null: too few to tell."
    )
    words: str


class ComparisonView(Shape):
    """Two campaigns side by side."""

    first: str
    second: str
    rates: list[DifferenceView]
    note: str


class DoerView(Shape):
    """One recipient who did it."""

    email_id: str
    to: str
    name: str
    provider: str
    at: datetime = Field(description="When it happened first.")
    times: int
    undone_at: datetime | None = Field(description="When they took it back.")


class DoersPage(Shape):
    """Who did something with a campaign; a page may have fewer than its limit, and even nobody, and more may follow."""

    data: list[DoerView]
    has_more: bool
    after: str | None = Field(description="From where the next page goes on.")
