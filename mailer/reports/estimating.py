"""How many are likely to have read a campaign: told from the mailboxes whose opens can be told apart. Pure.

A provider that loads every picture itself hides who reads: its mailboxes are left out of both sides of the rate, and
nothing is guessed about them. What is left is a part of the audience, which is named beside the rate.
"""

from collections.abc import Mapping
from typing import NamedTuple

from mailer.counters import FOLLOWED
from mailer.providers import PROVIDERS
from mailer.reports.figures import Counted, rate_of
from mailer.reports.statistics import Interval, wilson

#: Providers that are never trusted -> why.
NEVER: Mapping[str, str] = {"apple": "Apple loads pictures whether or not the mail is read (Mail Privacy Protection)"}
#: Where machines loaded the picture of a larger share of the mails, people cannot be told from them.
MOST_MACHINES = 0.5
#: Of fewer mails no rate is told: its interval would be as wide as guessing.
FEWEST = 30


class Judged(NamedTuple):
    """A mailbox provider, and whether its opens say who reads."""

    provider: str
    #: Accepted with a pixel of their own.
    followed: int
    opened: int
    #: The share of these mails whose picture a machine loaded.
    machines: float | None
    #: Why it is left out; None: it is trusted.
    left_out: str | None


class Estimate(NamedTuple):
    """What share of the audience reads, as far as that can be seen."""

    #: Opened / followed, of the trusted providers; None: too few, or nobody's opens tell their provider.
    rate: float | None
    interval: Interval | None
    #: How many mails the rate is told from, and what share of all accepted ones that is.
    of: int
    share: float | None
    providers: tuple[Judged, ...]
    #: Why there is no rate, or what it says.
    words: str


def estimated(by_provider: Mapping[str, Counted]) -> Estimate:
    """Return the estimate from what was counted of a campaign's mail, provider by provider."""
    judged = tuple(_judge(name, by_provider[name]) for name in PROVIDERS if name in by_provider)
    trusted = [each for each in judged if each.left_out is None]
    opened, of = sum(each.opened for each in trusted), sum(each.followed for each in trusted)
    accepted = sum(sums["sent"] - sums["returned"] for sums in by_provider.values())
    share = rate_of(of, accepted)
    if not any(each.followed for each in judged):
        why = "only individual opens name the mailbox provider, and no mail was measured so"
        return Estimate(None, None, of, share, judged, why)
    if of < FEWEST:
        why = f"only {of} mails went to providers whose opens can be trusted: {FEWEST} are wanted"
        return Estimate(None, None, of, share, judged, why)
    interval = wilson(min(opened, of), of)
    words = (
        f"between {interval.low:.1%} and {interval.high:.1%} read it, if the others are like the {share or 0:.0%} "
        "of the audience whose opens can be trusted"
    )
    return Estimate(rate_of(opened, of), interval, of, share, judged, words)


def _judge(provider: str, sums: Counted) -> Judged:
    followed = sums[FOLLOWED]
    machines = rate_of(sums["opens:machine"], followed)
    left_out = NEVER.get(provider)
    if left_out is None and machines is not None and machines > MOST_MACHINES:
        left_out = f"machines loaded the pictures of more than {MOST_MACHINES:.0%} of these mails"
    return Judged(provider, followed, sums["read"], machines, left_out)
