"""Entries of the suppression list, and what they forbid."""

from datetime import datetime

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
    """One rule of the policy: whether an entry meets it, and whether that forbids this mail."""

    rule: Reason
    matched: bool
    blocks: bool


class CheckView(Shape):
    """Whether an address may get this mail, and why."""

    allowed: bool
    entry: SuppressionView | None
    trace: list[RuleView]
