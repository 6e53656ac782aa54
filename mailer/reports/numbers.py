"""The numbers of a tenant's mail, of each stream, and of each tag `campaign=`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import func, select
from sqlmodel import Session

from mailer.counters import ALL, FACTS
from mailer.errors import Invalid, Problem
from mailer.reports.figures import Counted, Figure, added, figures, reasons
from mailer.reports.reading import since_ever, sums_by, within
from mailer.reports.spans import Span
from suppression.rules import Stream

#: The tag by which campaigns are told apart.
CAMPAIGN = "campaign="
_MOST_CAMPAIGNS = 200


@dataclass(frozen=True, slots=True)
class Report:
    """The numbers of some emails, of each stream, and of each campaign."""

    span: Span
    figures: tuple[Figure, ...]
    #: Reason -> how many.
    suppressed_by: Mapping[str, int]
    streams: Mapping[str, "Report"]
    campaigns: Mapping[str, "Report"]


def report(
    session: Session, tenant_id: int, span: Span, *, stream: Stream | None = None, tag: str | None = None
) -> Report:
    """Return the numbers of the emails that were accepted in these days."""
    if tag is not None and "=" not in tag:
        raise Invalid(Problem("tag", "must be written name=value"))
    streams = [stream] if stream else list(Stream)
    what = ("tag", tag[:160]) if tag is not None else ALL
    facts = within(tenant_id, span, streams, what[0]).c
    sums = sums_by(session, facts.stream, facts.value == what[1])
    campaigns: dict[str, Counted] = {}
    if tag is None:
        tags = within(tenant_id, span, streams, "tag").c
        campaigns = sums_by(session, tags.value, tags.value.startswith(CAMPAIGN, autoescape=True))
    total = added(sums.values())
    return Report(
        span,
        figures(total),
        reasons(total),
        {each.value: _part(span, sums.get(each.value, Counted())) for each in streams},
        {name.removeprefix(CAMPAIGN): _part(span, sums) for name, sums in _largest(campaigns.items())},
    )


def stream_sums(session: Session, tenant_id: int, span: Span, streams: Sequence[Stream]) -> Mapping[Stream, Counted]:
    """Return what was counted of a tenant's mail of each of these streams, accepted in these days."""
    facts = within(tenant_id, span, streams, ALL[0]).c
    found = sums_by(session, facts.stream)
    return {stream: found.get(stream.value, Counted()) for stream in streams}


def daily_sums(session: Session, tenant_id: int, span: Span) -> Mapping[Stream, Mapping[date, Counted]]:
    """Return the same of each stream and day, the days in order."""
    where = (FACTS.c.tenant_id == tenant_id, FACTS.c.day.in_(span.days), FACTS.c.dimension == ALL[0])
    key = (FACTS.c.stream, FACTS.c.day, FACTS.c.metric)
    found = {stream: {day: Counted() for day in span.days} for stream in Stream}
    for stream, day, metric, amount in session.execute(
        select(*key, func.sum(FACTS.c.amount)).where(*where, FACTS.c.stream.in_(list(Stream))).group_by(*key)
    ):
        found[Stream(stream)][day][metric] = int(amount)
    return found


def totals(session: Session) -> list[tuple[str, str, int]]:
    """Return every tenant's sums together, by stream and metric, since the beginning."""
    facts = since_ever().c
    key = (facts.stream, facts.metric)
    statement = select(*key, func.sum(facts.amount)).group_by(*key).order_by(*key)
    return [(stream, metric, int(amount)) for stream, metric, amount in session.execute(statement)]


def _largest(campaigns: Iterable[tuple[str, Counted]]) -> list[tuple[str, Counted]]:
    return sorted(campaigns, key=lambda each: (-each[1]["requested"], each[0]))[:_MOST_CAMPAIGNS]


def _part(span: Span, sums: Counted) -> Report:
    return Report(span, figures(sums), reasons(sums), {}, {})
