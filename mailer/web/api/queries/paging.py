"""What queries have in common: pages, tags, and that nothing unknown may stand in them."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from mailer import ids
from mailer.drafts import wrong

_TAG = re.compile("[A-Za-z0-9_.-]{1,40}=")


def _tag(value: str) -> str:
    if not _TAG.match(value):
        raise wrong("write it as tag=name=value")
    return value


def _cursor(value: str) -> str:
    try:
        ids.to_bytes(value)
    except ValueError:
        raise wrong("must be the id of the last one of the page before") from None
    return value


def _email_cursor(value: str) -> str:
    if not value.startswith("em_"):
        raise wrong("must be the id of an email: the last one of the page before")
    return value


Cursor = Annotated[str, Field(max_length=40), AfterValidator(_cursor)]
Tag = Annotated[
    str,
    Field(max_length=160, description="name=value", json_schema_extra={"pattern": f"^{_TAG.pattern}"}),
    AfterValidator(_tag),
]
EmailCursor = Annotated[Cursor, AfterValidator(_email_cursor)]


class Query(BaseModel):
    """A query: a field that it does not know is refused."""

    model_config = ConfigDict(extra="forbid")


class Nothing(Query):
    """No field at all: in the query, or in a body, of what asks for none."""


class Paged(Query):
    """A page: how many at most, and the id of the last one of the page before."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    after: Cursor | None = None
