"""How a database answers: the statements that a piece of work asked it, and its plan for each."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import event
from sqlmodel import Session

from mailer.database import on_postgresql

#: The values of a long list, of which a reader of plans needs none.
_LIST = re.compile(r"'\{[^}]*\}'")


class Asked(NamedTuple):
    """One statement, as the driver was given it."""

    sql: str
    values: Any


def statements(session: Session, work: Callable[[], object]) -> list[Asked]:
    """Run a piece of work and return every statement that it asked."""
    found: list[Asked] = []

    def note(_connection: object, _cursor: object, sql: str, values: object, _context: object, _many: object) -> None:
        found.append(Asked(sql, values))

    engine = session.connection().engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return found


def plan(session: Session, asked: Asked) -> str:
    """Return how a statement is answered, line by line; PostgreSQL answers it for that, and says what it cost."""
    word = "EXPLAIN (ANALYZE, BUFFERS)" if on_postgresql(session) else "EXPLAIN QUERY PLAN"
    rows = session.connection().exec_driver_sql(f"{word} {asked.sql}", asked.values)
    return "\n".join(_LIST.sub("'{…}'", str(row[-1])) for row in rows)
