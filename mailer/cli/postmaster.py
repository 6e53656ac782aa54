"""`mailer postmaster`: mail that others wrote to whoever runs this installation."""

import sys
from typing import Annotated

import typer

from mailer import postmaster
from mailer.cli import printing, running
from mailer.cli.tenants import Json

app = typer.Typer(help="Mail to postmaster@ the return-path domain.", no_args_is_help=True)


@app.command(name="list")
def listed(
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many at most.")] = 50, as_json: Json = False
) -> None:
    """List what arrived within 30 days, the newest first."""
    found = running.read(lambda _service, session: [each._asdict() for each in postmaster.listing(session, limit)])
    if as_json:
        printing.as_json({"data": found})
        return
    columns = ("id", "at", "sender", "subject")
    printing.table(columns, ([each[column] for column in columns] for each in found))


@app.command()
def show(identifier: Annotated[str, typer.Argument(metavar="ID", help="The id of the mail, pm_….")]) -> None:
    """Write a mail to stdout as it arrived, at most 256 KB of it: `mailer postmaster show ID > mail.eml`."""
    sys.stdout.buffer.write(running.read(lambda _service, session: postmaster.read(session, identifier)))
    sys.stdout.buffer.flush()
