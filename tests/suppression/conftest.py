from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool
from sqlmodel import SQLModel

from suppression.entries import Entry, KeyProof, Kin

TABLES = [SQLModel.metadata.tables[str(table.__tablename__)] for table in (Entry, KeyProof, Kin)]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """One database in memory; what a test writes is rolled back."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    SQLModel.metadata.create_all(engine, tables=TABLES)
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as session:
        yield session
        session.rollback()
