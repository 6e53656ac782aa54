"""Where captured mail is kept: one SQLite file, the newest mails only."""

import os
import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from mailer.database import write_ahead
from mailer.errors import ConfigurationError, WrongVersion
from mailer.inbox.captured import Captured, Summary
from suppression.rules import Stream

_VERSION = 1
_BUSY = 30.0
#: How many old mails one transaction removes beside those that the new ones push out.
_PRUNED_AT_ONCE = 200
_TABLES = (
    # Lists and searches read this table alone; sources would make its rows 20 times as long.
    """CREATE TABLE mail (
        id INTEGER PRIMARY KEY AUTOINCREMENT, received_at TEXT NOT NULL, mail_from TEXT NOT NULL,
        rcpt_to TEXT NOT NULL, subject TEXT NOT NULL, sender TEXT NOT NULL, date TEXT,
        stream TEXT NOT NULL, size INTEGER NOT NULL, folded TEXT NOT NULL)""",
    "CREATE TABLE source (id INTEGER PRIMARY KEY, raw BLOB NOT NULL)",
    f"PRAGMA user_version = {_VERSION}",
)
_COLUMNS = "id, received_at, mail_from, rcpt_to, subject, sender, date, stream, size"
_INSERT = (
    "INSERT INTO mail (received_at, mail_from, rcpt_to, subject, sender, date, stream, size, folded)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_SELECT = (
    f"SELECT {_COLUMNS} FROM mail WHERE id < :before AND instr(folded, :query) > 0 AND instr(folded, :to) > 0"  # noqa: S608
    " ORDER BY id DESC LIMIT :limit"
)
_NEWEST = 2**63 - 1
_TO = "SELECT id FROM mail WHERE instr(folded, ?) > 0"
_SOURCES = "SELECT id, raw FROM source"

_Row: TypeAlias = tuple[int, str, str, str, str, str, str | None, str, int]


