"""Days and moments that somebody types, in a time zone that stands beside them."""

from datetime import UTC, date, datetime
from functools import cache
from zoneinfo import available_timezones

from mailer import reports
from mailer.errors import Invalid, Problem

#: What a user most likely means before they say so.
USUAL = {"en": "UTC", "uk": "Europe/Kyiv"}

#: What stands before the slash in names that are not only kept for old programs.
_REGIONS = frozenset(
    (
        *("Africa", "America", "Antarctica", "Arctic", "Asia"),
        *("Atlantic", "Australia", "Europe", "Indian", "Pacific"),
    )
)


@cache
def zones() -> tuple[str, ...]:
    """Return the names of all time zones, by region and city; UTC first."""
    return "UTC", *sorted(name for name in available_timezones() if name.partition("/")[0] in _REGIONS)


def moment(text: str, zone: str, field: str) -> datetime | None:
    """Return a moment that a browser wrote down without a zone, in UTC; None for an empty one. Raises `Invalid`."""
    if not text:
        return None
    where = reports.zone_of(zone or "UTC")
    try:
        typed = datetime.fromisoformat(text)
        found = typed.replace(tzinfo=where).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(Problem(field, "must be a day and a time such as 2027-03-01T09:30")) from None
    if typed.tzinfo is not None:
        raise Invalid(Problem(field, "must be a time without an offset: the time zone stands beside it"))
    if found.astimezone(where).replace(tzinfo=None) != typed:
        raise Invalid(Problem(field, f"does not exist in {zone}: the clocks go forward in that hour"))
    return found


def day(text: str, field: str) -> date | None:
    """Return a day that a browser wrote down; None for an empty one. Raises `Invalid`."""
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Invalid(Problem(field, "must be a day such as 2027-03-01")) from None


def written(value: datetime | None) -> str:
    """Return a moment as a field for it takes it, in UTC."""
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M}" if value is not None else ""
