"""One record of a list as its columns name it, and what its cells mean: dates of every kind, text that can be kept."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_NOISE = re.compile(r"[\W_]+")
_NUMBER = re.compile(r"\d{9,13}(?:\.\d+)?")
_LONGEST_TEXT = 500
#: Seconds since 1970 have ten digits today, milliseconds thirteen.
_MILLISECONDS = 100_000_000_000
_NEVER = " 0001 "
#: Before that nobody unsubscribed: the date is a stand-in.
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
_TRUTHS = frozenset({"1", "true", "yes", "on"})


def column(name: str) -> str:
    """Return a column's name as it is compared: `Email Address`, `EmailAddress` and `email_address` are one."""
    return _NOISE.sub("", name.casefold())


class Row:
    """One record: values by their columns."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, object]) -> None:
        """Take values by the names that `column` returns."""
        self._values = values

    def raw(self, *names: str) -> object:
        """Return the first of these columns that says something."""
        for name in names:
            if (value := self._values.get(name)) not in (None, ""):
                return value
        return None

    def has(self, name: str) -> bool:
        """Return whether there is such a column, whatever it says."""
        return name in self._values

    def text(self, *names: str) -> str:
        """Return the first of these columns that says something, as one line of text that can be kept."""
        value = self.raw(*names)
        return "" if value is None else printable(str(value))

    def truth(self, *names: str) -> bool:
        """Return whether the first of these columns that says something says yes."""
        return self.text(*names).casefold() in _TRUTHS

    def evidence(self, **columns: str) -> Iterator[tuple[str, str]]:
        """Return what is worth keeping: names for an entry's evidence and the columns they come from."""
        for name, source in columns.items():
            if text := self.text(source):
                yield name, text


def printable(text: str) -> str:
    """Return text as one line without what cannot be kept or seen, cut to a length."""
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(text.split())[:_LONGEST_TEXT]


def moment(value: object) -> datetime | None:
    """Return when this was: seconds since 1970, ISO 8601 or RFC 5322, in UTC where no zone is named; None: unknown."""
    text = str(value).strip()
    try:
        found = _read(text)
    except (ValueError, OverflowError, OSError, TypeError):
        return None
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found
    try:
        return found.astimezone(UTC) if found >= _EARLIEST else None
    except OverflowError:
        return None


def _read(text: str) -> datetime:
    if _NUMBER.fullmatch(text):
        seconds = float(text)
        return datetime.fromtimestamp(seconds / 1000 if seconds >= _MILLISECONDS else seconds, UTC)
    if text[:4].isdigit():
        return datetime.fromisoformat(text.removesuffix(" UTC"))
    if _NEVER in text:
        # The year of a time that was never set; RFC 5322's reader takes it for 2001.
        raise ValueError(text)
    return parsedate_to_datetime(text)
