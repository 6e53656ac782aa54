"""`mailer suppression alarms` and `undo-alarm`: opt-outs that a scanner may have made."""

import asyncio
from typing import Annotated

import typer
from sqlmodel import Session

from mailer import alarms
from mailer.alarms import Undoing, Undone
from mailer.cli import printing, running
from mailer.cli.suppressions import user
from mailer.cli.tenants import Chosen, Json, chosen
from mailer.service import Service
from mailer.web.api.alarming import alarm_view
from suppression.rules import Ender


def add(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command(name="alarms")(listed)
    app.command(name="undo-alarm")(undo)


def listed(
    campaign: Annotated[str | None, typer.Option(help="Only alarms of this campaign.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 100,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """List scanner alarms, the newest first: many opt-outs of one domain or network soon after delivery."""

    def find(_service: Service, session: Session) -> list[dict[str, object]]:
        owner = chosen(session, tenant)
        return [alarm_view(each) for each in alarms.listing(session, owner, campaign_id=campaign, limit=limit)]

    found = running.read(find)
    if as_json:
        printing.as_json({"data": found})
        return
    columns = ("id", "campaign_id", "kind", "value", "opt_outs", "first_at", "last_at", "undone_at", "note")
    printing.table(columns, ([each[column] for column in columns] for each in found))


def undo(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="The id of the alarm, al_….")],
    note: Annotated[str, typer.Option(help="Why; kept as evidence.")],
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Undo the opt-outs of an alarm; whoever said later or from elsewhere that they want to leave stays away."""
    undone = asyncio.run(_undo(Undoing(identifier, f"{Ender.OPERATOR}:{user()}", note), tenant))
    if as_json:
        printing.as_json({"id": identifier, **undone._asdict()})
    else:
        printing.line(f"{undone.lifted:,} opt-outs are undone, {undone.left_out:,} stand")


async def _undo(what: Undoing, tenant: str | None) -> Undone:
    async with running.opened(running.settings()) as service:
        owner = await service.database.read(lambda session: chosen(session, tenant))
        return await alarms.undo_all(service.database, owner, what, service.now)
