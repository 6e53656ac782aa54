"""Topics: what people can leave."""

from typing import Self

from pydantic import Field, model_validator

from mailer.drafts.checking import wrong
from mailer.drafts.fields import Body, Names, TopicKey
from mailer.models import LeaveRule, TopicDefault, Visibility
from suppression.rules import Stream

#: Why a topic that asks for a yes cannot be one that nobody may leave.
YES_NEEDS_A_NO = (
    "must be allowed where the default is opt_out: who said yes must be able to take it back;"
    " give the topic the default opt_in, or let people leave it"
)


class TopicDraft(Body):
    """A new topic that people can leave, or may not."""

    key: TopicKey
    stream: Stream
    opt_out: LeaveRule = LeaveRule.ALLOWED
    default: TopicDefault = Field(
        default=TopicDefault.OPT_IN,
        description="opt_in: people get it until they leave; opt_out: only once they said yes.",
    )
    visibility: Visibility = Field(default=Visibility.PUBLIC, description="private: shown to nobody but who gets it.")
    names: Names = Field(default_factory=dict)
    descriptions: Names = Field(default_factory=dict)

    @model_validator(mode="after")
    def _leavable(self) -> Self:
        if self.stream is Stream.PROMOTIONAL and self.opt_out is LeaveRule.NEVER:
            raise wrong("a promotional topic can always be left", "opt_out")
        if self.default is TopicDefault.OPT_OUT and self.opt_out is LeaveRule.NEVER:
            raise wrong(YES_NEEDS_A_NO, "opt_out")
        return self


class TopicChange(Body):
    """What changes of a topic; its key and its stream stay, since mail and opt-outs name them."""

    opt_out: LeaveRule | None = None
    default: TopicDefault | None = None
    visibility: Visibility | None = None
    names: Names | None = Field(default=None, description="Takes the place of all names.")
    descriptions: Names | None = Field(default=None, description="Takes the place of all descriptions.")
    retired: bool | None = Field(default=None, description="true: no new mail, shown to nobody; false: as before.")

    @model_validator(mode="after")
    def _given(self) -> Self:
        for name in self.model_fields_set:
            if getattr(self, name) is None:
                raise wrong("must not be null: leave it out to keep what is there", name)
        return self
