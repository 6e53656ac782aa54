"""Sums of the counters, and of the facts that wait to be added to them."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Subquery, func, select, union_all
from sqlmodel import Session, SQLModel

from mailer.models import Counter, MonthCounter, Tally
from mailer.reports.figures import Counted
from mailer.reports.spans import Span
from suppression.rules import Stream

_DAYS, _MONTHS, _WAITING = (
    SQLModel.metadata.tables[str(model.__tablename__)] for model in (Counter, MonthCounter, Tally)
)


def within(tenant_id: int, span: Span, streams: Sequence[Stream], dimension: str) -> Subquery:
    """Return a tenant's sums of a dimension in these days: columns `stream`, `value`, `metric`, `amount`, to be summed.

    Months are read whole where that reads less, and those of their days that are not meant are taken away. Asked in one
    statement with what waits, so that nothing is seen twice or not at all.
    """
    months, more, less = span.parts
    parts = [
        (_WAITING, _WAITING.c.day.between(span.first, span.last), 1),
        *([(_MONTHS, _MONTHS.c.month.in_(months), 1)] if months else []),
        *([(_DAYS, _DAYS.c.day.in_(more), 1)] if more else []),
        *([(_DAYS, _DAYS.c.day.in_(less), -1)] if less else []),
    ]
    names = [stream.value for stream in streams]
    return union_all(
        *(
            select(table.c.stream, table.c.value, table.c.metric, (table.c.amount * sign).label("amount")).where(
                table.c.tenant_id == tenant_id, when, table.c.stream.in_(names), table.c.dimension == dimension
            )
            for table, when, sign in parts
        )
    ).subquery("within")


def since_ever(dimension: str) -> Subquery:
    """Return all tenants' sums of a dimension since the beginning: columns `stream`, `metric`, `amount`."""
    return union_all(
        *(
            select(table.c.stream, table.c.metric, table.c.amount).where(table.c.dimension == dimension)
            for table in (_MONTHS, _WAITING)
        )
    ).subquery("since_ever")


def sums_by(session: Session, group: ColumnElement[str], *where: ColumnElement[bool]) -> dict[str, Counted]:
    """Return, for each value of a column of `within`, what was counted, metric by metric."""
    facts = group.table
    amount = func.sum(facts.c.amount)
    statement = select(group, facts.c.metric, amount).where(*where).group_by(group, facts.c.metric)
    found: dict[str, Counted] = {}
    # What was counted in other days of a month alone is nothing, and no row of its own.
    for name, metric, number in session.execute(statement.having(amount != 0)):
        found.setdefault(name, Counted())[metric] = int(number)
    return found
