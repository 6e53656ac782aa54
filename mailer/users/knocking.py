"""Who tries too often waits, longer each time: by account and by network, whether the account exists or not."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from sqlalchemy import ColumnElement, case, delete, literal, select, update
from sqlmodel import Session, SQLModel, col

from mailer import database
from mailer.models import Knock

_knock = SQLModel.metadata.tables[str(Knock.__tablename__)]
#: How long the next try must wait, once the free ones are spent; the last repeats.
WAITS = tuple(timedelta(seconds=seconds) for seconds in (30, 60, 120, 300, 900))
#: Tries are forgotten after a day without any.
_KEPT = timedelta(days=1)
_FORGOTTEN = 1000


class Door(NamedTuple):
    """What is knocked at, and how many tries are free."""

    key: str
    free: int


def account(email: str) -> Door:
    """Return the door of an address, whether somebody has it or not; the address itself is not kept."""
    return Door(f"account:{_hashed(email.strip().lower())}", 5)


def second(user_id: str) -> Door:
    """Return the door of a user's second factor: of a million codes three are right at any moment."""
    return Door(f"code:{_hashed(user_id)}", 5)


def network(client: str) -> Door:
    """Return the door of a network: /24 of IPv4, /64 of IPv6; offices share one, so more tries are free."""
    try:
        found = ip_address(client)
    except ValueError:
        return Door("network:", 40)
    return Door(f"network:{ip_network(f'{found}/{24 if found.version == 4 else 64}', strict=False)}", 40)


def knock(session: Session, doors: Sequence[Door], now: datetime) -> timedelta:
    """Count a try at every door, before it is known whether it is right; return how long it must wait, zero for now.

    Counted first, a hundred tries at once are a hundred: only the free ones among them are heard.
    """
    for door in doors:
        tries = case((_knock.c.last_at < now - _KEPT, 1), else_=_knock.c.tries + 1)
        fresh = database.insert(session, _knock).values(key=door.key, tries=1, last_at=now, until=now)
        counted = fresh.on_conflict_do_update(
            index_elements=["key"],
            set_={"tries": tries, "last_at": now, "until": _until(tries, door.free, now)},
            where=_knock.c.until <= now,
        )
        if session.execute(counted.returning(_knock.c.key)).first() is None:
            until: datetime = session.execute(select(_knock.c.until).where(_knock.c.key == door.key)).scalar_one()
            return max(until - now, timedelta(seconds=1))
    return timedelta()


def let_in(session: Session, door: Door, others: Sequence[Door]) -> None:
    """Forget the tries at a door that opened, and take this one back at the others: it was no attack."""
    session.execute(delete(Knock).where(col(Knock.key) == door.key))
    for other in others:
        session.execute(
            update(_knock).where(_knock.c.key == other.key, _knock.c.tries > 0).values(tries=_knock.c.tries - 1)
        )


def forget(session: Session, now: datetime) -> None:
    """Forget tries that are long past, some at a time."""
    old = select(_knock.c.key).where(_knock.c.last_at < now - _KEPT).limit(_FORGOTTEN)
    session.execute(_knock.delete().where(_knock.c.key.in_(old.scalar_subquery())))


def _until(tries: ColumnElement[int], free: int, now: datetime) -> ColumnElement[datetime]:
    """Return when the next try is heard, by how many there were."""
    ends = [literal(now + wait, type_=_knock.c.until.type) for wait in (timedelta(), *WAITS)]
    return case(*((tries < free + number, end) for number, end in enumerate(ends)), else_=ends[-1])


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
