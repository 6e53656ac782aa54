"""Which days a report is about."""

from datetime import date, datetime, timedelta
from typing import NamedTuple

from mailer.errors import Invalid, Problem

_LONGEST = 3660


class Span(NamedTuple):
    """Some days, both included (UTC): those on which the emails were accepted, where nothing else is said."""

    first: date
    last: date

    @classmethod
    def of(cls, now: datetime, *, days: int = 30, first: date | None = None, last: date | None = None) -> "Span":
        """Return the days from `first` to `last`; without a first, as many days up to the last."""
        end = last or now.date()
        begin = first or end - timedelta(days=days - 1)
        if begin > end:
            raise Invalid(Problem("from", "must not be after to"))
        if end - begin > timedelta(days=_LONGEST):
            raise Invalid(Problem("from", "must be at most ten years before to"))
        return cls(begin, end)

    @classmethod
    def since(cls, made: datetime, now: datetime) -> "Span":
        """Return the days from a moment on; another's clock may be ahead of ours."""
        return cls(made.date(), max(made, now).date() + timedelta(days=1))

    @property
    def days(self) -> list[date]:
        """Return each day: named one by one, the sums' key finds them without a look at what others counted."""
        return [self.first + timedelta(days=number) for number in range((self.last - self.first).days + 1)]
