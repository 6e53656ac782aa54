"""What callers may ask: every request body, checked field by field; the same types print the OpenAPI document."""

import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal, Self, TypeAlias, TypeVar, cast

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from mailer import storable
from mailer.compose import headers as header_rules
from mailer.compose.errors import ContentError
from mailer.compose.mime import Attachment as File
from mailer.errors import Invalid, Problem
from mailer.models import LeaveRule, Opens
from suppression import address as addresses
from suppression import rules
from suppression.rules import Reason, Stream

B = TypeVar("B", bound=BaseModel)

#: How many people one transactional request may reach (to, cc and bcc together).
MOST_RECIPIENTS = 50
#: How many emails one batch may hold.
MOST_EMAILS = 1000
#: How much the files of one email may weigh, decoded.
MOST_ATTACHED = 25 * 1024 * 1024
_MOST_VARIABLES = 1024 * 1024
_MOST_METADATA = 16 * 1024
_MOST_TEXT = 5_000_000
_SHOWN = 100

# RFC 3339 section 5.6, with the offset that a time without a zone would leave to guessing.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SENTENCES = {
    "missing": "is required",
    "extra_forbidden": "is not a field that is known here",
    "string_type": "must be text",
    "bytes_type": "must be base64 text",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "list_type": "must be a list",
}


def wrong(message: str, path: str = "") -> PydanticCustomError:
    """Return the error that says one sentence about a value, or about the field of it that `path` names."""
    return PydanticCustomError("wrong", cast("Literal['']", "{message}"), {"message": message, "path": path})


def parse(kind: type[B], data: object) -> B:
    """Return the checked draft of plain data, or raise `Invalid` with every problem."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise Invalid(*problems_of(error, data)) from None


def problems_of(error: ValidationError, data: object) -> list[Problem]:
    """Return what pydantic found, each with the path that the caller wrote."""
    found = error.errors(include_url=False, include_input=False)
    return list(dict.fromkeys(Problem(_path(each, data), _sentence(each)) for each in found[:_SHOWN]))


def _sentence(error: ErrorDetails) -> str:
    told = error["msg"].removeprefix("Input ")
    if error["type"] == "too_short" and error["loc"][-1:] == ("to",):
        return "name at least one recipient"
    return _SENTENCES.get(error["type"]) or (told if error["type"] == "wrong" else told[0].lower() + told[1:])


def _path(error: ErrorDetails, data: object) -> str:
    """Walk the caller's own data, so that no step shows that only our types know."""
    path, steps = "", [*error["loc"], *filter(None, [error.get("ctx", {}).get("path")])]
    for number, step in enumerate(steps):
        if isinstance(data, Mapping) and (step in data or number == len(steps) - 1) and isinstance(step, str):
            path, data = f"{path}.{step}" if path else step, data.get(step)
        elif isinstance(data, list | tuple) and isinstance(step, int) and step < len(data):
            path, data = f"{path}[{step}]", data[step]
    return path[:200]


def _moment(value: object) -> datetime:
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise wrong("is no time that exists") from None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise wrong("must be an RFC 3339 time with its offset, such as 2027-03-01T09:30:00Z")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise wrong("is no time that exists") from None


def _address(value: str) -> str:
    try:
        addresses.parse(value)
    except addresses.AddressError as error:
        raise wrong(str(error)) from None
    return value


def _line(value: str) -> str:
    if why := header_rules.forbidden(value):
        raise wrong(why)
    return value


def _plain(value: str) -> str:
    if _CONTROL.search(value):
        raise wrong("holds a line end or another control character")
    return value


def _text(value: str) -> str:
    if why := storable.forbidden(value):
        raise wrong(why)
    return value


def _mailboxes(value: object) -> object:
    """Return a list of mailboxes however few of them were written."""
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, str | Mapping | Mailbox):
        return [value]
    raise wrong("must be an address, an object with email and name, or a list of these")


def _mailbox(value: object) -> object:
    if isinstance(value, Mapping | Mailbox):
        return value
    if isinstance(value, str):
        return {"email": value}
    raise wrong("must be an address, or an object with email and name")


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


