"""Numbers, shares and times as each language writes them; times are UTC and say so."""

from datetime import date, datetime, timedelta
from typing import NamedTuple

_MONTHS = {
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    "uk": ("січ", "лют", "бер", "кві", "тра", "чер", "лип", "сер", "вер", "жов", "лис", "гру"),
}
_UNITS = {"en": ("s", "min", "h", "d"), "uk": ("с", "хв", "год", "д")}
#: What stands where there is nothing to say.
NONE = "–"


class Figures(NamedTuple):
    """Writes figures in one language."""

    language: str

    def number(self, value: float | None) -> str:
        """Return a whole number in groups of three: 12,345 or 12 345."""
        if value is None:
            return NONE
        return f"{value:,.0f}".replace(",", "," if self.language == "en" else "\u202f")

    def share(self, value: float | None, digits: int = 1) -> str:
        """Return a share as per cent: 12.3 % or 12,3 %; a small one is never rounded to nothing."""
        if value is None:
            return NONE
        percent = value * 100
        places = digits if not percent or percent >= 1 else digits + 1
        if percent and round(percent, places) == 0:
            return "<" + self._decimal(f"{10**-places:.{places}f}") + "\u202f%"
        return self._decimal(f"{percent:.{places}f}") + "\u202f%"

    def day(self, day: date) -> str:
        """Return a day as a chart shows it: 28 Nov."""
        return f"{day.day} {_MONTHS[self.language][day.month - 1]}"

    def moment(self, moment: datetime | None) -> str:
        """Return a moment to the minute."""
        if moment is None:
            return NONE
        return f"{moment.day} {_MONTHS[self.language][moment.month - 1]} {moment.year}, {moment:%H:%M} UTC"

    def length(self, length: timedelta) -> str:
        """Return a length of time in its largest unit: 42 s, 3 min, 5 h, 2 d."""
        seconds = int(length.total_seconds())
        second, minute, hour, day = _UNITS[self.language]
        for size, unit in ((86400, day), (3600, hour), (60, minute)):
            if seconds >= 2 * size:
                return f"{seconds // size}\u202f{unit}"
        return f"{seconds}\u202f{second}"

    def _decimal(self, text: str) -> str:
        return text if self.language == "en" else text.replace(".", ",")
