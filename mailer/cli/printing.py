"""What commands print: JSON for programs, tables for people."""

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text


def as_json(data: object) -> None:
    """Print one JSON document on one line of stdout."""
    sys.stdout.write(orjson.dumps(data, option=orjson.OPT_UTC_Z).decode() + "\n")


def line(text: str) -> None:
    """Print one line on stdout."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Print one line on stderr: what a person may want to know and no script reads."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """Print a table; values are shown as they are, whatever they hold."""
    shown = Table(title=title or None, title_justify="left", header_style="bold")
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(_cell(value) for value in row))
    _console().print(shown)


def _cell(value: object) -> Text:
    text = _words(value)
    # A terminal obeys control characters, and names and subjects come from outside.
    return Text("".join(letter if letter.isprintable() or letter == "\n" else "�" for letter in text))


def _words(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(value)


def _console() -> Console:
    # Without a terminal there is no width to keep to, and a line cut in two is of no use to grep.
    return Console() if sys.stdout.isatty() else Console(width=200)
