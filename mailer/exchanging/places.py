"""How far a list was read, kept with what was added, so that an import that was cut off goes on there."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import delete, update
from sqlmodel import Session, SQLModel, col, select

from mailer import ids
from mailer.models import SuppressionImport

_import = SQLModel.metadata.tables[str(SuppressionImport.__tablename__)]


class Place(NamedTuple):
    """Where an import stands that can be resumed."""

    id: str
    position: int
    counts: Mapping[str, int]


class List(NamedTuple):
    """By what an import is known again: the list itself, and how it is read."""

    tenant_id: int
    form: str
    #: SHA-256 of the list.
    digest: str
    #: What else decides what its lines mean.
    options: str

    @property
    def mark(self) -> str:
        """Return the digest under which the import is kept."""
        return hashlib.sha256(f"{self.digest} {self.options}".encode()).hexdigest()


def begin(session: Session, asked: List, now: datetime, *, resume: bool) -> Place:
    """Return where an import begins: at the start, or where one of the same list and options was cut off."""
    mine = select(SuppressionImport).where(
        col(SuppressionImport.tenant_id) == asked.tenant_id,
        col(SuppressionImport.digest) == asked.mark,
        col(SuppressionImport.form) == asked.form,
    )
    row = session.exec(mine.with_for_update()).one_or_none()
    if row is None:
        row = SuppressionImport(
            id=ids.new("si", now), tenant_id=asked.tenant_id, digest=asked.mark, form=asked.form, created_at=now
        )
        session.add(row)
    elif not resume or row.ended_at is not None:
        row.position, row.counts, row.created_at, row.ended_at = 0, {}, now, None
    session.flush()
    return Place(row.id, row.position, dict(row.counts))


def move(
    session: Session, place: Place, position: int, counts: Mapping[str, int], ended_at: datetime | None = None
) -> None:
    """Write down that a list was read up to a byte, and what became of its lines."""
    session.execute(
        update(_import)
        .where(_import.c.id == place.id)
        .values(position=position, counts=dict(counts), ended_at=ended_at)
    )


def forget(session: Session, place: Place) -> None:
    """Forget how far a list was read: the next import of it begins at the start."""
    session.execute(delete(_import).where(_import.c.id == place.id))
