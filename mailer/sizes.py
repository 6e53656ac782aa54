"""What SQLite is told of the sizes of tables: those of a busy installation, whatever there is at present.

Without numbers SQLite takes an index whose first column is equal for a good one, and reads all rows of a tenant to find
a person's; with those that `ANALYZE` finds in a young database, which it never asks for again, likewise. So the numbers
are ours, and plans do not change with time (https://www.sqlite.org/fileformat2.html#stat1tab).
"""

from math import prod

from sqlalchemy import Connection

#: Rows of each table that grows with mail and people.
_ROWS = 1_000_000
_GROWING = ("consent", "email", "event", "opt_in", "suppression", "suppression_kin", "told")
#: A partial index holds so small a part of them, but for that of the entries in force, which most are.
_PART = 1000
_NEARLY_ALL = "suppression_live"
#: How many values a column has; two where nothing is said, so that nobody takes tenants or streams for a choice.
_VALUES = {
    "at": 500_000,
    "campaign_id": 100,
    "digest": 1_000_000,
    "due_at": 500_000,
    "email_id": 200_000,
    "fingerprint": 500_000,
    "heard_at": 500_000,
    "id": 1_000_000,
    "lease": 100,
    "other": 500_000,
}


def tell(connection: Connection) -> None:
    """Write the numbers into SQLite's own table unless they stand there; connections opened from now on know them."""
    numbers = sorted((table, *each) for table in _GROWING for each in _indexes(connection, table))
    if _known(connection) == numbers:
        return
    # Of all that makes the table for numbers this is the least work.
    connection.exec_driver_sql("ANALYZE alembic_version")
    connection.exec_driver_sql("DELETE FROM sqlite_stat1")
    connection.exec_driver_sql("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", numbers)


def _known(connection: Connection) -> list[tuple[str, str, str]]:
    if not connection.exec_driver_sql("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_stat1'").all():
        return []
    return sorted(tuple(row) for row in connection.exec_driver_sql("SELECT tbl, idx, stat FROM sqlite_stat1"))


def _indexes(connection: Connection, table: str) -> list[tuple[str, str]]:
    """Return each index of a table, and its numbers: its rows, then how many share the first column, the first two …"""
    found = []
    for _place, index, unique, _origin, partial in connection.exec_driver_sql(f"PRAGMA index_list({table})").all():
        info = connection.exec_driver_sql(f"PRAGMA index_info({index})").all()
        values = [_VALUES.get(str(name), 2) for _number, _column, name in info]
        rows = _ROWS // _PART if partial and index != _NEARLY_ALL else _ROWS
        shared = [max(1, rows // prod(values[:place])) for place in range(1, len(values) + 1)]
        if unique:
            shared[-1] = 1
        found.append((index, " ".join(map(str, (rows, *shared)))))
    return found
