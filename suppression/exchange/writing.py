"""Entries -> CSV or NDJSON that `own` reads back."""

import csv
import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum

from suppression.entries.table import Entry
from suppression.exchange.own import COLUMNS


class Syntax(StrEnum):
    """How a list is written down."""

    CSV = "csv"
    NDJSON = "ndjson"

    @property
    def media(self) -> str:
        """Return the media type, as HTTP names it."""
        return "text/csv; charset=utf-8" if self is Syntax.CSV else "application/x-ndjson"


def head(syntax: Syntax) -> bytes:
    """Return what stands before the first entry."""
    return (",".join(COLUMNS) + "\r\n").encode() if syntax is Syntax.CSV else b""


def written(entries: Iterable[Entry], syntax: Syntax) -> bytes:
    """Return entries as lines; of an erased person the address is empty.

    Addresses are written as they are: a quote before `=` or `+` would make another mailbox. Notes, in which anybody may
    have written a formula, get one in CSV.
    """
    if syntax is Syntax.NDJSON:
        return "".join(json.dumps(_values(entry), ensure_ascii=False) + "\n" for entry in entries).encode()
    text = io.StringIO()
    csv.writer(text).writerows(
        [_plain(value) if name in _WORDS else value or "" for name, value in _values(entry).items()]
        for entry in entries
    )
    return text.getvalue().encode()


#: What somebody wrote.
_WORDS = frozenset({"note", "lift_note"})


def _plain(text: str | None) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text and text[0] in "=+-@\t\r" else text or ""


def _values(entry: Entry) -> dict[str, str | None]:
    values: dict[str, str | None] = {
        "email": entry.address,
        "reason": entry.reason.value,
        "scope": entry.scope,
        "created_at": _time(entry.created_at),
        "expires_at": _time(entry.expires_at),
        "note": entry.note,
        "origin": entry.origin.value,
        "lifted_at": _time(entry.lifted_at),
        "lifted_by": entry.lifted_by,
        "lift_note": entry.lift_note,
        "id": entry.id,
    }
    return {name: values[name] for name in COLUMNS}


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
