"""Sums kept as events arrive, so that no report counts a big table."""

from collections import Counter as Sums
from collections.abc import Iterable, Mapping
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from sqlalchemy import Insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, SQLModel

from mailer import database
from mailer.models import Counter

#: The dimension that every email belongs to.
ALL = ("all", "")


class Key(NamedTuple):
    """What one sum is about."""

    tenant_id: int
    day: date
    stream: str
    dimension: str
    value: str
    metric: str


def dimensions(*, tags: Mapping[str, str] | None, topic: str | None, template: str | None) -> list[tuple[str, str]]:
    """Return every dimension that an email counts in."""
    found = [ALL]
    if topic:
        found.append(("topic", topic))
    if template:
        found.append(("template", template))
    found += [("tag", f"{name}={value}"[:160]) for name, value in (tags or {}).items()]
    return found


class Tally:
    """Counts in memory what one transaction will add to the sums."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.sums: Sums[Key] = Sums()

    def add(self, tenant_id: int, day: date, stream: str, metric: str, dims: Iterable[tuple[str, str]]) -> None:
        """Count one fact in each of its dimensions."""
        for dimension, value in dims:
            self.sums[Key(tenant_id, day, stream, dimension, value, metric)] += 1

    def write(self, session: Session, slot: int = 0) -> None:
        """Add everything to the database; slots keep concurrent commits from waiting for each other."""
        if not self.sums:
            return
        # One order for all writers: two transactions that lock the same rows in different orders would deadlock.
        rows = [{**key._asdict(), "slot": slot, "amount": amount} for key, amount in sorted(self.sums.items())]
        session.connection().execute(_adding(database.on_postgresql(session)), rows)
        self.sums.clear()


@lru_cache(maxsize=2)
def _adding(on_postgresql: bool) -> Insert:
    """Return the statement that adds to sums; built once, because building it costs more than running it."""
    table = SQLModel.metadata.tables[str(Counter.__tablename__)]
    statement = postgresql.insert(table) if on_postgresql else sqlite.insert(table)
    return statement.on_conflict_do_update(
        index_elements=[*Key._fields, "slot"],
        set_={"amount": table.c.amount + statement.excluded.amount},
    )
