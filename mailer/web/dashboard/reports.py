"""Reports: all mail of some days, by stream, topic, template, tag, mailbox provider, campaign or link, and in time."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from sqlmodel import Session
from starlette.responses import Response

from mailer import reports
from mailer.errors import Invalid, NotFound
from mailer.reports import By, Figure, Report, Series, Span, Step, Table
from mailer.users.permissions import May
from mailer.web.dashboard import drawing, moments
from mailer.web.dashboard.asking import Asked, Screen
from mailer.web.dashboard.campaigns import SHARED
from mailer.web.dashboard.sheets import spreadsheet
from mailer.web.reporting import Sheet, numbers_sheet, series_sheet, table_sheet
from suppression.rules import Stream

#: Spans that are chosen by their length.
DAYS = (7, 30, 90, 365)
_USUAL = 30
#: Up to so many days are shown hour by hour.
_BY_HOUR, _BY_DAY = 2, 100
#: How many rows a page has; the file has more.
_ROWS, _ROWS_OF_FILE = 50, 500
OVER_TIME = ("sent", "opened", "clicked", "bounced")
COLUMNS: Sequence[str] = (
    *("requested", "sent", "bounce_rate", "opened", "open_rate", "opens_machine", "clicked", "click_rate"),
    *("left", "unsubscribe_rate", "complaint_rate"),
)
#: Rows that have other figures than mail has.
_COLUMNS_OF: Mapping[By, Sequence[str]] = {
    By.PROVIDER: tuple(name for name in COLUMNS if name != "requested"),
    By.LINK: ("clicks_human", "clicks_total", "clicks_proxy", "clicks_machine", "clicks_unknown"),
}


class _Chosen(NamedTuple):
    """Which mail is looked at, and how."""

    by: By
    stream: Stream | None
    span: Span
    zone: str
    #: Empty where days are named one by one.
    days: str

    @property
    def step(self) -> Step:
        """Return how long a point lasts."""
        days = len(self.span.days)
        return Step.HOUR if days <= _BY_HOUR else Step.DAY if days <= _BY_DAY else Step.WEEK


class _Seen(NamedTuple):
    figures: Sequence[Figure]
    table: Table
    #: None where there are too many days for one picture.
    series: Series | None


async def show(asked: Asked) -> Response:
    """Show what became of the mail of some days, and what happened in them."""
    try:
        chosen = _chosen(asked)
    except Invalid as error:
        asked.problems = error.problems
        chosen = _Chosen(By.STREAM, None, Span.of(asked.now, days=_USUAL), "UTC", str(_USUAL))
    seen = await asked.read(partial(_look, asked, chosen))
    numbers = {figure.name: figure.value for figure in seen.figures}
    columns = _COLUMNS_OF.get(chosen.by, COLUMNS)
    kept = {
        **{name: asked.query(name, 60) for name in ("by", "stream", "days", "from", "to", "tz")},
        "days": chosen.days,
    }
    return asked.page(
        "reports.html",
        {
            **SHARED,
            "called": {"from": "from_day", "to": "to_day", "tz": "time_zone"},
            "chosen": chosen,
            "kept": kept,
            "ways": list(By),
            "streams": list(Stream),
            "lengths": DAYS,
            "zones": moments.zones(),
            "numbers": numbers,
            "figures_all": seen.figures,
            "written": partial(drawing.written, asked),
            "over_time": drawing.over_time(asked, seen.series.points, OVER_TIME, seen.series.step)
            if seen.series
            else None,
            "classes": drawing.by_class(asked, numbers),
            "columns": columns,
            "rows": drawing.table(asked, seen.table, columns),
            "has_more": seen.table.has_more,
        },
    )


def _chosen(asked: Asked) -> _Chosen:
    """Return what the address asks for; raises `Invalid` for days and time zones that there are not."""
    by, stream, days = asked.query("by", 20), asked.query("stream", 20), asked.query("days", 5)
    first, last = moments.day(asked.query("from", 20), "from"), moments.day(asked.query("to", 20), "to")
    named = first is not None or last is not None
    length = int(days) if days.isascii() and days.isdigit() and int(days) in DAYS else _USUAL
    zone = reports.zone_of(asked.query("tz", 60) or "UTC").key
    return _Chosen(
        By(by) if by in set(By) else By.STREAM,
        Stream(stream) if stream in set(Stream) else None,
        Span.of(asked.now, days=length, first=first, last=last),
        zone,
        "" if named else str(length),
    )


def _look(asked: Asked, chosen: _Chosen, session: Session) -> _Seen:
    try:
        series = _series(asked, chosen, session, OVER_TIME)
    except Invalid:
        series = None
    streams = [chosen.stream] if chosen.stream else list(Stream)
    total = reports.added(reports.stream_sums(session, asked.tenant_id, chosen.span, streams).values())
    return _Seen(reports.figures(total), _table(asked, chosen, session, _ROWS), series)


def _report(asked: Asked, chosen: _Chosen, session: Session) -> Report:
    return reports.report(session, asked.tenant_id, chosen.span, stream=chosen.stream)


def _table(asked: Asked, chosen: _Chosen, session: Session, limit: int) -> Table:
    return reports.table(session, asked.tenant_id, chosen.span, chosen.by, stream=chosen.stream, limit=limit)


def _series(asked: Asked, chosen: _Chosen, session: Session, names: Collection[str] = reports.IN_SERIES) -> Series:
    zone, stream = reports.zone_of(chosen.zone), chosen.stream
    return reports.stream_series(
        session, asked.tenant_id, chosen.span, chosen.step, stream=stream, zone=zone, names=names
    )


_SHEETS: Mapping[str, Callable[[Asked, _Chosen, Session], Sheet]] = {
    "numbers": lambda asked, chosen, session: numbers_sheet(_report(asked, chosen, session)),
    "table": lambda asked, chosen, session: table_sheet(_table(asked, chosen, session, _ROWS_OF_FILE)),
    "time": lambda asked, chosen, session: series_sheet(_series(asked, chosen, session)),
}


async def download(asked: Asked) -> Response:
    """Return a table of it for a spreadsheet, as the API has it."""
    what, chosen = asked.param("what"), _chosen(asked)
    if (verb := _SHEETS.get(what)) is None:
        raise NotFound("there is no such table")
    name = f"by-{chosen.by}" if what == "table" else what
    return spreadsheet(name, await asked.read(partial(verb, asked, chosen)))


SCREENS = (
    Screen("/reports", May.SEE_REPORTS, show),
    Screen("/reports/{what}.csv", May.SEE_REPORTS, download),
)
