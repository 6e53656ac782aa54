"""Emails: one, several at once, or one to look at."""

import binascii
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema, model_validator

from mailer.compose.errors import ContentError
from mailer.compose.mime import Attachment as File
from mailer.drafts.checking import wrong
from mailer.drafts.fields import (
    LINE,
    MOST_RECIPIENTS,
    Body,
    BodyText,
    Headers,
    Locale,
    Mailboxes,
    Metadata,
    Moment,
    OneMailbox,
    ReplyTo,
    Subject,
    Tags,
    TemplateName,
    TopicKey,
    Variables,
)
from mailer.models import Opens
from suppression.rules import Stream

#: How many emails one batch may hold.
MOST_EMAILS = 1000
#: How much the files of one email may weigh, decoded.
MOST_ATTACHED = 25 * 1024 * 1024


def _decoded(value: object) -> object:
    """Return bytes of base64; product code in Python may hand over the bytes themselves."""
    if not isinstance(value, str):
        return value
    try:
        return binascii.a2b_base64(value.translate({10: None, 13: None}).encode("ascii"), strict_mode=True)
    except ValueError:
        raise wrong("is not base64") from None


def _of_file(field: str) -> AfterValidator:
    """Return the check that a part of a mail makes of this field."""

    def check(value: str) -> str:
        try:
            File("file", b"", **{field: value})
        except ContentError as error:
            raise wrong(str(error)) from None
        return value

    return AfterValidator(check)


class Composition(Body):
    """What a mail says: a template with its variables, or a literal body."""

    template: TemplateName | None = None
    variables: Variables = Field(default_factory=dict)
    locale: Locale | None = None
    subject: Subject | None = None
    html: BodyText | None = None
    text: BodyText | None = None

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        literal = [name for name in ("subject", "html", "text") if getattr(self, name) is not None]
        if self.template is not None:
            if literal:
                raise wrong("comes from the template: send either a template or a literal body", literal[0])
            return self
        if not literal:
            raise wrong("is required, or a literal body: subject with html, text or both", "template")
        if self.subject is None:
            raise wrong("is required with a literal body", "subject")
        if not (self.html or self.text):
            raise wrong("is required with a literal body, or html", "text")
        if self.variables:
            raise wrong("go with a template; a literal body is sent as it is written", "variables")
        return self


class Attachment(Body):
    """A file that goes with an email; with a content_id the HTML shows it by `cid:`."""

    filename: Annotated[str, StringConstraints(min_length=1, max_length=255), LINE]
    content: Annotated[
        bytes,
        Field(strict=True),
        BeforeValidator(_decoded),
        WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
    ]
    content_type: Annotated[str, _of_file("content_type")] | None = None
    content_id: Annotated[str, _of_file("content_id")] | None = None


class Tracking(Body):
    """How this email is measured at most; it lowers what the policy allows and never raises it."""

    opens: Opens | None = None
    clicks: Opens | None = None


class RenderDraft(Composition):
    """A mail to look at, as it would be sent, though nobody need be named; nothing is sent."""

    stream: Stream | None = None
    to: Mailboxes = Field(default_factory=list)
    cc: Mailboxes = Field(default_factory=list)
    bcc: Mailboxes = Field(default_factory=list)
    from_: OneMailbox | None = Field(default=None, alias="from")
    reply_to: ReplyTo = Field(default_factory=list)
    topic: TopicKey | None = None
    headers: Headers = Field(default_factory=dict)
    attachments: Annotated[list[Attachment], Field(max_length=50)] = Field(default_factory=list)
    tags: Tags = Field(default_factory=dict)
    metadata: Metadata = Field(default_factory=dict)
    scheduled_at: Moment | None = None
    expires_at: Moment | None = None
    tracking: Tracking | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        number = len(self.to) + len(self.cc) + len(self.bcc)
        if self.stream is Stream.PROMOTIONAL and number > 1:
            field = "to" if len(self.to) > 1 else "cc" if self.cc else "bcc"
            raise wrong("a promotional email has exactly one recipient: send a batch of emails instead", field)
        if number > MOST_RECIPIENTS:
            raise wrong(f"to, cc and bcc together name more than {MOST_RECIPIENTS} recipients", "to")
        if sum(len(file.content) for file in self.attachments) > MOST_ATTACHED:
            raise wrong("the files together are larger than 25 MB", "attachments")
        if self.scheduled_at and self.expires_at and self.expires_at <= self.scheduled_at:
            raise wrong("must be after scheduled_at", "expires_at")
        return self


class Draft(RenderDraft):
    """One mail to send."""

    stream: Stream
    to: Annotated[Mailboxes, Field(min_length=1)]


class Batch(Body):
    """Many emails at once; each is accepted or refused for itself."""

    emails: Annotated[list[Draft], Field(min_length=1, max_length=MOST_EMAILS)]


class Reschedule(Body):
    """When an email is to go instead."""

    scheduled_at: Moment
