"""Sums of the counters, and of the facts that wait to be added to them."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from sqlalchemy import BigInteger, ColumnElement, Select, Subquery, Text, case, cast, func, select, union_all
from sqlmodel import Session, SQLModel

from mailer.database import on_postgresql
from mailer.models import OF_ALL_MAIL, Counter, MonthCounter, Tally
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


def since_ever() -> Subquery:
    """Return the sums of all tenants' mail since the beginning: columns `stream`, `metric`, `amount`."""
    return union_all(
        *(select(table.c.stream, table.c.metric, table.c.amount).where(OF_ALL_MAIL) for table in (_MONTHS, _WAITING))
    ).subquery("since_ever")


def sums_by(session: Session, group: ColumnElement[str], *where: ColumnElement[bool]) -> dict[str, Counted]:
    """Return, for each value of a column of `within`, what was counted, metric by metric."""
    sums = _by_metric(group, where)
    return dict(objects(session, sums, "name", "amount"))


def largest(session: Session, facts: Subquery, measure: str, most: int) -> dict[str, Counted]:
    """Return what was counted of those values of `within` that have the most of a metric."""
    sums = _by_metric(facts.c.value)
    measured = func.sum(case((sums.c.metric == measure, sums.c.amount), else_=0))
    found = _objects(session, sums, "name", "amount").order_by(measured.desc(), sums.c.name).limit(most)
    return {name: Counted(orjson.loads(counted)) for name, counted in session.execute(found)}


def objects(session: Session, sums: Subquery, key: str, *amounts: str) -> Iterator[tuple[Any, ...]]:
    """Yield each value of a column and, for each of the amounts, what was counted, metric by metric."""
    for name, *found in session.execute(_objects(session, sums, key, *amounts)):
        yield name, *(Counted(orjson.loads(each)) for each in found)


def _by_metric(group: ColumnElement[str], where: Sequence[ColumnElement[bool]] = ()) -> Subquery:
    facts = group.table
    amount = func.sum(facts.c.amount)
    sums = select(group.label("name"), facts.c.metric, cast(amount, BigInteger).label("amount")).where(*where)
    # What was counted in other days of a month alone is nothing, and no row of its own.
    return sums.group_by(group, facts.c.metric).having(amount != 0).subquery("by_metric")


def _objects(session: Session, sums: Subquery, key: str, *amounts: str) -> Select[Any]:
    """Return a row a value, amounts as JSON: thousands of rows of one number take longer to fetch than to add up."""
    written = func.json_object_agg if on_postgresql(session) else func.json_group_object
    columns = (cast(written(sums.c.metric, sums.c[amount]), Text) for amount in amounts)
    return select(sums.c[key], *columns).group_by(sums.c[key])
