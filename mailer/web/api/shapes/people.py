"""A person, as the product's own profile page shows them."""

from datetime import date, datetime

from pydantic import ConfigDict, Field

from mailer.web.api.shapes.problems import Shape
from suppression.rules import Reason, Stream


class PersonTopicView(Shape):
    """One topic, as the person stands to it."""

    key: str
    stream: Stream
    names: dict[str, str]
    descriptions: dict[str, str]
    may_leave: bool
    shown: bool = Field(description="Whether the person's own page may show it: false for private topics of others.")
    gets: bool = Field(description="Whether it comes, as far as the person decides.")
    blocked_by: Reason | None = Field(description="What decides that its mail does not go.")


class ConsentView(Shape):
    """A recorded yes or no."""

    id: str
    purpose: str
    granted: bool
    source: str
    wording: str | None
    at: datetime
    expires_at: datetime | None
    email_id: str | None


class HappenedView(Shape):
    """One thing that happened; what it is about stands beside it as ids and words."""

    model_config = ConfigDict(extra="allow")

    type: str
    at: datetime


class PersonView(Shape):
    """What a person gets, what they permitted, and what happened."""

    email: str
    locale: str | None = Field(description="The language that they chose; null: as the sender decides.")
    tracking: bool | None = Field(description="Their yes or no to being measured; null where they never said.")
    last_open: date | None = Field(
        description="The day of their last open, where the tenant keeps that alone; null: none is kept."
    )
    all_promotional_left: bool
    complained: bool
    snoozed_until: datetime | None
    undoable: bool = Field(description="Whether the last act of this API can still be taken back.")
    topics: list[PersonTopicView]
    consents: list[ConsentView] = Field(description="The newest first.")
    timeline: list[HappenedView] = Field(description="The newest first; of mail, the newest fifty.")
