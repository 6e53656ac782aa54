"""Which suppressions are asked for, and what is asked of them."""

from mailer.drafts import Address, Note, TopicKey
from mailer.web.api.queries.paging import Paged, Query
from suppression.rules import Reason, Stream


class SuppressionQuery(Paged):
    """Which suppressions are asked for."""

    email: Address | None = None
    reason: Reason | None = None
    live: bool | None = None


class CheckQuery(Query):
    """May this address get this mail?"""

    email: Address
    stream: Stream
    topic: TopicKey | None = None


class LiftQuery(Query):
    """Why an entry is lifted, where a client sends no body with DELETE."""

    note: Note | None = None
