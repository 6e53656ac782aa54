"""What callers may say about the links of their mail."""

import re
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, StringConstraints

from mailer.drafts.checking import wrong
from mailer.drafts.fields import LINE

_HOST = re.compile(r"(?:[a-z0-9-]{1,63}\.)+[a-z0-9-]{2,63}")


def _host(value: str) -> str:
    host = value.strip().lower()
    if not _HOST.fullmatch(host):
        raise wrong("must be a host in ASCII such as shop.example.com, without https:// and path")
    return host


#: utm_source and its like, without the prefix.
UtmName: TypeAlias = Literal["source", "medium", "campaign", "term", "content"]
_UtmValue: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=100), LINE]
Utm: TypeAlias = Annotated[
    dict[UtmName, _UtmValue],
    Field(
        description="What tracked links say of themselves: `source` becomes utm_source; an empty object says nothing."
    ),
]
Hosts: TypeAlias = Annotated[list[Annotated[str, AfterValidator(_host)]], Field(max_length=100)]
