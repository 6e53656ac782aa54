"""What callers may ask of endpoints, checked field by field."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from mailer.drafts import LINE, Body, Moment, wrong
from mailer.webhooks import signing
from mailer.webhooks.payloads import KINDS


def _kind(value: str) -> str:
    if value not in KINDS:
        raise wrong(f"is no event: choose from {', '.join(KINDS)}")
    return value


def _secret(value: str) -> str:
    try:
        signing.parse(value)
    except ValueError as error:
        raise wrong(str(error)) from None
    return value


Url = Annotated[str, Field(min_length=1, max_length=2000, description="https, and reachable by everybody.")]
Kind = Annotated[str, Field(max_length=40, json_schema_extra={"enum": list(KINDS)}), AfterValidator(_kind)]
Kinds = Annotated[list[Kind], Field(min_length=1, max_length=len(KINDS))]
Secret = Annotated[str, Field(max_length=100, description="whsec_…; made if left out."), AfterValidator(_secret)]
Description = Annotated[str, StringConstraints(max_length=200), LINE]
MessageId = Annotated[str, Field(min_length=1, max_length=60, pattern="^[a-z0-9_]+$")]


class WebhookDraft(Body):
    """A new endpoint."""

    url: Url
    events: Kinds | None = Field(default=None, description="Null, or left out: all, and those that are yet to come.")
    description: Description = ""
    secret: Secret | None = None


class WebhookChange(Body):
    """What changes of an endpoint."""

    url: Url | None = None
    events: Kinds | None = Field(default=None, description="Null: all.")
    description: Description | None = None
    enabled: bool | None = None

    @model_validator(mode="after")
    def _given(self) -> Self:
        for name in self.model_fields_set - {"events"}:
            if getattr(self, name) is None:
                raise wrong("must not be null: leave it out to keep what is there", name)
        return self


class RotateDraft(Body):
    """A new secret."""

    secret: Secret | None = None


class ReplayDraft(Body):
    """What is sent again: one message by its id, or what happened in a window of time."""

    id: MessageId | None = None
    since: Moment | None = None
    until: Moment | None = Field(default=None, description="The present moment, if left out.")
    missed: bool = Field(default=False, description="Only what was given up or never told.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.id is None) is (self.since is None):
            raise wrong("give either id, or since", "id")
        if self.since is not None and self.until is not None and self.until <= self.since:
            raise wrong("must be after since", "until")
        return self
