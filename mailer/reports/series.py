"""What happened when: counts by hour and by day, in the time in which it happened."""

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import ColumnElement, func, select
from sqlmodel import Session

from mailer.counters import CAMPAIGN_HOUR, FACTS, SEPARATOR, STREAM_HOUR
from mailer.errors import Invalid, Problem
from mailer.models import Campaign
from mailer.reports.figures import COUNTS, Counted, counts
from mailer.reports.reading import chosen
from mailer.reports.spans import Span
from suppression.rules import Stream

#: Figures that say nothing of an hour: what waits, and what is worked out of whole days.
SHOWN = tuple(sorted(COUNTS - {"waiting", "tried", "arrived"}))
_MOST_HOURS = 31
_MOST_DAYS = 366
#: How long a campaign's beginning is -> what it is called.
FIRSTS: Mapping[str, timedelta] = {"24h": timedelta(hours=24), "3d": timedelta(days=3), "7d": timedelta(days=7)}
_HOUR = timedelta(hours=1)


class Step(StrEnum):
    """How long one point of a series lasts."""

    HOUR = "hour"
    DAY = "day"


class Point(NamedTuple):
    """What happened in an hour or a day; what is taken back counts less than 0 where that was learnt."""

    #: When it begins, in the time zone that was asked for.
    at: datetime
    counts: Mapping[str, int]


class Series(NamedTuple):
    """Points without a gap, the oldest first."""

    span: Span
    step: Step
    zone: str
    points: tuple[Point, ...]


class First(NamedTuple):
    """What happened in the beginning of a campaign, by whole hours."""

    name: str
    until: datetime
    #: False while it lasts.
    complete: bool
    counts: Mapping[str, int]


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone by its name; raises `Invalid`."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Invalid(Problem("tz", "must be a time zone such as Europe/Kyiv, or be left out for UTC")) from None


def stream_series(
    session: Session, tenant_id: int, span: Span, step: Step, *, stream: Stream | None = None, zone: ZoneInfo
) -> Series:
    """Return what happened to a tenant's mail in these days of a time zone, whenever it was accepted."""
    _check(span, step)
    where = chosen(tenant_id, _utc(span), [stream] if stream else list(Stream), STREAM_HOUR)
    return _series(_hours(session, where, ""), span, step, zone)


def campaign_series(session: Session, campaign: Campaign, span: Span, step: Step, zone: ZoneInfo) -> Series:
    """Return what happened to a campaign's mail in these days of a time zone."""
    _check(span, step)
    return _series(_of_campaign(session, campaign, _utc(span)), span, step, zone)


def campaign_firsts(session: Session, campaign: Campaign, now: datetime) -> tuple[First, ...]:
    """Return what happened in the beginning of a campaign that has started."""
    begin, hour = _begun(campaign)
    found = _of_campaign(session, campaign, Span(hour.date(), (begin + max(FIRSTS.values())).date()))
    firsts = []
    for name, long in FIRSTS.items():
        until, sums = begin + long, Counted()
        for at, each in found.items():
            # What was added and suppressed before the start is the campaign's, too, and was counted then.
            if hour <= at < until:
                sums.update(each)
        firsts.append(First(name, until, now >= until, _shown(sums)))
    return tuple(firsts)


def campaign_beginning(session: Session, campaign: Campaign, name: str, now: datetime) -> Series:
    """Return hour by hour what happened in the first `24h`, `3d` or `7d` of a campaign, as far as they are over.

    The hours add up to what `campaign_firsts` says.
    """
    if (long := FIRSTS.get(name)) is None:
        raise Invalid(Problem("first", f"must be one of {', '.join(FIRSTS)}"))
    begin, hour = _begun(campaign)
    span = Span(hour.date(), (begin + long).date())
    found, points = _of_campaign(session, campaign, span), list[Point]()
    for number in range(math.ceil((begin + long - hour) / _HOUR)):
        at = hour + number * _HOUR
        if at <= max(now, begin):
            points.append(Point(at, _shown(found.get(at, Counted()))))
    return Series(span, Step.HOUR, "UTC", tuple(points))


def _begun(campaign: Campaign) -> tuple[datetime, datetime]:
    """Return when a campaign started, and the hour of it."""
    begin = campaign.started_at or campaign.created_at
    return begin, begin.replace(minute=0, second=0, microsecond=0)


def _check(span: Span, step: Step) -> None:
    most = _MOST_HOURS if step is Step.HOUR else _MOST_DAYS
    if len(span.days) > most:
        way = " or ask for days" if step is Step.HOUR else ""
        raise Invalid(Problem("from", f"a series by the {step} has at most {most} days: ask for fewer{way}"))


def _utc(span: Span) -> Span:
    """Return the days in UTC that these days of any time zone touch."""
    return Span(span.first - timedelta(days=1), span.last + timedelta(days=1))


def _of_campaign(session: Session, campaign: Campaign, span: Span) -> dict[datetime, Counted]:
    values = [f"{campaign.id}{SEPARATOR}{hour:02}" for hour in range(24)]
    where = chosen(campaign.tenant_id, span, [campaign.stream], CAMPAIGN_HOUR)
    return _hours(session, [*where, FACTS.c.value.in_(values)], f"{campaign.id}{SEPARATOR}")


def _hours(session: Session, where: Iterable[ColumnElement[bool]], prefix: str) -> dict[datetime, Counted]:
    statement = (
        select(FACTS.c.day, FACTS.c.value, FACTS.c.metric, func.sum(FACTS.c.amount))
        .where(*where)
        .group_by(FACTS.c.day, FACTS.c.value, FACTS.c.metric)
    )
    found: dict[datetime, Counted] = {}
    for day, value, metric, amount in session.execute(statement):
        at = datetime(day.year, day.month, day.day, int(value.removeprefix(prefix)), tzinfo=UTC)
        found.setdefault(at, Counted())[metric] += int(amount)
    return found


def _series(found: Mapping[datetime, Counted], span: Span, step: Step, zone: ZoneInfo) -> Series:
    points: dict[datetime, Counted] = {at: Counted() for at in _points(span, step, zone)}
    for hour, sums in found.items():
        # An hour of UTC belongs to where it begins: exact in all time zones but those of half hours.
        local = hour.astimezone(zone)
        at = _midnight(local.date(), zone) if step is Step.DAY else hour
        if at in points:
            points[at].update(sums)
    return Series(span, step, zone.key, tuple(Point(at.astimezone(zone), _shown(sums)) for at, sums in points.items()))


def _points(span: Span, step: Step, zone: ZoneInfo) -> Iterable[datetime]:
    if step is Step.DAY:
        yield from (_midnight(day, zone) for day in span.days)
        return
    at = _midnight(span.first, zone).replace(minute=0)
    end = _midnight(span.last + timedelta(days=1), zone)
    while at < end:
        yield at
        at += _HOUR


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _shown(sums: Counted) -> Mapping[str, int]:
    return counts(sums, SHOWN)
