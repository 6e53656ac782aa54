"""Templates of a tenant's own."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from mailer.drafts.checking import wrong
from mailer.drafts.fields import TEXT, Body, BodyText, Locale, TemplateName, TopicKey, Variables
from suppression.rules import Stream


class PartsDraft(Body):
    """One locale's sources; without a text the text is made from the HTML."""

    subject: Annotated[str, StringConstraints(min_length=1, max_length=2000), TEXT]
    html: BodyText | None = None
    text: BodyText | None = None

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.html is None and self.text is None:
            raise wrong("is required, or text", "html")
        return self


class TemplateDraft(Body):
    """A new version of a template of the tenant's own."""

    name: TemplateName
    stream: Stream
    topic: TopicKey | None = None
    urgency: Literal["urgent", "single", "bulk"] = "single"
    written_by: Literal["machine", "person"] = "machine"
    description: Annotated[str, StringConstraints(max_length=1000), TEXT] = ""
    variables: Variables = Field(default_factory=dict)
    parts: Annotated[dict[Locale, PartsDraft], Field(min_length=1, max_length=50)]
    default_locale: Locale = "en"
