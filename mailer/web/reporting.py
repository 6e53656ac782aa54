"""Reports as they are shown: each as plain data for JSON, and as a table for CSV, a terminal or a page."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from mailer import reports
from mailer.reports import Comparison, Doers, Estimate, Figure, First, Report, Series, Table


class Sheet(NamedTuple):
    """A report twice: as JSON shows it, and as a table."""

    data: Mapping[str, object]
    header: Sequence[str]
    rows: Sequence[Sequence[object]]

    @property
    def csv(self) -> str:
        """Return the table as CSV, safe for spreadsheets."""
        return reports.sheet(self.header, self.rows)


def numbers_sheet(found: Report) -> Sheet:
    """Return the numbers of a tenant's mail, each with its formula; in the table each stream has a column."""
    data = {
        "from": found.span.first,
        "to": found.span.last,
        "numbers": _numbers(found.figures),
        "suppressed_by": dict(found.suppressed_by),
        "streams": {name: _part(part) for name, part in found.streams.items()},
        "campaigns": {name: _part(part) for name, part in found.campaigns.items()},
    }
    parts = found.streams if len(found.streams) > 1 else {}
    rows = [
        (figure.name, figure.value, *(part.figures[place].value for part in parts.values()), figure.formula)
        for place, figure in enumerate(found.figures)
    ]
    return Sheet(data, ("figure", "all" if parts else "number", *parts, "formula"), rows)


def campaign_sheet(found: Report, firsts: Sequence[First], estimate: Estimate) -> Sheet:
    """Return the numbers of a campaign, what happened in its first days, and how many are likely to read it."""
    data = {
        "numbers": _numbers(found.figures),
        "suppressed_by": dict(found.suppressed_by),
        "first": {
            first.name: {"until": first.until, "complete": first.complete, "counts": dict(first.counts)}
            for first in firsts
        },
        "estimated_open_rate": {
            **estimate._asdict(),
            "interval": estimate.interval._asdict() if estimate.interval else None,
            "providers": [judged._asdict() for judged in estimate.providers],
        },
    }
    header = ("figure", "number", *(f"first {first.name}" for first in firsts), "formula")
    rows = [
        (figure.name, figure.value, *(first.counts.get(figure.name) for first in firsts), figure.formula)
        for figure in found.figures
    ]
    return Sheet(data, header, rows)


def table_sheet(found: Table) -> Sheet:
    """Return numbers side by side; their formulas stand once."""
    figures = found.rows[0].figures if found.rows else ()
    data = {
        "by": found.by,
        "from": found.span.first,
        "to": found.span.last,
        "formulas": {figure.name: figure.formula for figure in figures},
        "data": [
            {"value": row.value, "label": row.label, "numbers": {each.name: each.value for each in row.figures}}
            for row in found.rows
        ],
        "has_more": found.has_more,
    }
    rows = [(row.value, row.label, *(figure.value for figure in row.figures)) for row in found.rows]
    return Sheet(data, (found.by.value, "label", *(figure.name for figure in figures)), rows)


def series_sheet(found: Series) -> Sheet:
    """Return what happened in each hour or day."""
    data = {
        "step": found.step,
        "tz": found.zone,
        "from": found.span.first,
        "to": found.span.last,
        "data": [{"at": point.at.isoformat(), "counts": dict(point.counts)} for point in found.points],
    }
    names = tuple(found.points[0].counts)
    rows = [(point.at, *(point.counts[name] for name in names)) for point in found.points]
    return Sheet(data, (found.step.value, *names), rows)


def comparison_sheet(first: str, second: str, found: Comparison) -> Sheet:
    """Return two campaigns side by side, in words too."""
    rates = [
        {**each._asdict(), "interval": each.interval._asdict() if each.interval else None} for each in found.differences
    ]
    data = {"first": first, "second": second, "rates": rates, "note": found.note}
    header = ("rate", "first", "second", "difference", "from", "to", "chance", "words")
    rows = [
        (each.name, each.first, each.second, each.difference, *(each.interval or (None, None)), each.chance, each.words)
        for each in found.differences
    ]
    return Sheet(data, header, rows)


def doers_sheet(found: Doers) -> Sheet:
    """Return who did something with a campaign."""
    shown = [
        {
            "email_id": each.email_id,
            "to": each.address,
            "name": each.name,
            "provider": each.provider,
            "at": each.at,
            "times": each.times,
            "undone_at": each.undone_at,
        }
        for each in found.people
    ]
    header = ("email_id", "to", "name", "provider", "at", "times", "undone_at")
    data = {"data": shown, "has_more": found.has_more, "after": found.after}
    return Sheet(data, header, [tuple(each[name] for name in header) for each in shown])


async def doers_csv(first: Doers, following: Callable[[str], Awaitable[Doers]]) -> AsyncIterator[str]:
    """Return all who did something as CSV, page after page as it is read: `following` has the page behind an email."""
    page = first
    yield doers_sheet(page).csv
    while page.has_more and page.after:
        page = await following(page.after)
        # Its header stands at the beginning already.
        yield doers_sheet(page).csv.partition("\r\n")[2]


def _numbers(figures: Sequence[Figure]) -> dict[str, object]:
    return {figure.name: {"value": figure.value, "formula": figure.formula} for figure in figures}


def _part(report: Report) -> dict[str, object]:
    return {
        **{figure.name: figure.value for figure in report.figures},
        "suppressed_by": dict(report.suppressed_by),
    }
