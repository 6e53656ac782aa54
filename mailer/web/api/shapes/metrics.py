"""Numbers of days."""

from datetime import date

from pydantic import Field

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
