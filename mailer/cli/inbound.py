"""`mailer inbound`: the process that receives mail, and what it heard."""

from pathlib import Path
from typing import Annotated

import typer
from sqlmodel import Session

from mailer.cli import printing, processes, receiving, running, understanding
from mailer.cli.tenants import Json
from mailer.errors import ConfigurationError
from mailer.feedback import hearing
from mailer.feedback.inbound import Box, Imap, Maildir
from mailer.models import ToldState
from mailer.service import Service
from mailer.web.api.listening import told_view

app = typer.Typer(
    help="Receive bounces, complaints and opt-outs by mail, at the address in MAILER_INBOUND_LISTEN or in other ways.",
    invoke_without_command=True,
)
app.command("parse")(understanding.parse)


@app.callback()
def receive(
    context: typer.Context,
    maildir: Annotated[Path | None, typer.Option(help="Empty this maildir instead: new/ is read and moved.")] = None,
    imap: Annotated[
        str | None, typer.Option(help="Empty this mailbox instead: imaps://user@host/FOLDER; see MAILER_IMAP_PASSWORD.")
    ] = None,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Take one mail from standard input, as a mail server's pipe.")
    ] = False,
    to: Annotated[
        str | None,
        typer.Option(help="Whom the mail of --stdin is for.", envvar=["ORIGINAL_RECIPIENT", "RECIPIENT"]),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Empty --maildir or --imap once, and end.")] = False,
) -> None:
    """Receive bounces, complaints and opt-outs by mail, at the address in MAILER_INBOUND_LISTEN, until stopped."""
    if context.invoked_subcommand is not None:
        return
    if (maildir is not None) + (imap is not None) + stdin > 1:
        raise ConfigurationError("choose one of --maildir, --imap and --stdin")
    if stdin:
        raise typer.Exit(receiving.piped(to))
    settings = running.settings()
    box: Box | None = None
    if maildir is not None:
        box = Maildir(maildir)
    elif imap is not None:
        box = Imap.parse(imap, settings.imap_password)
    if once and box is None:
        raise ConfigurationError("--once goes with --maildir or --imap")
    if box is not None and once:
        receiving.emptied(settings, box)
        return
    processes.run(settings, inlet=box or True, name="receiver of mail")


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