def _headers(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if why := header_rules.forbidden_name(name) or header_rules.forbidden(text):
            raise wrong(f"the header {why}", name)
        if name.lower() == "reply-to":
            raise wrong("give the addresses that replies go to as `reply_to`, not as a header", name)
    if len({name.lower() for name in value}) < len(value):
        raise wrong("names one header twice")
    return value


def _sized(most: int) -> AfterValidator:
    def check(value: dict[str, object]) -> dict[str, object]:
        try:
            data = orjson.dumps(value)
        except TypeError:
            raise wrong("is too deeply nested, or not JSON") from None
        if len(data) > most:
            raise wrong(f"is larger than {most // 1024} KB")
        if storable.ESCAPED in data and (path := storable.unstorable(value)) is not None:
            raise wrong(storable.SENTENCE, path)
        return value

    return AfterValidator(check)


def _topic_key(value: str) -> str:
    if not rules.valid_topic_key(value):
        raise wrong("must be 1 to 40 lower-case letters, digits and hyphens")
    return value


def _scope(value: str) -> str:
    try:
        return rules.parse_scope(value)
    except rules.ScopeError as error:
        raise wrong(str(error)) from None


def _stripped(value: str) -> str:
    if not value.strip():
        raise wrong("is empty")
    return value.strip()


Address = Annotated[str, AfterValidator(_address)]


class _Draft(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Mailbox(_Draft):
    """An address and the name that stands beside it."""

    email: Address
    name: Annotated[str, StringConstraints(max_length=200), AfterValidator(_line)] = ""


Moment = Annotated[datetime, BeforeValidator(_moment, json_schema_input_type=datetime)]
OneMailbox = Annotated[Mailbox, BeforeValidator(_mailbox, json_schema_input_type=str | Mailbox)]
Mailboxes = Annotated[
    list[OneMailbox],
    BeforeValidator(_mailboxes, json_schema_input_type=str | Mailbox | list[str | Mailbox]),
    Field(max_length=MOST_RECIPIENTS),
]
ReplyTo = Annotated[Mailboxes, Field(max_length=10)]
Headers = Annotated[
    dict[str, Annotated[str, StringConstraints(max_length=998)]], Field(max_length=30), AfterValidator(_headers)
]
TopicKey = Annotated[str, AfterValidator(_topic_key)]
TemplateName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,79}$")]
Locale = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$", max_length=10)]
Variables = Annotated[dict[str, object], _sized(_MOST_VARIABLES)]
Subject = Annotated[str, StringConstraints(max_length=998), AfterValidator(_line), AfterValidator(_stripped)]
BodyText = Annotated[str, StringConstraints(max_length=_MOST_TEXT), AfterValidator(_text)]
TagName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,40}$")]
TagValue = Annotated[str, StringConstraints(max_length=100), AfterValidator(_plain)]
Tags = Annotated[dict[TagName, TagValue], Field(max_length=10)]
Note = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_text), AfterValidator(_stripped)]
Names: TypeAlias = dict[Locale, Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_plain)]]


class Composition(_Draft):
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


class Attachment(_Draft):
    """A file that goes with an email; with a content_id the HTML shows it by `cid:`."""

    filename: Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_line)]
    content: Annotated[
        bytes,
        Field(strict=True),
        BeforeValidator(_decoded),
        WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
    ]
    content_type: Annotated[str, _of_file("content_type")] | None = None
    content_id: Annotated[str, _of_file("content_id")] | None = None


class Tracking(_Draft):
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
    metadata: Annotated[dict[str, object], _sized(_MOST_METADATA)] = Field(default_factory=dict)
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


class Batch(_Draft):
    """Many emails at once; each is accepted or refused for itself."""

    emails: Annotated[list[Draft], Field(min_length=1, max_length=MOST_EMAILS)]


class Reschedule(_Draft):
    """When an email is to go instead."""

    scheduled_at: Moment


class PartsDraft(_Draft):
    """One locale's sources; without a text the text is made from the HTML."""

    subject: Annotated[str, StringConstraints(min_length=1, max_length=2000), AfterValidator(_text)]
    html: BodyText | None = None
    text: BodyText | None = None

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.html is None and self.text is None:
            raise wrong("is required, or text", "html")
        return self


class TemplateDraft(_Draft):
    """A new version of a template of the tenant's own."""

    name: TemplateName
    stream: Stream
    topic: TopicKey | None = None
    urgency: Literal["urgent", "single", "bulk"] = "single"
    written_by: Literal["machine", "person"] = "machine"
    description: Annotated[str, StringConstraints(max_length=1000), AfterValidator(_text)] = ""
    variables: Variables = Field(default_factory=dict)
    parts: Annotated[dict[Locale, PartsDraft], Field(min_length=1, max_length=50)]
    default_locale: Locale = "en"


class TopicDraft(_Draft):
    """A new topic that people can leave, or may not."""

    key: TopicKey
    stream: Stream
    opt_out: LeaveRule = LeaveRule.ALLOWED
    names: Names = Field(default_factory=dict)
    descriptions: Names = Field(default_factory=dict)

    @model_validator(mode="after")
    def _leavable(self) -> Self:
        if self.stream is Stream.PROMOTIONAL and self.opt_out is LeaveRule.NEVER:
            raise wrong("a promotional topic can always be left", "opt_out")
        return self


class SuppressionDraft(_Draft):
    """An entry that forbids mail to an address."""

    email: Address
    reason: Reason = Reason.MANUAL
    scope: Annotated[str, AfterValidator(_scope)] = rules.ALL
    expires_at: Moment | None = None
    note: Note | None = None


class LiftDraft(_Draft):
    """Why an entry is lifted."""

    note: Note
