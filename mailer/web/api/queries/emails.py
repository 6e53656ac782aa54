"""Which emails are asked for."""

from typing import Annotated

from pydantic import Field

from mailer.drafts import Address, TopicKey
from mailer.status import Status
from mailer.web.api.queries.paging import EmailCursor, Paged, Tag
from suppression.rules import Stream


class EmailQuery(Paged):
    """Which emails are asked for."""

    after: EmailCursor | None = None
    to: Address | None = None
    stream: Stream | None = None
    status: Status | None = None
    campaign_id: Annotated[str, Field(max_length=40)] | None = None
    topic: TopicKey | None = None
    tag: Tag | None = None
