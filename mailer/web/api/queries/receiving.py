"""For whom a mail came."""

from pydantic import Field

from mailer.web.api.queries.paging import Query


class RawMailQuery(Query):
    """For whom a mail came."""

    to: str | None = Field(
        default=None, max_length=320, description="The address of ours; left out: as Delivered-To and the like say."
    )