class Store:
    """Captured mail in one SQLite file; several processes and threads may use the same file.

    The lines of one store take turns on one connection, so a store is made after a fork, never before.
    """

    def __init__(self, path: Path, keep: int = 10_000) -> None:
        """Open the file, or make it; raises ``WrongVersion`` where another version of mailer made it."""
        self._path = path
        self._keep = keep
        self._lock = threading.Lock()
        self._connection = _open(path)

    def close(self) -> None:
        """Close the file; the store cannot be used any more."""
        with self._lock:
            self._connection.close()

    def add(self, captured: Captured) -> int:
        """Keep one mail and return its id."""
        return self.add_many([captured])[0]

    def add_many(self, mails: Sequence[Captured]) -> Sequence[int]:
        """Keep these mails in one transaction and return their ids; the oldest beyond the limit go."""
        with self._writing() as connection:
            ids = [_insert(connection, captured) for captured in mails]
            if ids:
                old = (ids[-1] - self._keep, len(ids) + _PRUNED_AT_ONCE)
                for table in ("mail", "source"):
                    oldest = f"SELECT id FROM {table} WHERE id <= ? ORDER BY id LIMIT ?"  # noqa: S608
                    connection.execute(f"DELETE FROM {table} WHERE id IN ({oldest})", old)  # noqa: S608
        return ids

    def list(
        self, limit: int = 50, before: int | None = None, query: str | None = None, *, to: str | None = None
    ) -> Sequence[Summary]:
        """Return mails, newest first: below an id, with a text in recipient or subject, to one address."""
        values: dict[str, str | int] = {
            "before": _NEWEST if before is None else min(before, _NEWEST),
            "query": " ".join((query or "").split()).casefold(),
            "to": f"\n{to.casefold()}\n" if to else "",
            "limit": limit,
        }
        with self._lock:
            rows: list[_Row] = self._connection.execute(_SELECT, values).fetchall()
        return [_summary(row) for row in rows]

    def get(self, id: int) -> Captured | None:  # noqa: A002 -- the field's own name
        """Return one mail, or None where there is none of that id (any more)."""
        if not 0 < id < _NEWEST:
            return None
        columns = _COLUMNS.replace("id,", "mail.id,")
        statement = f"SELECT {columns}, raw FROM mail JOIN source USING (id) WHERE mail.id = ?"  # noqa: S608
        with self._lock:
            row = self._connection.execute(statement, (id,)).fetchone()
        return _captured(row[:-1], row[-1]) if row else None

    def of(self, address: str, limit: int = 1000) -> Sequence[Captured]:
        """Return the mails to one address, newest first."""
        found = [self.get(summary.id) for summary in self.list(limit, to=address)]
        return [captured for captured in found if captured]

    def count(self) -> int:
        """Return how many mails are kept."""
        with self._lock:
            return int(self._connection.execute("SELECT count(*) FROM mail").fetchone()[0])

    def forget(self, addresses: Collection[str]) -> int:
        """Forget every mail to these addresses or that shows one of them, and return how many they were."""
        found: set[int] = set()
        with self._writing() as connection:
            # What is deleted is overwritten, so that the file does not hold it either.
            connection.execute("PRAGMA secure_delete = ON")
            for address in addresses:
                folded = address.casefold()
                found.update(number for (number,) in connection.execute(_TO, (f"\n{folded}\n",)))
                shown = (number for number, raw in connection.execute(_SOURCES) if folded.encode() in raw.lower())
                found.update(shown)
            for number in found:
                connection.execute("DELETE FROM mail WHERE id = ?", (number,))
                connection.execute("DELETE FROM source WHERE id = ?", (number,))
        if found:
            self._give_room_back()
        return len(found)

    def clear(self) -> None:
        """Forget every mail, and give the room in the file back."""
        with self._writing() as connection:
            connection.execute("DELETE FROM mail")
            connection.execute("DELETE FROM source")
        self._give_room_back()

    def _give_room_back(self) -> None:
        # Another process may be reading: then the room is used again instead.
        with self._lock, suppress(sqlite3.OperationalError):
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _transaction(self._connection):
            yield self._connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    # IMMEDIATE: a transaction that reads first and writes later is refused instead of made to wait.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    # What people were written is for the owner's eyes; SQLite gives its other files the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError):
            raise ConfigurationError(f"the inbox cannot use the file {path}: {error}") from error
        raise WrongVersion(f"{path} is no inbox of mailer ({error}): move it away, a new one is made") from error
    except WrongVersion:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    write_ahead(connection, _BUSY)
    connection.execute("PRAGMA synchronous = NORMAL")
    with _transaction(connection):
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        with closing(connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")) as tables:
            empty = tables.fetchone() is None
        if version == 0 and empty:
            for statement in _TABLES:
                connection.execute(statement)
        elif version != _VERSION:
            raise WrongVersion(
                f"{path} was made by another version of mailer (its format is {version}, ours is {_VERSION}):"
                " move it away, a new one is made"
            )


def _insert(connection: sqlite3.Connection, captured: Captured) -> int:
    recipients = "\n".join(captured.rcpt_to)
    # An address stands between two newlines, a subject never does: so `to` cannot find one in the other.
    folded = f"\n{recipients}\n\t{captured.subject}".casefold()
    values = (
        captured.received_at.isoformat(),
        captured.mail_from,
        recipients,
        captured.subject,
        captured.sender,
        captured.date.isoformat() if captured.date else None,
        captured.stream,
        captured.size,
        folded,
    )
    inserted = connection.execute(_INSERT, values).lastrowid or 0
    connection.execute("INSERT INTO source (id, raw) VALUES (?, ?)", (inserted, captured.raw))
    return inserted


def _summary(row: _Row) -> Summary:
    number, received_at, mail_from, rcpt_to, subject, sender, date, stream, size = row
    return Summary(
        id=number,
        received_at=datetime.fromisoformat(received_at),
        mail_from=mail_from,
        rcpt_to=tuple(rcpt_to.split("\n")) if rcpt_to else (),
        subject=subject,
        sender=sender,
        date=datetime.fromisoformat(date) if date else None,
        stream=Stream(stream),
        size=size,
    )


def _captured(row: _Row, raw: bytes) -> Captured:
    summary = _summary(row)
    return Captured(
        id=summary.id,
        received_at=summary.received_at,
        mail_from=summary.mail_from,
        rcpt_to=summary.rcpt_to,
        subject=summary.subject,
        sender=summary.sender,
        date=summary.date,
        stream=summary.stream,
        size=summary.size,
        raw=raw,
    )
