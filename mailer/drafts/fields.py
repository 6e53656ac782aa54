"""The fields that bodies have in common, each with its own check."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, TypeAlias

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from mailer import storable
from mailer.compose import headers as header_rules
from mailer.drafts.checking import wrong
from suppression import address as addresses
from suppression import rules

#: How many people one transactional request may reach (to, cc and bcc together).
MOST_RECIPIENTS = 50
_MOST_VARIABLES = 1024 * 1024
_MOST_METADATA = 16 * 1024
_MOST_TEXT = 5_000_000

# RFC 3339 section 5.6, with the offset that a time without a zone would leave to guessing.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
#: As the OpenAPI document shows them.
_TEMPLATE, _LOCALE, _TAG = (
    r"^[a-z0-9][a-z0-9-]{0,79}$",
    r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$",
    r"^[A-Za-z0-9_.-]{1,40}$",
)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


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


def _shaped(pattern: str, sentence: str) -> Callable[[str], str]:
    """Return a check that says what is wanted, where pydantic's own would show a pattern."""

    def check(value: str) -> str:
        # Python's `$` would let a line end through.
        if re.fullmatch(pattern, value) is None:
            raise wrong(sentence)
        return value

    return check


def _stripped(value: str) -> str:
    if not value.strip():
        raise wrong("is empty")
    return value.strip()


#: One line, as a header may hold it.
LINE = AfterValidator(_line)
#: Text that every database can store.
TEXT = AfterValidator(_text)
Address = Annotated[str, AfterValidator(_address)]


class Body(BaseModel):
    """A body of a request: a field that it does not know is refused."""

    model_config = ConfigDict(extra="forbid")


class Mailbox(Body):
    """An address and the name that stands beside it."""

    email: Address
    name: Annotated[str, StringConstraints(max_length=200), LINE] = ""


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
TemplateName = Annotated[
    str,
    AfterValidator(_shaped(_TEMPLATE, "must be 1 to 80 lower-case letters, digits and hyphens")),
    Field(json_schema_extra={"pattern": _TEMPLATE}),
]
Locale = Annotated[
    str,
    StringConstraints(max_length=10),
    AfterValidator(_shaped(_LOCALE, "must be a language such as uk or pt-BR")),
    Field(json_schema_extra={"pattern": _LOCALE}),
]
Metadata = Annotated[dict[str, object], _sized(_MOST_METADATA)]
Variables = Annotated[dict[str, object], _sized(_MOST_VARIABLES)]
Subject = Annotated[str, StringConstraints(max_length=998), LINE, AfterValidator(_stripped)]
BodyText = Annotated[str, StringConstraints(max_length=_MOST_TEXT), TEXT]
TagName = Annotated[
    str,
    AfterValidator(_shaped(_TAG, "must be 1 to 40 letters, digits, dots, hyphens and underscores")),
    Field(json_schema_extra={"pattern": _TAG}),
]
TagValue = Annotated[str, StringConstraints(max_length=100), AfterValidator(_plain)]
Tags = Annotated[dict[TagName, TagValue], Field(max_length=10)]
Note = Annotated[str, StringConstraints(max_length=1000), TEXT, AfterValidator(_stripped)]
Names: TypeAlias = dict[Locale, Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_plain)]]
