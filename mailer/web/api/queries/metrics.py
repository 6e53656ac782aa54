"""Which days are counted."""

from datetime import date
from typing import Annotated

from pydantic import Field

from mailer.web.api.queries.paging import Query, Tag
from suppression.rules import Stream


class MetricsQuery(Query):
    """Which days are counted, by when the emails were accepted (UTC)."""

    days: Annotated[int, Field(ge=1, le=3660)] = 30
    from_: Annotated[date | None, Field(alias="from")] = None
    to: date | None = None
    stream: Stream | None = None
    tag: Tag | None = None
