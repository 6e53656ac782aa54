"""What happened when: counts by hour and by day, in the time in which it happened."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import reduce
from itertools import groupby, pairwise
from operator import add, itemgetter
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import BigInteger, ColumnElement, cast, func, select
from sqlmodel import Session

from mailer.counters import HOURLY, HOURS
from mailer.errors import Invalid, Problem
from mailer.models import Campaign
from mailer.reports.figures import COUNTS, Counted, counts, metrics_of
from mailer.reports.reading import objects
from mailer.reports.spans import Span
from suppression.rules import Stream

#: Figures that say nothing of an hour: what waits, and what is worked out of whole days.
IN_SERIES = COUNTS - {"waiting", "tried", "arrived"}
#: How long a campaign's beginning is -> what it is called.
FIRSTS: Mapping[str, timedelta] = {"24h": timedelta(hours=24), "3d": timedelta(days=3), "7d": timedelta(days=7)}
_HOUR, _DAY, _EPOCH = timedelta(hours=1), timedelta(days=1), date(1970, 1, 1)

Conditions = Sequence[ColumnElement[bool]]


class Step(StrEnum):
    """How long one point of a series lasts."""

    HOUR = "hour"
    DAY = "day"
    #: From a Monday on; of the first and the last week those days that were asked for.
    WEEK = "week"


#: How many days a series may have.
_MOST: Mapping[Step, int] = {Step.HOUR: 31, Step.DAY: 366, Step.WEEK: 1830}


class Point(NamedTuple):
    """What happened in an hour, a day or a week; what is taken back counts less than 0 where that was learnt."""

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
    session: Session,
    tenant_id: int,
    span: Span,
    step: Step,
    *,
    stream: Stream | None = None,
    zone: ZoneInfo,
    names: Collection[str] = IN_SERIES,
) -> Series:
    """Return what happened to a tenant's mail in these days of a time zone, whenever it was accepted.

    Asked for some figures by their names, it reads what these are made of alone.
    """
    return _series(session, _happened(tenant_id, [stream] if stream else list(Stream)), span, step, zone, names)


def campaign_series(
    session: Session, campaign: Campaign, span: Span, step: Step, zone: ZoneInfo, names: Collection[str] = IN_SERIES
) -> Series:
    """Return what happened to a campaign's mail in these days of a time zone."""
    return _series(session, _of_campaign(campaign), span, step, zone, names)


def campaign_firsts(session: Session, campaign: Campaign, now: datetime) -> tuple[First, ...]:
    """Return what happened in the beginning of a campaign that has started."""
    begin, hour = _begun(campaign)
    span = Span(hour.date(), (begin + max(FIRSTS.values())).date())
    found = _by_hour(session, _of_campaign(campaign), span)
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
    found, points = _by_hour(session, _of_campaign(campaign), span), list[Point]()
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
    if len(span.days) > (most := _MOST[step]):
        way = "" if step is Step.WEEK else " or ask for longer steps"
        raise Invalid(Problem("from", f"a series by the {step} has at most {most} days: ask for fewer{way}"))


def _happened(tenant_id: int, streams: Sequence[Stream], campaign_id: str = "") -> Conditions:
    """Return what finds the hours of a campaign, or all those of the streams."""
    return (
        HOURLY.c.tenant_id == tenant_id,
        HOURLY.c.stream.in_([stream.value for stream in streams]),
        HOURLY.c.campaign_id == campaign_id,
    )


def _of_campaign(campaign: Campaign) -> Conditions:
    return _happened(campaign.tenant_id, [campaign.stream], campaign.id)


