"""The language that a person chose for their mail."""

from collections.abc import Collection
from datetime import datetime

from sqlmodel import Session, SQLModel, col, select

from mailer import database
from mailer.models import Person
from mailer.people.stopping import key_of

#: A few hundred values a query: SQLite bounds their number.
_CHUNK = 400
_person = SQLModel.metadata.tables[str(Person.__tablename__)]


def chosen_languages(session: Session, tenant_id: int, prints: Collection[bytes]) -> dict[bytes, str]:
    """Return the chosen language of many people by their fingerprints; who never chose is left out."""
    asked = list(dict.fromkeys(prints))
    found: dict[bytes, str] = {}
    for start in range(0, len(asked), _CHUNK):
        statement = select(Person.fingerprint, Person.locale).where(
            col(Person.tenant_id) == tenant_id,
            col(Person.fingerprint).in_(asked[start : start + _CHUNK]),
            col(Person.locale).is_not(None),
        )
        found.update((fingerprint, locale) for fingerprint, locale in session.exec(statement) if locale)
    return found


def choose_language(
    session: Session, tenant_id: int, fingerprint: bytes, locale: str | None, *, address: str | None, now: datetime
) -> None:
    """Keep the language that a person wants; None goes back to the sender's."""
    row = {
        "tenant_id": tenant_id,
        "fingerprint": fingerprint,
        "key_id": key_of(session, tenant_id, fingerprint),
        "address": address,
        "locale": locale,
        "changed_at": now,
    }
    statement = database.insert(session, _person).values(row)
    changed = {"locale": locale, "changed_at": now, **({"address": address} if address else {})}
    session.execute(statement.on_conflict_do_update(index_elements=["tenant_id", "fingerprint"], set_=changed))
