"""How our types lie in columns, on SQLite and PostgreSQL alike."""

from enum import StrEnum

from sqlalchemy import JSON, Enum

#: JSON that is only stored and read back whole; `jsonb` would parse and reorder it for nothing.
Json = JSON(none_as_null=True)


def choice(kind: type[StrEnum]) -> Enum:
    """Return a column type that stores an enum's value (not its name) as plain text."""
    return Enum(kind, native_enum=False, length=20, create_constraint=False, values_callable=_values)


def _values(kind: type[StrEnum]) -> list[str]:
    return [member.value for member in kind]
