"""Which days, rows and points of reports are asked for."""

from datetime import date
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from mailer.reports import By, Did, Step
from mailer.web.api.queries.paging import EmailCursor, Paged, Query, Tag
from suppression.rules import Stream

_Zone = Annotated[str, Field(max_length=60, description="A time zone such as Europe/Kyiv; the days are its own.")]


class Spanned(Query):
    """Which days."""

    days: Annotated[int, Field(ge=1, le=3660)] = 30
    from_: Annotated[date | None, Field(alias="from")] = None
    to: date | None = None


class MetricsQuery(Spanned):
    """Which days are counted, by when the emails were accepted (UTC)."""

    stream: Stream | None = None
    tag: Tag | None = None


class TableQuery(Spanned):
    """What the rows are, and which days are counted, by when the emails were accepted (UTC)."""

    by: By
    stream: Stream | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class SeriesQuery(Spanned):
    """How long a point lasts, and in which days it happened."""

    days: Annotated[int, Field(ge=1, le=1830)] = 7
    step: Step = Step.DAY
    tz: _Zone = "UTC"
    stream: Stream | None = None


class CampaignSeriesQuery(Spanned):
    """How long a point lasts, and in which days it happened."""

    days: Annotated[int, Field(ge=1, le=1830)] = 7
    step: Step = Step.HOUR
    tz: _Zone = "UTC"


class CampaignBy(StrEnum):
    """What the rows of a table of one campaign are."""

    PROVIDER = By.PROVIDER.value
    LINK = By.LINK.value


class CampaignTableQuery(Query):
    """What the rows are."""

    by: CampaignBy


class ComparisonQuery(Query):
    """With which campaign."""

    with_: Annotated[str, Field(alias="with", max_length=40)]


class DoersQuery(Paged):
    """What they did."""

    did: Did
    after: EmailCursor | None = None
