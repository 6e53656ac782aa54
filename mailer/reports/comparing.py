"""Two campaigns side by side: which rates differ, by how much, and whether that can be chance. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from mailer.reports.figures import COUNTS, RATES, Counted, figures, rate_of
from mailer.reports.statistics import Interval, chance, newcombe

#: What is compared.
COMPARED = ("open_rate", "click_rate", "unsubscribe_rate", "bounce_rate", "complaint_rate")
#: Equals differ so much in one of twenty comparisons.
LEVEL = 0.05
NOTE = "Of twenty comparisons of two campaigns that are alike, about one is called different here by chance."


class Difference(NamedTuple):
    """A rate of two campaigns."""

    name: str
    first: float | None
    second: float | None
    #: Second - first, and its interval of 95 % confidence.
    difference: float | None
    interval: Interval | None
    #: How likely campaigns that are alike would differ by so much or more; None: too few to tell.
    chance: float | None
    words: str


class Comparison(NamedTuple):
    """Each rate of two campaigns, and what to think of all of them."""

    differences: tuple[Difference, ...]
    note: str


def compared(first: Counted, second: Counted) -> Comparison:
    """Compare the second campaign with the first."""
    counts = [{each.name: int(each.value or 0) for each in figures(sums, only=COUNTS)} for sums in (first, second)]
    return Comparison(tuple(_compare(name, *counts) for name in COMPARED), NOTE)


def _compare(name: str, first: Mapping[str, int], second: Mapping[str, int]) -> Difference:
    part, whole = RATES[name]
    # A rate is at most 1 where it is shown, and so it is here.
    before, after = ((max(0, min(each[part], each[whole])), each[whole]) for each in (first, second))
    rates = rate_of(*before), rate_of(*after)
    if before[1] <= 0 or after[1] <= 0:
        return Difference(name, *rates, None, None, None, f"nothing to compare: one of them has no {whole}")
    interval, likely = newcombe(before, after), chance(before, after)
    difference = after[0] / after[1] - before[0] / before[1]
    told = round(difference, 4), Interval(*(round(each, 4) for each in interval))
    return Difference(name, *rates, *told, likely, _words(difference, interval, likely))


def _words(difference: float, interval: Interval, likely: float | None) -> str:
    low, high = (f"{each * 100:+.1f}" for each in interval)
    if likely is None:
        return f"too few to tell: the second may differ by {low} to {high} points"
    if likely >= LEVEL:
        return f"no difference can be seen: the second may differ by {low} to {high} points"
    way = "higher" if difference > 0 else "lower"
    return f"the second is {way}: by {low} to {high} points"
