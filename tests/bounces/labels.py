"""Labelled mails: a folder and a table that says what each of them is.

`labels.tsv` has a line a mail: name, kind (bounce, complaint, autoreply, optout, other), hard (yes, no, or "-" where
people may differ), category ("-" for any). Lines that begin with # are remarks.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Label(NamedTuple):
    """What a person who read a mail says it is."""

    name: str
    kind: str
    hard: bool | None
    category: str | None


def labels(table: Path) -> Iterator[Label]:
    """Yield the labels of a table."""
    for line in table.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            name, kind, hard, category = line.split("\t")
            yield Label(name, kind, {"yes": True, "no": False}.get(hard), None if category == "-" else category)
