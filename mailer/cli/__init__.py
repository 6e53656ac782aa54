"""The command line: every command, and what a person reads where one fails."""

import logging
import os
import sys
from typing import Annotated, Protocol, runtime_checkable

import typer

from mailer.cli import (
    alarms,
    benching,
    campaigns,
    dkim,
    doctor,
    emails,
    inbound,
    keys,
    lists,
    logs,
    people,
    people_out,
    postmaster,
    processes,
    rendering,
    reporting,
    rings,
    sending,
    streams,
    suppressions,
    tenants,
    topics,
    tracking,
    trying,
    uncertain,
    users,
    webhooks,
)
from mailer.cli.failures import explain

logger = logging.getLogger(__name__)

_INTERRUPTED = 130

app = typer.Typer(
    name="mailer",
    help="Transactional and promotional email, with opt-outs that hold and open rates that are honest.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@runtime_checkable
class _Usage(Protocol):
    """What the parser raises where the words of a command do not fit."""

    exit_code: int

    def format_message(self) -> str: ...


@app.callback()
def begin(
    debug: Annotated[bool, typer.Option("--debug", help="Log everything, with the place of every failure.")] = False,
) -> None:
    """Begin the log; it stands on stderr."""
    logs.begin(debug=debug)


for group in (trying, processes, sending, rendering, reporting, benching):
    group.add(app)
app.add_typer(inbound.app, name="inbound")
app.add_typer(postmaster.app, name="postmaster")
app.add_typer(emails.app, name="emails")
app.add_typer(campaigns.app, name="campaign")
app.add_typer(uncertain.app, name="uncertain")
app.add_typer(tracking.app, name="tracking")
app.add_typer(streams.app, name="stream")
alarms.add(suppressions.app)
people_out.add(suppressions.app)
lists.add(suppressions.app)
app.add_typer(suppressions.app, name="suppression")
app.add_typer(doctor.app, name="doctor")
app.add_typer(people.app, name="people")
app.add_typer(tenants.app, name="tenant")
app.add_typer(topics.app, name="topic")
app.add_typer(users.app, name="user")
app.add_typer(webhooks.app, name="webhook")
dkim.add(keys.app)
rings.add(keys.app)
app.add_typer(keys.app, name="key")


def main() -> None:
    """Run the command line and end the process with an honest exit code."""
    sys.exit(_run())


def _run() -> int:
    try:
        code = app(prog_name="mailer", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough. What is left in the buffer must not fail once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (KeyboardInterrupt, typer.Abort):
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last one to hear of it: a person reads a sentence, never a traceback
        return _say(error)
    return code if isinstance(code, int) else 0


def _say(error: Exception) -> int:
    """Print what went wrong as one sentence and return the exit code."""
    if isinstance(error, _Usage):
        # The parser names the kind of its own error in the middle of the sentence.
        message = error.format_message().replace("Value error, ", "")
        # A group without a command says its whole help; everything else is a sentence.
        helped = type(error).__name__ == "NoArgsIsHelpError"
        sys.stderr.write(f"{message}\n" if helped else f"mailer: {' '.join(message.split())} (see --help)\n")
        return error.exit_code
    failure = explain(error)
    if failure is None:
        logger.debug("unexpected", exc_info=error)
        sys.stderr.write(
            f"mailer: this should not have happened ({type(error).__name__}); `mailer --debug …` logs the details\n"
        )
        return 1
    logger.debug("%s", type(error).__name__, exc_info=error)
    sys.stderr.write(f"mailer: {failure.sentence}\n")
    return failure.exit_code
