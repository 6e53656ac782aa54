"""What the hits of one mail say together: rules that one request alone cannot decide (`classes.toml`). Pure."""

from collections import Counter as Sums
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from mailer.feedback.tracking.classes import TABLE
from mailer.feedback.tracking.sightings import Class, Sighting, Verdict


class Burst(NamedTuple):
    """So many different links of one mail, followed within a time, are a machine's."""

    id: str
    links: int
    within: timedelta


class Seen(NamedTuple):
    """One hit of a mail: when, at which link (None: the picture), and what it is by itself."""

    at: datetime
    place: int | None
    verdict: Verdict


#: The hidden link's place in a mail.
HIDDEN = 0
BURSTS = tuple(Burst(row["id"], row["links"], timedelta(seconds=row["seconds"])) for row in TABLE["bursts"])
_AT_ONCE = timedelta(seconds=TABLE["at_once"]["seconds"])
_AT_ONCE_SAYS = Verdict(Class.MACHINE, TABLE["at_once"]["id"])
_HIDDEN_SAYS = Verdict(Class.MACHINE, TABLE["hidden"]["id"])


def seen(sighting: Sighting) -> Seen:
    """Return what a hit is judged by."""
    link = sighting.hit.link
    return Seen(sighting.at, link.place if link is not None else None, sighting.verdict)


def judge(hits: Sequence[Seen], sent_at: datetime | None) -> list[Seen]:
    """Return the hits of one mail, each with its verdict among the others; who is a machine by itself stays what it is.

    `sent_at` is when the relay took the mail, or when it was asked to; None where nobody knows.
    """
    spans = [
        (burst.id, first - burst.within, last + burst.within) for burst in BURSTS for first, last in _spans(burst, hits)
    ]
    return [hit._replace(verdict=_judged(hit, sent_at, spans)) for hit in hits]


def _judged(hit: Seen, sent_at: datetime | None, spans: Sequence[tuple[str, datetime, datetime]]) -> Verdict:
    if hit.place == HIDDEN:
        return _HIDDEN_SAYS
    if hit.verdict.kind is Class.MACHINE:
        return hit.verdict
    if sent_at is not None and hit.at - sent_at < _AT_ONCE:
        return _AT_ONCE_SAYS
    rule = next((rule for rule, first, last in spans if first <= hit.at <= last), None)
    return Verdict(Class.MACHINE, rule) if rule is not None else hit.verdict


def _spans(burst: Burst, hits: Sequence[Seen]) -> list[tuple[datetime, datetime]]:
    """Return when bursts began and ended: times in which enough different links were followed."""
    clicks = sorted((hit.at, hit.place) for hit in hits if hit.place)
    spans: list[tuple[datetime, datetime]] = []
    inside: Sums[int] = Sums()
    first = 0
    for at, place in clicks:
        inside[place] += 1
        while at - clicks[first][0] > burst.within:
            inside[clicks[first][1]] -= 1
            inside += Sums()  # Drops what is at nought.
            first += 1
        if len(inside) >= burst.links:
            began = clicks[first][0]
            if spans and began <= spans[-1][1]:
                began = spans.pop()[0]
            spans.append((began, at))
    return spans
