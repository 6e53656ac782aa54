"""The day of a person's last open, where a tenant keeps nothing else of what they do with its mail."""

from collections.abc import Collection, Mapping
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import select
from sqlmodel import Session, SQLModel

from mailer import database
from mailer.models import Person
from mailer.people.stopping import key_of

#: A few hundred values a query: SQLite bounds their number.
_CHUNK = 400
_person = SQLModel.metadata.tables[str(Person.__tablename__)]


class LastOpen(NamedTuple):
    """When a person opened a mail last, and the address it went to."""

    address: str
    day: date


def last_opens(session: Session, tenant_id: int, prints: Collection[bytes]) -> dict[bytes, date]:
    """Return the days of many people's last opens by their fingerprints; who has none is left out."""
    asked = list(dict.fromkeys(prints))
    found: dict[bytes, date] = {}
    for start in range(0, len(asked), _CHUNK):
        statement = select(_person.c.fingerprint, _person.c.last_open).where(
            _person.c.tenant_id == tenant_id,
            _person.c.fingerprint.in_(asked[start : start + _CHUNK]),
            _person.c.last_open.is_not(None),
        )
        found.update((fingerprint, day) for fingerprint, day in session.execute(statement))
    return found


def keep_last_opens(session: Session, tenant_id: int, opens: Mapping[bytes, LastOpen], now: datetime) -> None:
    """Move the days of last opens on; one that is later already stays."""
    for fingerprint, (address, day) in sorted(opens.items()):
        row = {
            "tenant_id": tenant_id,
            "fingerprint": fingerprint,
            "key_id": key_of(session, tenant_id, fingerprint),
            "address": address,
            "last_open": day,
            "changed_at": now,
        }
        statement = database.insert(session, _person).values(row)
        later = _person.c.last_open.is_(None) | (_person.c.last_open < statement.excluded.last_open)
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["tenant_id", "fingerprint"], set_={"last_open": day}, where=later
            )
        )


def quiet(session: Session, tenant_id: int, before: date, after: bytes, most: int) -> list[tuple[bytes, LastOpen]]:
    """Return the next people whose last open was before a day, in the order of their fingerprints."""
    statement = (
        select(_person.c.fingerprint, _person.c.address, _person.c.last_open)
        .where(
            _person.c.tenant_id == tenant_id,
            _person.c.fingerprint > after,
            _person.c.last_open < before,
            _person.c.address.is_not(None),
        )
        .order_by(_person.c.fingerprint)
        .limit(most)
    )
    return [(who, LastOpen(address, day)) for who, address, day in session.execute(statement)]
