"""What may stand in the query of a GET."""

import re
from datetime import date
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from mailer import ids
from mailer.drafts import Address, Note, TopicKey, wrong
from mailer.models import CampaignStatus
from mailer.status import Status
from suppression.rules import Reason, Stream

_TAG = re.compile("[A-Za-z0-9_.-]{1,40}=")


def _tag(value: str) -> str:
    if not _TAG.match(value):
        raise wrong("write it as tag=name=value")
    return value


def _cursor(value: str) -> str:
    try:
        ids.to_bytes(value)
    except ValueError:
        raise wrong("must be the id of the last one of the page before") from None
    return value


def _email_cursor(value: str) -> str:
    if not value.startswith("em_"):
        raise wrong("must be the id of an email: the last one of the page before")
    return value


Cursor = Annotated[str, Field(max_length=40), AfterValidator(_cursor)]
Tag = Annotated[
    str,
    Field(max_length=160, description="name=value", json_schema_extra={"pattern": f"^{_TAG.pattern}"}),
    AfterValidator(_tag),
]


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Nothing(_Query):
    """No field at all: in the query, or in a body, of what asks for none."""


class Paged(_Query):
    """A page: how many at most, and the id of the last one of the page before."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    after: Cursor | None = None


class EmailQuery(Paged):
    """Which emails are asked for."""

    after: Annotated[Cursor, AfterValidator(_email_cursor)] | None = None
    to: Address | None = None
    stream: Stream | None = None
    status: Status | None = None
    campaign_id: Annotated[str, Field(max_length=40)] | None = None
    topic: TopicKey | None = None
    tag: Tag | None = None


class CampaignQuery(Paged):
    """Which campaigns are asked for."""

    status: CampaignStatus | None = None


class RecipientQuery(Paged):
    """Which recipients of a campaign are asked for."""

    after: Annotated[Cursor, AfterValidator(_email_cursor)] | None = None
    status: Status | None = None


class SuppressionQuery(Paged):
    """Which suppressions are asked for."""

    email: Address | None = None
    reason: Reason | None = None
    live: bool | None = None


class CheckQuery(_Query):
    """May this address get this mail?"""

    email: Address
    stream: Stream
    topic: TopicKey | None = None


class LiftQuery(_Query):
    """Why an entry is lifted, where a client sends no body with DELETE."""

    note: Note | None = None


class MetricsQuery(_Query):
    """Which days are counted, by when the emails were accepted (UTC)."""

    days: Annotated[int, Field(ge=1, le=3660)] = 30
    from_: Annotated[date | None, Field(alias="from")] = None
    to: date | None = None
    stream: Stream | None = None
    tag: Tag | None = None
