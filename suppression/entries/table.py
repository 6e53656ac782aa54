"""The tables: entries that forbid mail, keys that made their fingerprints, and which fingerprints are one person's."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, Enum, Executable, Index, LargeBinary, TextClause, literal, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session
from sqlmodel import Field, SQLModel

from suppression.rules import Origin, Reason

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_ID_LENGTH = 26
_RANDOM_BITS = 80

LIVE_COLUMNS = ("tenant_id", "fingerprint", "reason", "scope")
NOT_LIFTED = text("lifted_at IS NULL")


def new_id(now: datetime) -> str:
    """Return a new id for an entry; ids sort by their time, to the millisecond."""
    number = int(now.timestamp() * 1000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
    return "su_" + "".join(_DIGITS[number >> 5 * place & 31] for place in reversed(range(_ID_LENGTH)))


def _values(enum: type[StrEnum]) -> list[str]:
    return [member.value for member in enum]


class Entry(SQLModel, table=True):
    """What forbids mail to a mailbox, and the evidence; lifted, never deleted."""

    __tablename__ = "suppression"
    __table_args__ = (
        Index("suppression_mailbox", "tenant_id", "fingerprint"),
        Index("suppression_listed", "tenant_id", "id"),
        # A list is read by what is rare in it.
        Index("suppression_reason", "tenant_id", "reason", "id"),
        Index("suppression_scope", "tenant_id", "scope", "id"),
        # At most one live entry a reason and scope, so that adding twice at the same moment is adding once.
        Index("suppression_live", *LIVE_COLUMNS, unique=True, sqlite_where=NOT_LIFTED, postgresql_where=NOT_LIFTED),
    )

    id: str = Field(primary_key=True, max_length=29)
    tenant_id: int
    fingerprint: bytes = Field(sa_type=LargeBinary(16))
    key_id: str = Field(max_length=8)
    #: The address as it was written, until erasure.
    address: str | None = None
    reason: Reason = Field(sa_type=Enum(Reason, native_enum=False, length=20, values_callable=_values))
    scope: str = Field(max_length=50)
    origin: Origin = Field(sa_type=Enum(Origin, native_enum=False, length=20, values_callable=_values))
    created_at: datetime
    expires_at: datetime | None = None
    lifted_at: datetime | None = None
    lifted_by: str | None = None
    lift_note: str | None = None
    note: str | None = None
    #: What shows that it happened: ids, the token, the address it came from.
    evidence: dict[str, object] | None = Field(default=None, sa_type=JSON(none_as_null=True))

    def live(self, now: datetime) -> bool:
        """Return whether the entry is in force: neither lifted nor expired."""
        return self.lifted_at is None and (self.expires_at is None or self.expires_at > now)


class KeyProof(SQLModel, table=True):
    """A key that made fingerprints of this database, known by its proof."""

    __tablename__ = "suppression_key"

    key_id: str = Field(primary_key=True, max_length=8)
    proof: str = Field(max_length=64)
    created_at: datetime
    #: From then on no fingerprint is made with it; None while it is in use.
    retired_at: datetime | None = None


class KinKind(StrEnum):
    """Why two fingerprints are one person's."""

    #: One address by two keys.
    KEY = "key"
    #: A former and the present address.
    ADDRESS = "address"


class Kin(SQLModel, table=True):
    """Two fingerprints of one person; stored in both directions, so that either finds the other."""

    __tablename__ = "suppression_kin"

    tenant_id: int = Field(primary_key=True)
    fingerprint: bytes = Field(primary_key=True, sa_type=LargeBinary(16))
    other: bytes = Field(primary_key=True, sa_type=LargeBinary(16))
    #: The keys that made the one and the other.
    key_id: str = Field(max_length=8)
    other_key_id: str = Field(max_length=8)
    kind: KinKind = Field(sa_type=Enum(KinKind, native_enum=False, length=20, values_callable=_values))
    at: datetime


def insertion(
    dialect: str,
    table: type[SQLModel],
    rows: Sequence[dict[str, object]],
    unique: Sequence[str],
    where: TextClause | None,
) -> Executable:
    """Return the INSERT of the rows that meet no other row on these unique columns, answering one row for each."""
    # The two dialects spell it alike, but each has a class of its own.
    if dialect == "postgresql":
        return (
            postgresql.insert(table)
            .values(rows)
            .on_conflict_do_nothing(index_elements=unique, index_where=where)
            .returning(literal(1))
        )
    return (
        sqlite.insert(table)
        .values(rows)
        .on_conflict_do_nothing(index_elements=unique, index_where=where)
        .returning(literal(1))
    )


def insert_new(
    session: Session,
    table: type[SQLModel],
    rows: Sequence[dict[str, object]],
    unique: Sequence[str],
    where: TextClause | None = None,
) -> int:
    """Insert the rows that meet no other row on these unique columns, and return how many they are."""
    return len(session.execute(insertion(session.connection().dialect.name, table, rows, unique, where)).all())
