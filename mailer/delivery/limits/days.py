"""How many mails a day may bring, kept in the database: a warm-up must survive an empty Redis (spec section 14.6)."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, update
from sqlmodel import Session, SQLModel

from mailer.database import insert
from mailer.models import DayCount

_day_count = SQLModel.metadata.tables[str(DayCount.__tablename__)]

#: The part of a day's allowance, and the number of mails, that one worker reserves at most: a killed one loses them.
_PART = 100
_MOST = 500


class Wish(NamedTuple):
    """Whose allowance, and what it is."""

    name: str
    limit: int


def day_of(now: datetime) -> date:
    """Return the day that a moment's mail counts for."""
    return now.astimezone(UTC).date()


def seconds_left(now: datetime) -> float:
    """Return for how long the day lasts."""
    end = datetime.combine(day_of(now) + timedelta(days=1), time(), UTC)
    return (end - now).total_seconds()


def reserve(session: Session, wishes: Sequence[Wish], day: date) -> list[int]:
    """Take a part of each day's allowance, and return how many mails that is; 0 where nothing is left."""
    return [_reserve(session, wish, day) for wish in wishes]


def _reserve(session: Session, wish: Wish, day: date) -> int:
    wanted = max(1, min(_MOST, wish.limit // _PART))
    if _taken(session, wish, day, wanted):
        return wanted
    row = {"name": wish.name, "day": day, "taken": 0}
    session.connection().execute(insert(session, _day_count).values(row).on_conflict_do_nothing())
    # The end of a day's allowance may be smaller than a whole part.
    while wanted and not _taken(session, wish, day, wanted):
        wanted //= 2
    return wanted


def _taken(session: Session, wish: Wish, day: date, wanted: int) -> bool:
    fits = _day_count.c.taken + wanted <= wish.limit
    statement = update(_day_count).where(_counted(wish.name, day), fits)
    done = session.connection().execute(statement.values(taken=_day_count.c.taken + wanted))
    return bool(done.rowcount)


def give_back(session: Session, name: str, day: date, unused: int) -> None:
    """Return what was reserved and not sent."""
    statement = update(_day_count).where(_counted(name, day), _day_count.c.taken >= unused)
    session.connection().execute(statement.values(taken=_day_count.c.taken - unused))


def _counted(name: str, day: date) -> ColumnElement[bool]:
    return and_(_day_count.c.name == name, _day_count.c.day == day)
