"""`mailer report`: numbers, each with its formula beside it; side by side, in time, or as CSV."""

import sys
from collections.abc import Sequence
from datetime import date, datetime
from enum import StrEnum
from functools import partial
from typing import Annotated

import typer
from sqlmodel import Session

from mailer import reports
from mailer.cli import printing, running
from mailer.cli.tenants import Chosen, Json, chosen
from mailer.errors import Invalid, Problem
from mailer.reports import By, Figure, Report, Span, Step
from mailer.service import Service
from mailer.web.reporting import Sheet, numbers_sheet, series_sheet, table_sheet
from suppression.rules import Stream

#: What a terminal has room for, of many things side by side.
_SHOWN = ("requested", "sent", "bounced", "open_rate", "click_rate", "unsubscribe_rate")
_SHOWN_OF = {By.LINK: ("clicks_human", "clicks_proxy", "clicks_machine", "clicks_total")}
_HAPPENED = ("sent", "bounced", "opened", "clicked", "unsubscribed", "complained")
Csv = Annotated[bool, typer.Option("--csv", help="Print it as CSV, with every figure.")]


class Sorting(StrEnum):
    """What the rows of a report are."""

    STREAM = By.STREAM.value
    TOPIC = By.TOPIC.value
    TEMPLATE = By.TEMPLATE.value
    CAMPAIGN = By.CAMPAIGN.value
    TAG = By.TAG.value
    PROVIDER = By.PROVIDER.value
    LINK = By.LINK.value
    HOUR = Step.HOUR.value
    DAY = Step.DAY.value
    WEEK = Step.WEEK.value


_IN_TIME = (Sorting.HOUR, Sorting.DAY, Sorting.WEEK)


def add(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command()(report)
    app.command()(recount)


def report(
    stream: Annotated[Stream | None, typer.Option(help="Only this stream.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only emails of this tag, `name=value`.")] = None,
    days: Annotated[int, typer.Option(min=1, max=3660, help="The last days, today included.")] = 30,
    by: Annotated[Sorting | None, typer.Option(help="One row for each; hour, day and week: when it happened.")] = None,
    tz: Annotated[str, typer.Option(help="The time zone of hours, days and weeks.")] = "UTC",
    tenant: Chosen = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Print the numbers of the emails that were accepted in these days (UTC)."""

    def find(service: Service, session: Session) -> tuple[Sheet, Report | None]:
        owner, span = chosen(session, tenant), Span.of(service.now(), days=days)
        if by is None:
            told = reports.report(session, owner, span, stream=stream, tag=tag)
            return numbers_sheet(told), told
        if tag is not None:
            raise Invalid(Problem("tag", "is for the report without --by: leave one of them out"))
        if by in _IN_TIME:
            step, zone = Step(by), reports.zone_of(tz)
            return series_sheet(reports.stream_series(session, owner, span, step, stream=stream, zone=zone)), None
        return table_sheet(reports.table(session, owner, span, By(by), stream=stream)), None

    sheet, told = running.read(find)
    if as_json:
        printing.as_json(sheet.data)
    elif as_csv:
        sys.stdout.write(sheet.csv)
    elif told is not None:
        _print(told, ", ".join(filter(None, (stream, tag))))
    elif by is not None:
        wanted = _HAPPENED if by in _IN_TIME else _SHOWN_OF.get(By(by), _SHOWN)
        print_sheet(sheet, wanted)


def recount(
    first: Annotated[str, typer.Argument(metavar="FROM", help="The first day, such as 2027-03-01 (UTC).")],
    last: Annotated[str | None, typer.Argument(metavar="TO", help="The last day; without it, one day.")] = None,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Work out the counters of some days again from the emails themselves, and put right what differs."""
    begin = _day("FROM", first)
    end = _day("TO", last) if last is not None else begin
    if end < begin:
        raise Invalid(Problem("TO", "must not be before FROM"))

    async def work(service: Service) -> int:
        owner, wrong = await service.database.read(lambda session: chosen(session, tenant)), 0
        for day in Span(begin, end).days:
            wrong += len(await service.database.run(partial(reports.recount, tenant_id=owner, day=day)))
        return wrong

    wrong = running.work(work)
    if as_json:
        printing.as_json({"from": begin, "to": end, "wrong": wrong})
    else:
        printing.line(f"{begin} to {end}: {wrong:,} counters were wrong and are right now")


def _day(name: str, said: str) -> date:
    try:
        return date.fromisoformat(said)
    except ValueError:
        raise Invalid(Problem(name, "must be a day such as 2027-03-01")) from None


def print_sheet(sheet: Sheet, wanted: Sequence[str]) -> None:
    """Print the few columns of a wide table that a terminal has room for: --csv has them all."""
    columns = [name for name in sheet.header if name in wanted]
    places = [sheet.header.index(name) for name in columns]
    labelled = "label" in sheet.header
    rows = []
    for row in sheet.rows:
        name = f"{row[1]} ({row[0]})" if labelled and row[1] != row[0] else row[0]
        rows.append(
            (
                _shown(sheet.header[0], name),
                *(_shown(column, row[place]) for column, place in zip(columns, places, strict=True)),
            )
        )
    printing.table((sheet.header[0], *columns), rows)


def _print(found: Report, about: str) -> None:
    parts = found.streams if len(found.streams) > 1 else {}
    rows = [
        (figure.name, shown(figure), *(shown(part.figures[place]) for part in parts.values()), figure.formula)
        for place, figure in enumerate(found.figures)
    ]
    title = f"{found.span.first} to {found.span.last}" + (f", {about}" if about else "")
    printing.table(("figure", "all" if parts else "number", *parts, "formula"), rows, title=title)
    if found.suppressed_by:
        printing.table(("suppressed by", "emails"), found.suppressed_by.items())
    if found.campaigns:
        _campaigns(found)


def _campaigns(found: Report) -> None:
    rows = []
    for name, part in found.campaigns.items():
        figures = {figure.name: shown(figure) for figure in part.figures}
        rows.append((name, *(figures[each] for each in _SHOWN)))
    printing.table(("campaign", *_SHOWN), rows)


def shown(figure: Figure) -> str:
    """Return a figure as people read it."""
    return _shown(figure.name, figure.value)


def _shown(name: str, value: object) -> str:
    if not isinstance(value, int | float):
        return "–" if value is None else f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else str(value)
    return f"{value:.2%}" if name.endswith(("_rate", "coverage")) else f"{value:,.0f}"
