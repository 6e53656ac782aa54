"""Entries of the suppression list, and what they forbid."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from mailer.web.api.shapes.problems import Shape
from suppression.rules import Origin, Reason


class SuppressionView(Shape):
    """An entry that forbids mail to an address."""

    id: str
    email: str | None = Field(description="Null after erasure.")
    reason: Reason
    scope: str
    origin: Origin
    created_at: datetime
    expires_at: datetime | None
    lifted_at: datetime | None
    lifted_by: str | None
    lift_note: str | None
    note: str | None
    evidence: dict[str, object] | None


class AddedView(SuppressionView):
    """The entry that now stands, and whether this request made it."""

    created: bool


class SuppressionPage(Shape):
    """Some suppressions, the newest first."""

    data: list[SuppressionView]
    has_more: bool


class RuleView(Shape):
    """One rule of the policy: whether an entry meets it, whether that forbids this mail, and who may end it."""

    rule: Reason | Literal["not_opted_in"]
    matched: bool
    blocks: bool
    since: datetime | None
    entry_id: str | None
    email_id: str | None = Field(description="The email from which the entry came.")
    ended_by: str


class CheckView(Shape):
    """Whether an address may get this mail, and why."""

    allowed: bool
    reason: Reason | Literal["not_opted_in"] | None
    entry: SuppressionView | None = Field(description="The one that decides.")
    trace: list[RuleView]
    history: list[SuppressionView] = Field(description="What was lifted or has expired, the newest first.")


class CheckedView(Shape):
    """What would become of a mail to one address."""

    email: str
    allowed: bool
    reason: Reason | Literal["not_opted_in", "no_address"] | None
    entry: SuppressionView | None
    message: str | None = Field(default=None, description="What is wrong with it, where it is no address.")


class ChecksView(Shape):
    """The answers for a list, in its order."""

    data: list[CheckedView]
