"""`mailer report`: numbers, each with its formula beside it."""

from typing import Annotated

import typer
from sqlmodel import Session

from mailer import reports
from mailer.cli import printing, running
from mailer.cli.tenants import Chosen, Json, chosen
from mailer.reports import Figure, Report, Span
from mailer.service import Service
from mailer.web.api.showing import report_view
from suppression.rules import Stream


def add(app: typer.Typer) -> None:
    """Add the command of this group."""
    app.command()(report)


def report(
    stream: Annotated[Stream | None, typer.Option(help="Only this stream.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only emails of this tag, `name=value`.")] = None,
    days: Annotated[int, typer.Option(min=1, max=3660, help="The last days, today included.")] = 30,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Print the numbers of the emails that were accepted in these days (UTC)."""

    def find(service: Service, session: Session) -> Report:
        span = Span.of(service.now(), days=days)
        return reports.report(session, chosen(session, tenant), span, stream=stream, tag=tag)

    found = running.read(find)
    if as_json:
        printing.as_json({"from": found.span.first, "to": found.span.last, **report_view(found)})
        return
    parts = found.streams if len(found.streams) > 1 else {}
    rows = [
        (figure.name, shown(figure), *(shown(part.figures[place]) for part in parts.values()), figure.formula)
        for place, figure in enumerate(found.figures)
    ]
    title = f"{found.span.first} to {found.span.last}" + (f", {stream}" if stream else "") + (f", {tag}" if tag else "")
    printing.table(("figure", "all" if parts else "number", *parts, "formula"), rows, title=title)
    if found.suppressed_by:
        printing.table(("suppressed by", "emails"), found.suppressed_by.items())
    if found.campaigns:
        _campaigns(found)


def _campaigns(found: Report) -> None:
    names = ("requested", "sent", "bounced", "open_rate", "unsubscribe_rate")
    rows = []
    for name, part in found.campaigns.items():
        figures = {figure.name: shown(figure) for figure in part.figures}
        rows.append((name, *(figures[each] for each in names)))
    printing.table(("campaign", *names), rows)


def shown(figure: Figure) -> str:
    """Return a figure as people read it."""
    if figure.value is None:
        return "–"
    if figure.name.endswith(("_rate", "coverage")):
        return f"{figure.value:.2%}"
    return f"{figure.value:,.0f}"
