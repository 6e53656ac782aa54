"""Many rows into one table at a third of what SQLAlchemy's own executemany costs, by its types and its SQL."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from sqlalchemy import Dialect, Table
from sqlmodel import Session

from mailer.database import on_postgresql

#: SQLite's driver lets another thread have Python once a statement, and executemany runs one a row: while requests are
#: read beside it, each of them would wait for its turn again. SQLite takes 32,766 values at once, a mail has 43.
_AT_ONCE = 128
_Processor = Callable[[Any], Any]


class _Prepared(NamedTuple):
    """An INSERT in the driver's words, and how each of its values is written."""

    sql: str
    processors: tuple[tuple[str, _Processor | None], ...]


def insert(session: Session, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert rows that all have the same names; what is None in every row is left to the table.

    A value that several rows share as the same object is converted once.
    """
    if not rows:
        return
    connection = session.connection()
    names = frozenset(name for name in rows[0] if any(row[name] is not None for row in rows))
    prepared = _prepared(connection.dialect, table, names)
    columns = [_column([row[name] for row in rows], processor) for name, processor in prepared.processors]
    values = list(zip(*columns, strict=True))
    if on_postgresql(session):
        connection.exec_driver_sql(prepared.sql, values)
        return
    while values:
        # Powers of two: the driver keeps each text that it has read.
        number = min(_AT_ONCE, 1 << len(values).bit_length() - 1)
        some, values = values[:number], values[number:]
        connection.exec_driver_sql(_of_many(prepared.sql, number), tuple(chain.from_iterable(some)))


def _column(values: list[object], processor: _Processor | None) -> list[object]:
    return values if processor is None else list(_processed(values, processor))


def _processed(values: list[object], processor: _Processor) -> Iterator[object]:
    last, written = None, processor(None)
    for value in values:
        if value is not last:
            last, written = value, processor(value)
        yield written


@lru_cache(maxsize=_AT_ONCE)
def _of_many(sql: str, number: int) -> str:
    """Return an INSERT of one row as one of so many."""
    head, word, row = sql.rpartition(" VALUES ")
    return f"{head}{word}{', '.join([row] * number)}"


@lru_cache(maxsize=128)
def _prepared(dialect: Dialect, table: Table, names: frozenset[str]) -> _Prepared:
    columns = [column for column in table.c if column.name in names]
    compiled = table.insert().compile(dialect=dialect, column_keys=[column.name for column in columns])
    processors = (column.type.dialect_impl(dialect).bind_processor(dialect) for column in columns)
    return _Prepared(str(compiled), tuple(zip((column.name for column in columns), processors, strict=True)))
