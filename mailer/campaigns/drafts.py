"""What callers may ask of campaigns, checked field by field; the same types print the OpenAPI document."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from mailer.drafts import (
    Body,
    BodyText,
    Composition,
    Headers,
    Locale,
    Mailboxes,
    Moment,
    Note,
    OneMailbox,
    ReplyTo,
    Subject,
    Tags,
    TemplateName,
    TopicKey,
    Tracking,
    Variables,
)
from mailer.drafts import wrong as _wrong
from mailer.drafts.linking import Utm

#: How many people one JSON body may add; a stream of lines has no such bound.
MOST_LISTED = 10_000
#: To how many people a test may go at once.
MOST_TESTED = 10


def _named(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise _wrong("must be one line of text")
    return value.strip()


Name = Annotated[str, StringConstraints(max_length=200), AfterValidator(_named)]


class CampaignDraft(Composition):
    """One mail for many people on one topic, who are added afterwards."""

    name: Name
    topic: TopicKey | None = Field(default=None, description="Its stream is the campaign's; else the template's own.")
    from_: OneMailbox | None = Field(default=None, alias="from")
    reply_to: ReplyTo = Field(default_factory=list)
    headers: Headers = Field(default_factory=dict)
    tags: Tags = Field(default_factory=dict)
    tracking: Tracking | None = None
    utm: Utm = Field(default_factory=dict)
    scheduled_at: Moment | None = Field(default=None, description="When it starts; without, somebody starts it.")
    expires_at: Moment | None = None


class CampaignChange(Body):
    """What of a campaign is to be otherwise; what is left out stays."""

    name: Name | None = None
    template: TemplateName | None = None
    variables: Variables | None = None
    locale: Locale | None = None
    subject: Subject | None = None
    html: BodyText | None = None
    text: BodyText | None = None
    topic: TopicKey | None = None
    from_: OneMailbox | None = Field(default=None, alias="from")
    reply_to: ReplyTo | None = None
    headers: Headers | None = None
    tags: Tags | None = None
    tracking: Tracking | None = None
    utm: Utm | None = None
    expires_at: Moment | None = None


class Recipients(Body):
    """People to add: each an address, or an object with email, name and variables."""

    recipients: Annotated[list[str | dict[str, object]], Field(min_length=1, max_length=MOST_LISTED)]


class Timing(Body):
    """When a campaign is to start; a time that is past means now."""

    scheduled_at: Moment


class Pausing(Body):
    """Why a campaign is paused."""

    note: Note | None = None


class Trial(Body):
    """Who gets one mail of a campaign to look at, and with which variables of their own."""

    to: Annotated[Mailboxes, Field(min_length=1, max_length=MOST_TESTED)]
    variables: Variables = Field(default_factory=dict)
