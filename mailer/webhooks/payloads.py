"""What a message says, as types: they print the `webhooks` section of the OpenAPI document, and name every kind.

Data may grow: a consumer ignores fields that it does not know.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, create_model

from suppression.rules import Stream


class Data(BaseModel):
    """What happened."""

    model_config = ConfigDict(extra="allow")


class EmailData(Data):
    """An email, as it was asked for."""

    email_id: str
    to: str | None = Field(description="The recipient's address; null after erasure.")
    stream: Stream
    topic: str | None
    template: str | None
    campaign_id: str | None
    tags: dict[str, str]
    metadata: dict[str, object] = Field(description="What the request gave; empty after erasure.")


class ReplyData(EmailData):
    """An email that a server refused, or put off."""

    reply: str | None = Field(default=None, description="The server's words, without addresses.")
    category: str = ""
    hard: bool = False


class SuppressedData(EmailData):
    """An email that an entry of the suppression list, or a missing yes, kept back."""

    reason: str | None = None
    suppression_id: str | None = None


class OpenedData(EmailData):
    """A picture of an email was loaded; `class` says by whom, as far as one can tell."""

    kind: str = Field(alias="class", description="human, proxy, machine or unknown")
    rule: str


class ClickedData(EmailData):
    """A link of an email was followed; `class` says by whom, as far as one can tell."""

    kind: str = Field(alias="class", description="human, proxy, machine or unknown")
    rule: str
    link: int = Field(description="The how-manieth link of the template.")
    url: str = Field(description="The link as the template wrote it, which holds nothing of the person.")


class AboutPersonData(Data):
    """An act of a person; with what is known of the mail that led to it, where there is one."""

    email_id: str | None = None
    to: str | None = Field(default=None, description="The recipient's address; null after erasure.")
    suppression_id: str | None = None
    scope: str | None = None
    how: str | None = None
    campaign_id: str | None = None


class SuppressionData(Data):
    """An entry of the suppression list; its address is asked for by `suppression_id`."""

    suppression_id: str
    reason: str
    scope: str


class ConsentData(Data):
    """A person's yes or no to a purpose."""

    purpose: str | None = None
    granted: bool | None = None


class CampaignData(Data):
    """A campaign."""

    campaign_id: str
    note: str | None = None


class WebhookData(Data):
    """An endpoint: a test of it, or that it was disabled and why."""

    webhook_id: str
    why: str | None = None


_DATA: Mapping[str, type[Data]] = {
    "email.queued": EmailData,
    "email.sent": EmailData,
    "email.deferred": ReplyData,
    "email.delivered": EmailData,
    "email.bounced": ReplyData,
    "email.failed": ReplyData,
    "email.suppressed": SuppressedData,
    "email.cancelled": EmailData,
    "email.expired": EmailData,
    "email.uncertain": EmailData,
    "email.opened": OpenedData,
    "email.clicked": ClickedData,
    "email.complained": AboutPersonData,
    "email.unsubscribed": AboutPersonData,
    "email.resubscribed": AboutPersonData,
    "suppression.created": SuppressionData,
    "suppression.lifted": SuppressionData,
    "consent.changed": ConsentData,
    "campaign.started": CampaignData,
    "campaign.paused": CampaignData,
    "campaign.completed": CampaignData,
    "campaign.cancelled": CampaignData,
    "campaign.expired": CampaignData,
    "webhook.disabled": WebhookData,
}
TEST = "webhook.test"
DISABLED = "webhook.disabled"
#: What an endpoint may ask for; a test comes whatever it asked for.
KINDS: tuple[str, ...] = tuple(_DATA)


class Message(BaseModel):
    """The body of every message."""

    type: str
    timestamp: datetime = Field(description="When it happened, not when it is told.")


def _message(kind: str, data: type[Data]) -> type[BaseModel]:
    name = "".join(part.capitalize() for part in kind.split(".")) + "Message"
    # Known only when it runs, so that no type checker can follow.
    fields: dict[str, Any] = {"type": (cast("Any", Literal)[kind], ...), "data": (data, ...)}
    return create_model(name, __base__=Message, __doc__=data.__doc__, **fields)


_ALL: Mapping[str, type[Data]] = {**_DATA, TEST: WebhookData}
#: Kind -> the type of its message.
MESSAGES: Mapping[str, type[BaseModel]] = {kind: _message(kind, data) for kind, data in _ALL.items()}
