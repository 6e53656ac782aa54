"""`mailer inbound`: the process that receives mail."""

from typing import Annotated

import typer
from sqlmodel import Session

from mailer.cli import printing, processes, running
from mailer.cli.tenants import Json
from mailer.errors import ConfigurationError
from mailer.feedback import hearing
from mailer.models import ToldState
from mailer.service import Service
from mailer.web.api.listening import told_view

app = typer.Typer(
    help="Receive opt-outs by mail, at the address in MAILER_INBOUND_LISTEN.",
    invoke_without_command=True,
)


@app.callback()
def receive(context: typer.Context) -> None:
    """Receive opt-outs by mail, at the address in MAILER_INBOUND_LISTEN, until stopped."""
    if context.invoked_subcommand is not None:
        return
    settings = running.settings()
    if not settings.return_path_domain:
        raise ConfigurationError(
            "set MAILER_RETURN_PATH_DOMAIN to the domain whose mail is sent here: nothing is received without it"
        )
    processes.run(settings, receiving=True, name="receiver of opt-outs by mail")


@app.command()
def unmatched(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 100,
    as_json: Json = False,
) -> None:
    """List reports that found no mail of ours in the last 30 days, the newest first, and why."""

    def find(_service: Service, session: Session) -> list[dict[str, object]]:
        page = hearing.listing(session, ToldState.UNMATCHED, limit=limit)
        return [told_view(told) for told in page.reports]

    found = running.read(find)
    if as_json:
        printing.as_json({"data": found})
        return
    columns = ("id", "heard_at", "kind", "category", "source", "reporter", "recipient", "message_id", "why")
    printing.table(columns, ([each[column] for column in columns] for each in found))
