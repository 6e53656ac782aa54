"""How a suppression list is to be read, and what of ours is carried out."""

from typing import Annotated

from pydantic import Field

from mailer.web.api.queries.paging import Query
from suppression.exchange import FormName, Syntax
from suppression.rules import Reason


class ImportQuery(Query):
    """How a list is to be read."""

    format: FormName = FormName.LIST
    dry_run: bool = False
    reason: Reason | None = Field(default=None, description="Why, for lines of a plain list that do not say.")
    scope: str | None = Field(default=None, max_length=50, description="How far opt-outs reach that do not say.")
    topics: str = Field(default="", max_length=4000, description="GROUP=KEY,…: who left the group leaves the topic.")
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = Field(
        default=None, description="SHA-256 of the list as hexadecimal: an import that is cut off can then be resumed."
    )
    resume: bool = Field(default=False, description="Go on where an import with this digest was cut off.")


class ExportQuery(Query):
    """What of the list is carried out."""

    format: Syntax = Syntax.CSV
    reason: Reason | None = None
    past: bool = Field(default=False, description="Also what was lifted or has expired.")
