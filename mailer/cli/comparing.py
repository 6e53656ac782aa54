"""`mailer campaign compare` and `who`: is the other one better, and who did what."""

import sys
from typing import Annotated

import typer
from sqlmodel import Session

from mailer import campaigns, reports
from mailer.cli import printing, running
from mailer.cli.reporting import Csv
from mailer.cli.tenants import Chosen, Json, chosen
from mailer.reports import Comparison, Did, Doers
from mailer.service import Service
from mailer.web.reporting import comparison_sheet, doers_csv, doers_sheet

_COLUMNS = ("rate", "first", "second", "difference", "chance", "words")
#: How many are read in one transaction, where all of them are wanted.
_AT_ONCE = 1000


def add(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command()(compare)
    app.command()(who)


def compare(
    first: Annotated[str, typer.Argument(metavar="ID", help="The id of a campaign, ca_….")],
    second: Annotated[str, typer.Argument(metavar="OTHER", help="The id of the one that it is compared with.")],
    tenant: Chosen = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Compare two campaigns: which rates differ, by how much, and whether that can be chance."""

    def find(service: Service, session: Session) -> Comparison:
        owner = chosen(session, tenant)
        both = [campaigns.get(session, owner, each) for each in (first, second)]
        sums = reports.campaign_sums(session, both, service.now())
        return reports.compared(sums[first], sums[second])

    found = running.read(find)
    sheet = comparison_sheet(first, second, found)
    if as_json:
        printing.as_json(sheet.data)
    elif as_csv:
        sys.stdout.write(sheet.csv)
    else:
        rows = [
            (each.name, *map(_share, (each.first, each.second, each.difference, each.chance)), each.words)
            for each in found.differences
        ]
        printing.table(_COLUMNS, rows, title=f"{first}, {second}")
        printing.line(found.note)


def who(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="The id of the campaign, ca_….")],
    did: Annotated[Did, typer.Option(help="What they did.")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most; --csv has all of them.")] = 100,
    after: Annotated[str | None, typer.Option(help="Where the page before ended, as it said.")] = None,
    tenant: Chosen = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """List who opened, clicked, bounced or left; opens and clicks only where they are measured by person."""

    def page(session: Session, limit: int, after: str | None) -> Doers:
        campaign = campaigns.get(session, chosen(session, tenant), identifier)
        return reports.doers(session, campaign, did, limit=limit, after=after)

    async def write_all(service: Service) -> None:
        async def following(after: str | None) -> Doers:
            return await service.database.read(lambda session: page(session, _AT_ONCE, after))

        async for lines in doers_csv(await following(after), following):
            sys.stdout.write(lines)

    if as_csv:
        running.work(write_all)
        return
    found = running.read(lambda _service, session: page(session, limit, after))
    sheet = doers_sheet(found)
    if as_json:
        printing.as_json(sheet.data)
        return
    printing.table(sheet.header, sheet.rows)
    if found.has_more:
        printing.note(f"there are more: --after {found.after}")


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"
