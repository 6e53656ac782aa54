from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import ClauseElement, make_url, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from suppression.entries import Entry, new_id
from suppression.entries.table import LIVE_COLUMNS, NOT_LIFTED, insertion
from suppression.rules import Origin, Reason

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def entry(**values: object) -> Entry:
    made = Entry(
        id=new_id(NOW),
        tenant_id=1,
        fingerprint=b"f" * 16,
        key_id="k",
        reason=Reason.HARD_BOUNCE,
        scope="all",
        origin=Origin.PROVIDER,
        created_at=NOW,
    )
    for name, value in values.items():
        setattr(made, name, value)
    return made


def test_ids_sort_by_time_and_never_repeat() -> None:
    ids = [new_id(NOW + timedelta(milliseconds=step)) for step in range(200)]
    assert ids == sorted(ids)
    assert len({new_id(NOW) for _ in range(1000)}) == 1000
    assert all(len(one) == 29 and one.startswith("su_") for one in ids)


def test_an_entry_is_in_force_until_it_is_lifted_or_expires() -> None:
    assert entry().live(NOW)
    assert entry(expires_at=NOW + timedelta(seconds=1)).live(NOW)
    assert not entry(expires_at=NOW).live(NOW)
    assert not entry(lifted_at=NOW).live(NOW)


def test_the_table_holds_the_words_of_the_policy(session: Session) -> None:
    session.add(entry(evidence=None))
    session.flush()
    row = session.execute(text("SELECT reason, origin, evidence FROM suppression")).one()
    assert tuple(row) == ("hard_bounce", "provider", None)


def test_times_come_back_aware(session: Session) -> None:
    session.add(entry(expires_at=NOW))
    session.flush()
    session.expire_all()
    found = session.query(Entry).one()
    assert (found.created_at, found.expires_at) == (NOW, NOW)


def test_the_database_refuses_a_second_live_entry_of_a_reason_and_scope(session: Session) -> None:
    session.add_all([entry(lifted_at=NOW), entry(lifted_at=NOW), entry(), entry(scope="stream:promotional")])
    session.flush()
    session.add(entry())
    with pytest.raises(IntegrityError):
        session.flush()


def test_the_insert_names_the_partial_index_on_postgresql_too() -> None:
    statement = insertion("postgresql", Entry, [{"id": "su_1", "tenant_id": 1}], LIVE_COLUMNS, NOT_LIFTED)
    assert isinstance(statement, ClauseElement)
    dialect = make_url("postgresql+asyncpg://").get_dialect()()
    sql = " ".join(str(statement.compile(dialect=dialect)).split())
    assert "ON CONFLICT (tenant_id, fingerprint, reason, scope) WHERE lifted_at IS NULL DO NOTHING RETURNING" in sql
