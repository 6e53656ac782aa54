"""The command line: every command, and what a person reads where one fails."""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Annotated, Any, NamedTuple, Protocol, cast, runtime_checkable

import typer
from typer.core import TyperCommand, TyperGroup

from mailer import interpreter
from mailer.cli import logs

logger = logging.getLogger(__name__)

_INTERRUPTED = 130


class Part(NamedTuple):
    """A command or a group of them: what it is for, and the modules that hold it; later ones add to the first's."""

    help: str
    modules: Sequence[str]


#: A command loads its own modules and no others: half of what a short command costs is loading.
COMMANDS: Mapping[str, Part] = {
    "demo": Part(
        "Send a sample company's mail to the built-in inbox, and serve it to be looked at. "
        "Nothing leaves this machine.",
        ["trying"],
    ),
    "serve": Part("Serve everything in one process: web, workers of both streams, clock.", ["processes"]),
    "web": Part(
        "Serve HTTP alone; workers and clock run beside it. Without MAILER_REDIS_URL this is `serve`.", ["processes"]
    ),
    "worker": Part("Send the mail of one stream, beside `web` and `clock`.", ["processes"]),
    "clock": Part(
        "Do what is due without anybody asking, beside `web` and `worker`; of several one ticks.", ["processes"]
    ),
    "migrate": Part(
        "Bring the database to the version of this program; on PostgreSQL nothing else does.", ["processes"]
    ),
    "send": Part("Send an email: it is stored at once, and goes out by the server or workers that run.", ["sending"]),
    "render": Part("Show a template, filled with its own examples and what you give; nothing is sent.", ["rendering"]),
    "report": Part("Print the numbers of the emails that were accepted in these days (UTC).", ["reporting"]),
    "recount": Part(
        "Work out the counters of some days again from the emails themselves, and put right what differs.",
        ["reporting"],
    ),
    "bench": Part(
        "Send personalised promotional mail to a sink on this machine, and measure it. Nothing leaves this machine.",
        ["benching"],
    ),
    "inbound": Part(
        "Receive bounces, complaints and opt-outs by mail, at the address in MAILER_INBOUND_LISTEN or in other ways.",
        ["inbound"],
    ),
    "postmaster": Part("Mail to postmaster@ the return-path domain.", ["postmaster"]),
    "emails": Part("Emails that were accepted, and what became of them.", ["emails"]),
    "campaign": Part("Campaigns: one mail to many people on one topic.", ["campaigns", "comparing"]),
    "uncertain": Part(
        "Mail that a crash left in doubt: it may have gone, and is not sent twice unless you say so.", ["uncertain"]
    ),
    "tracking": Part("Opens and clicks: who it was, and what they count.", ["tracking"]),
    "stream": Part("The two streams: pause one, let it go on, see what is in its way.", ["streams"]),
    "suppression": Part("The list of what forbids mail.", ["suppressions", "alarms", "people_out", "lists"]),
    "doctor": Part("Tests of this installation.", ["doctor"]),
    "people": Part("What people may ask of us.", ["people"]),
    "tenant": Part("Senders: the company itself, and its customers.", ["tenants"]),
    "topic": Part("Topics: what people can leave.", ["topics"]),
    "user": Part("Users of the dashboard.", ["users"]),
    "webhook": Part("Webhooks: programs that are told what happens.", ["webhooks"]),
    "key": Part("Keys of product code.", ["keys", "dkim", "rings"]),
}


class _Commands(TyperGroup):
    """Every command by name and purpose; the one that is run is loaded."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = {name: TyperCommand(name, help=part.help) for name, part in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name is not None else command, rest


def load(name: str) -> TyperCommand | TyperGroup:
    """Return a command with all that it needs."""
    with interpreter.loading():
        first, *others = [import_module(f"mailer.cli.{module}") for module in COMMANDS[name].modules]
    holder = getattr(first, "app", None)
    if holder is None:
        first.add(holder := typer.Typer())
        return cast("TyperCommand", typer.main.get_group(holder).commands[name])
    for module in others:
        module.add(holder)
    group = typer.main.get_group(holder)
    group.name = name
    return group


app = typer.Typer(
    cls=_Commands,
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
    # What explains failures knows every part that can fail: a command that goes well does not wait for it.
    failures = import_module("mailer.cli.failures")
    failure = failures.explain(error)
    if failure is None:
        logger.debug("unexpected", exc_info=error)
        sys.stderr.write(
            f"mailer: this should not have happened ({type(error).__name__}); `mailer --debug …` logs the details\n"
        )
        return 1
    logger.debug("%s", type(error).__name__, exc_info=error)
    sys.stderr.write(f"mailer: {failure.sentence}\n")
    code: int = failure.exit_code
    return code
