"""`mailer inbound`: the process that receives mail."""

import typer

from mailer.cli import processes, running, understanding
from mailer.errors import ConfigurationError

app = typer.Typer(
    help="Receive opt-outs by mail, at the address in MAILER_INBOUND_LISTEN.",
    invoke_without_command=True,
)
app.command("parse")(understanding.parse)


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
