"""Which messages to an endpoint are asked for."""

from typing import Annotated

from pydantic import Field

from mailer.models import DeliveryState
from mailer.web.api.queries.paging import Query
from mailer.webhooks.drafts import MessageId


class DeliveryQuery(Query):
    """A page of messages; ids of messages are of several kinds, so that the cursor is any of them."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    after: MessageId | None = None
    state: DeliveryState | None = None