def _series(
    session: Session, where: Conditions, span: Span, step: Step, zone: ZoneInfo, names: Collection[str]
) -> Series:
    _check(span, step)
    if (metrics := metrics_of(names)) is not None:
        where = [*where, HOURLY.c.metric.in_(sorted(metrics))]
    found: dict[datetime, Counted] = defaultdict(Counted)
    if step is Step.HOUR:
        # The days in UTC that these days of any time zone touch.
        found |= _by_hour(session, where, Span(span.first - _DAY, span.last + _DAY))
    else:
        for day, sums in _by_day(session, where, span, zone).items():
            found[_midnight(day if step is Step.DAY else _week_of(day, span), zone)].update(sums)
    points = (Point(at.astimezone(zone), counts(found.get(at, Counted()), names)) for at in _points(span, step, zone))
    return Series(span, step, zone.key, tuple(points))


def _by_hour(session: Session, where: Conditions, span: Span) -> dict[datetime, Counted]:
    found: dict[datetime, Counted] = {}
    for day, *counted in _read(session, where, span, [(hour, hour + 1) for hour in range(24)]):
        found.update((datetime.combine(day, time(hour), UTC), sums) for hour, sums in enumerate(counted))
    return found


def _by_day(session: Session, where: Conditions, span: Span, zone: ZoneInfo) -> dict[date, Counted]:
    """Return what happened in the days of a time zone.

    An hour of UTC belongs to where it begins: exact in all time zones but those of half hours.
    """
    found: dict[date, Counted] = defaultdict(Counted)
    for pieces, some in groupby(_pieces(span, zone).items(), key=itemgetter(1)):
        days = [day for day, _ in some]
        hours = [(piece.begin, piece.end) for piece in pieces]
        for day, *counted in _read(session, where, Span(days[0], days[-1]), hours):
            for piece, sums in zip(pieces, counted, strict=True):
                found[day + piece.later * _DAY].update(sums)
    return found


class _Piece(NamedTuple):
    """Hours of a day in UTC that belong to one day of a time zone: that many days later."""

    later: int
    begin: int
    end: int


def _pieces(span: Span, zone: ZoneInfo) -> Mapping[date, Sequence[_Piece]]:
    """Return of what hours of which days in UTC the days consist; summer time moves where they are cut."""
    found: dict[date, list[_Piece]] = {}
    begins = [math.ceil(_midnight(day, zone).timestamp() / 3600) for day in (*span.days, span.last + _DAY)]
    for local, (begin, end) in zip(span.days, pairwise(begins), strict=True):
        for day in range(begin // 24, (end - 1) // 24 + 1):
            utc, hours = _EPOCH + day * _DAY, (max(0, begin - day * 24), min(24, end - day * 24))
            found.setdefault(utc, []).append(_Piece((local - utc).days, *hours))
    return found


def _read(
    session: Session, where: Conditions, span: Span, pieces: Sequence[tuple[int, int]]
) -> Iterator[tuple[Any, ...]]:
    """Yield each day, and what was counted in each of these spans of its hours."""
    hours = [HOURLY.c[name] for name in HOURS]
    names = [f"piece_{place}" for place in range(len(pieces))]
    sums = (
        cast(func.sum(reduce(add, hours[begin:end])), BigInteger).label(name)
        for name, (begin, end) in zip(names, pieces, strict=True)
    )
    key = (HOURLY.c.day, HOURLY.c.metric)
    counted = select(*key, *sums).where(*where, HOURLY.c.day.between(span.first, span.last)).group_by(*key)
    return objects(session, counted.subquery(), "day", *names)


def _points(span: Span, step: Step, zone: ZoneInfo) -> Iterable[datetime]:
    if step is not Step.HOUR:
        days = span.days if step is Step.DAY else sorted({_week_of(day, span) for day in span.days})
        yield from (_midnight(day, zone) for day in days)
        return
    at = _midnight(span.first, zone).replace(minute=0)
    end = _midnight(span.last + timedelta(days=1), zone)
    while at < end:
        yield at
        at += _HOUR


def _week_of(day: date, span: Span) -> date:
    """Return the first day of a day's week that is among those asked for."""
    return max(span.first, day - day.weekday() * _DAY)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _shown(sums: Counted) -> Mapping[str, int]:
    return counts(sums, IN_SERIES)
