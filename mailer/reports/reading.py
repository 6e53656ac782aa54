"""Sums of the counters, and of the facts that wait to be added to them."""

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, func, select
from sqlmodel import Session

from mailer.counters import FACTS
from mailer.reports.figures import Counted
from mailer.reports.spans import Span
from suppression.rules import Stream


def chosen(tenant_id: int, span: Span, streams: Sequence[Stream], dimension: str) -> list[ColumnElement[bool]]:
    """Return the condition of a tenant's sums of a dimension: the beginning of their key, day by day."""
    return [
        FACTS.c.tenant_id == tenant_id,
        FACTS.c.day.in_(span.days),
        FACTS.c.stream.in_([stream.value for stream in streams]),
        FACTS.c.dimension == dimension,
    ]


def sums_by(session: Session, group: ColumnElement[str], where: Iterable[ColumnElement[bool]]) -> dict[str, Counted]:
    """Return, for each value of a column, what was counted, metric by metric."""
    statement = select(group, FACTS.c.metric, func.sum(FACTS.c.amount)).where(*where)
    found: dict[str, Counted] = {}
    for name, metric, amount in session.execute(statement.group_by(group, FACTS.c.metric)):
        found.setdefault(name, Counted())[metric] = int(amount)
    return found
