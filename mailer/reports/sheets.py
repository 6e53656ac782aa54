"""Tables as CSV (RFC 4180) for spreadsheets, which must not run what a caller wrote. Pure."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime

#: A cell that begins with one of these is a formula for a spreadsheet (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def sheet(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as CSV: a header, then a line a row; texts that a spreadsheet would run stand behind a '."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return file.getvalue()


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool | int | float):
        return value
    text = str(value)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
