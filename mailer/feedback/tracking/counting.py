"""What hits add up to, mail by mail: one way of counting as they come, again by new rules, and from the start.

A metric of no place is the mail's, one of a place is of that link alone.
"""

from collections import Counter as Sums
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import NamedTuple, TypeAlias

from mailer import counters
from mailer.counters import Tally
from mailer.feedback.tracking.judging import Seen
from mailer.feedback.tracking.sightings import Class, Sighting

#: A link's place in the mail (None: the mail as a whole), and a metric.
Fact: TypeAlias = tuple[int | None, str]
#: Facts by the hour in which they happened.
Facts: TypeAlias = Sums[tuple[Fact, datetime]]

#: What one mail counts in at most once, by what was seen.
_READS = {"opens": frozenset({Class.HUMAN, Class.PROXY}), "clicks": frozenset({Class.HUMAN})}
#: What makes a mail `touched`, besides being read: what is touched and not read, only machines have loaded. A sum of
#: these alone would have to be taken back by who reads later, and in aggregate mode nobody knows by whom.
_TOUCHES = {"opens": _READS["opens"] | {Class.MACHINE}, "clicks": _READS["clicks"]}
_CLICKS = frozenset({Class.HUMAN, Class.PROXY})
#: Stands before what has no event behind it, beside the sums that it is part of: they can be worked out again.
ANONYMOUS = "aggregate:"
#: Every metric that is counted here.
METRICS = (
    "read",
    "touched",
    "clicked",
    *(f"{what}:{kind}" for what in ("opens", "opens_total", "clicks", "clicks_total") for kind in Class),
)
LINK = "link"


class About(NamedTuple):
    """What the hits of one mail count in."""

    tenant_id: int
    #: On which it was accepted.
    day: date
    stream: str
    dims: tuple[tuple[str, str], ...]
    #: How its links are named before their place: the campaign, else the template, else the topic.
    name: str

    def link(self, place: int) -> str:
        """Return the value by which reports know a link."""
        return f"{self.name[:150]}#{place}"


def about(
    tenant_id: int,
    day: date,
    stream: str,
    *,
    tags: Mapping[str, str] | None,
    topic: str | None,
    template: str | None,
    campaign: str | None,
    provider: str | None,
) -> About:
    """Return what the hits of a mail count in."""
    dims = counters.dimensions(tags=tags, topic=topic, template=template, campaign=campaign, provider=provider)
    return About(tenant_id, day, str(stream), tuple(dims), campaign or template or topic or "")


def every(hit: Seen) -> Iterable[Fact]:
    """Yield what each hit counts in, however often it comes."""
    what = "opens_total" if hit.place is None else "clicks_total"
    yield None, f"{what}:{hit.verdict.kind}"
    if hit.place is not None:
        yield hit.place, f"{what}:{hit.verdict.kind}"


def once(hit: Seen) -> Iterable[Fact]:
    """Yield what each hit counts in, a mail once."""
    kind, clicked = hit.verdict.kind, hit.place is not None
    what = "clicks" if clicked else "opens"
    yield None, f"{what}:{kind}"
    if clicked:
        yield hit.place, f"{what}:{kind}"
        if kind in _CLICKS:
            yield None, "clicked"
    # A human click implies an open; a proxy that follows a link may have loaded no picture.
    if kind in _READS[what]:
        yield None, "read"
    if kind in _TOUCHES[what]:
        yield None, "touched"


def hour(hit: Seen) -> datetime:
    """Return the hour in which a hit counts."""
    return hit.at.replace(minute=0, second=0, microsecond=0)


def of_mail(hits: Iterable[Seen]) -> Facts:
    """Return all that the hits of one mail count; what counts once does so in the hour of the first."""
    sums: Facts = Sums()
    begun: set[Fact] = set()
    for hit in sorted(hits, key=lambda hit: hit.at):
        fresh = set(once(hit)) - begun
        begun |= fresh
        sums.update((fact, hour(hit)) for fact in (*every(hit), *fresh))
    return sums


def add(tally: Tally, about: About, sums: Facts, *, anonymous: bool = False, hours: bool = True) -> None:
    """Count facts of one mail in all that it is about, and in the hours in which they happened."""
    for ((place, metric), at), amount in sums.items():
        if not amount:
            continue
        dims = about.dims if place is None else ((LINK, about.link(place)),)
        key = (about.tenant_id, about.day, about.stream)
        tally.add(*key, metric, dims, amount, at=at if hours else None)
        if anonymous:
            tally.add(*key, f"{ANONYMOUS}{metric}", dims, amount)


def labels(about: About, sightings: Iterable[Sighting]) -> dict[tuple[int, str], str]:
    """Return how the links that were followed are called, by the tenant and the value by which reports know them."""
    links = [each.hit.link for each in sightings if each.hit.link]
    return {(about.tenant_id, about.link(link.place)): link.label for link in links}
