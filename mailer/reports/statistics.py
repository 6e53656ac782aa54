"""How sure a share is, and whether two shares differ. Pure; the sources stand beside the formulas."""

import math
from typing import NamedTuple

#: The quantile of the normal distribution that leaves 2.5 % on each side.
Z = 1.959964


class Interval(NamedTuple):
    """From where to where, with 95 % confidence."""

    low: float
    high: float


def wilson(part: int, whole: int) -> Interval:
    """Return the score interval of a share (E. B. Wilson, JASA 22, 1927), `whole` > 0.

    It holds for small numbers and for shares near 0 and 1, where the textbook's +- does not (Brown, Cai and DasGupta,
    Statistical Science 16, 2001).
    """
    share, square = part / whole, Z * Z
    middle = share + square / (2 * whole)
    reach = Z * math.sqrt(share * (1 - share) / whole + square / (4 * whole * whole))
    scale = 1 + square / whole
    return Interval(max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale))


def newcombe(first: tuple[int, int], second: tuple[int, int]) -> Interval:
    """Return the interval of `second` - `first`, each a part and its whole (> 0).

    Method 10 of R. G. Newcombe, Statistics in Medicine 17, 1998: the Wilson intervals of both, put together.
    """
    before, after = first[0] / first[1], second[0] / second[1]
    (low, high), (lower, higher) = wilson(*first), wilson(*second)
    difference = after - before
    return Interval(
        difference - math.hypot(after - lower, high - before), difference + math.hypot(higher - after, before - low)
    )


def chance(first: tuple[int, int], second: tuple[int, int]) -> float | None:
    """Return how likely equals would differ by so much or more: the two-sided z-test of two shares, pooled.

    (For instance D. C. Montgomery, Applied Statistics, "inference on two population proportions".) None where the
    normal distribution is no fair picture: where fewer than five are expected to have done it, or not, in either group
    (Cochran's rule, Biometrics 10, 1954).
    """
    wholes = first[1], second[1]
    pooled = (first[0] + second[0]) / sum(wholes)
    if min(wholes) * min(pooled, 1 - pooled) < 5:
        return None
    spread = math.sqrt(pooled * (1 - pooled) * (1 / wholes[0] + 1 / wholes[1]))
    return math.erfc(abs(second[0] / second[1] - first[0] / first[1]) / spread / math.sqrt(2))
