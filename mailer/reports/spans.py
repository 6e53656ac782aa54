"""Which days a report is about."""

from datetime import date, datetime, timedelta
from typing import NamedTuple

from mailer.errors import Invalid, Problem

_LONGEST = 3660


class Parts(NamedTuple):
    """What makes up some days: whole months by their first day, days added to them, and days taken away."""

    months: list[date]
    more: list[date]
    less: list[date]


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
    def of_life(cls, made: datetime, until: datetime) -> "Span":
        """Return the days in which a campaign's mail was accepted: none is after it has ended.

        Another machine's clock may be ahead of ours.
        """
        return cls(made.date(), max(made, until).date() + timedelta(days=1))

    @property
    def parts(self) -> Parts:
        """Return what to read: of each month its days, or the whole of it without the others, whichever is less."""
        parts, day = Parts([], [], []), self.first.replace(day=1)
        while day <= self.last:
            following = (day + timedelta(days=32)).replace(day=1)
            month = Span(day, following - timedelta(days=1)).days
            inside = [each for each in month if self.first <= each <= self.last]
            outside = [each for each in month if not self.first <= each <= self.last]
            if len(outside) < len(inside):
                parts.months.append(day)
                parts.less.extend(outside)
            else:
                parts.more.extend(inside)
            day = following
        return parts

    @property
    def days(self) -> list[date]:
        """Return each day: named one by one, the sums' key finds them without a look at what others counted."""
        return [self.first + timedelta(days=number) for number in range((self.last - self.first).days + 1)]
