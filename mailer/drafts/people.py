"""What is asked about one person."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from mailer.drafts.checking import wrong
from mailer.drafts.fields import TEXT, Address, Body, Locale, Note, TopicKey

_Source = Annotated[str, StringConstraints(min_length=1, max_length=200), TEXT]


class PersonChange(Body):
    """What a person chose on the product's own page; whatever begins needs `source` and `wording` as its proof."""

    email: Address | None = Field(
        default=None, description="Their present address, where it changed; the one in the path is the former."
    )
    topics: dict[TopicKey, bool] = Field(
        default_factory=dict, max_length=200, description="true: come back to a topic; false: leave it."
    )
    promotional: Literal[False] | None = Field(
        default=None, description="false leaves all promotional mail, topics of the future included."
    )
    snoozed: bool | None = Field(
        default=None, description="true pauses promotional mail for 30 days; false ends a pause."
    )
    tracking: bool | None = Field(default=None, description="Whether opens may be tied to the person.")
    locale: Locale | None = Field(default=None, description="The language of their mail; null: as the sender decides.")
    undo: Literal[True] | None = Field(
        default=None, description="Takes the last act of this API back, within 30 minutes."
    )
    reason: Annotated[str, StringConstraints(max_length=500), TEXT] | None = Field(
        default=None, description="Why they left, in their own words; never required."
    )
    source: _Source | None = Field(default=None, description="The page where they said yes.")
    wording: Annotated[str, StringConstraints(min_length=1, max_length=40), TEXT] | None = Field(
        default=None, description="Which version of its words they read."
    )
    ip: Annotated[str, StringConstraints(max_length=45), TEXT] | None = Field(
        default=None, description="Where they said it, where you may keep that."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.undo and self.model_fields_set - {"undo"}:
            raise wrong("goes alone: it takes back, and changes nothing else", "undo")
        if "email" in self.model_fields_set and self.email is None:
            raise wrong("must not be null: leave it out to keep the address, or erase the person", "email")
        if self.promotional is False and any(self.topics.values()):
            raise wrong("cannot bring topics back while promotional is false", "topics")
        return self


class Correction(Body):
    """What is put right about a person; what is not given stays."""

    email: Address | None = None
    locale: Locale | None = None

    @model_validator(mode="after")
    def _given(self) -> Self:
        if not self.model_fields_set:
            raise wrong("say what is right: --email, --locale or --no-locale")
        return self


class EraseDraft(Body):
    """Why a person is erased: who asked for it, and when; addresses in it are left out."""

    note: Note | None = None


class Noted(Body):
    """Why something is done to a mail or for a person."""

    note: Note
