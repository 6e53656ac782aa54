from datetime import UTC, datetime

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlmodel import col

from suppression.address import Fingerprints
from suppression.entries import KeyProof, WrongKey, check_keys

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
OLD, NEW = "old:a secret of the old year", "new:a secret of the new year"


def test_the_first_start_records_every_key(session: Session) -> None:
    fingerprints = Fingerprints(f"{NEW},{OLD}")
    check_keys(session, fingerprints, NOW)
    check_keys(session, fingerprints, NOW)
    stored = {row.key_id: row.proof for row in session.scalars(select(KeyProof))}
    assert stored == fingerprints.proof()


def test_a_key_added_in_front_is_recorded(session: Session) -> None:
    check_keys(session, Fingerprints(OLD), NOW)
    check_keys(session, Fingerprints(f"{NEW},{OLD}"), NOW)
    assert sorted(session.scalars(select(col(KeyProof.key_id)))) == ["new", "old"]


def test_another_secret_under_a_known_id_is_refused(session: Session) -> None:
    check_keys(session, Fingerprints(OLD), NOW)
    with pytest.raises(WrongKey, match="put the old secret back") as refusal:
        check_keys(session, Fingerprints("old:another secret altogether"), NOW)
    assert "altogether" not in str(refusal.value)


def test_a_ring_that_lost_a_key_is_refused_and_records_nothing(session: Session) -> None:
    check_keys(session, Fingerprints(OLD), NOW)
    with pytest.raises(WrongKey, match=r"keys old .* not in the ring"):
        check_keys(session, Fingerprints(NEW), NOW)
    assert list(session.scalars(select(col(KeyProof.key_id)))) == ["old"]
