"""The language that a person chose for their mail."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import bindparam, select
from sqlmodel import Session, SQLModel

from mailer import database
from mailer.models import Person
from mailer.people.stopping import key_of
from suppression.entries.kin import CHUNK, among

_person = SQLModel.metadata.tables[str(Person.__tablename__)]
# Built once: building a statement costs more than running it.
_CHOSEN = tuple(
    select(_person.c.fingerprint, _person.c.locale).where(
        _person.c.tenant_id == bindparam("tenant"),
        _person.c.locale.is_not(None),
        among(_person.c.fingerprint, arrays=arrays),
    )
    for arrays in (False, True)
)


def chosen_languages(session: Session, tenant_id: int, prints: Collection[bytes]) -> dict[bytes, str]:
    """Return the chosen language of many people by their fingerprints; who never chose is left out."""
    asked = list(dict.fromkeys(prints))
    found: dict[bytes, str] = {}
    statement = _CHOSEN[database.on_postgresql(session)]
    for start in range(0, len(asked), CHUNK):
        given = {"tenant": tenant_id, "prints": asked[start : start + CHUNK]}
        found.update((fingerprint, locale) for fingerprint, locale in session.execute(statement, given) if locale)
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
