"""`mailer stream`: stop a stream, let it go on, see what is in its way."""

from typing import Annotated

import typer
from sqlmodel import Session

from mailer import halts, streams
from mailer.cli import printing, running
from mailer.cli.tenants import Json
from mailer.errors import Invalid, Problem
from mailer.halts import Pause
from mailer.service import Service
from suppression.rules import Stream

app = typer.Typer(help="The two streams: pause one, let it go on, see what is in its way.", no_args_is_help=True)

_Stream = Annotated[Stream, typer.Argument(help="The stream.")]
_LONGEST_REASON = 500


@app.command()
def pause(
    stream: _Stream,
    reason: Annotated[
        str | None, typer.Option(help="Why; everybody who looks reads it. Left out, one that was given before stays.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Send nothing of a stream any more, within a second; mail is still accepted and waits."""
    given = reason.strip() if reason is not None else None
    if given is not None and not 1 <= len(given) <= _LONGEST_REASON:
        raise Invalid(Problem("--reason", f"must have 1 to {_LONGEST_REASON} characters"))

    def stop(service: Service, session: Session) -> Pause:
        return halts.pause(session, stream, given, service.now())

    paused = running.commit(stop)
    if as_json:
        printing.as_json({"stream": stream, "paused": True, "reason": paused.reason, "since": paused.since})
    else:
        printing.line(f"{stream} is paused")


@app.command()
def resume(stream: _Stream, as_json: Json = False) -> None:
    """Let a stream go on, within a second."""

    def go_on(service: Service, session: Session) -> bool:
        return halts.resume(session, stream, service.now())

    changed = running.commit(go_on)
    if as_json:
        printing.as_json({"stream": stream, "paused": False, "changed": changed})
    else:
        printing.line(f"{stream} goes on" if changed else f"{stream} was not paused")


@app.command()
def status(as_json: Json = False) -> None:
    """Show both streams: paused or going, which relays rest and why, how long mail waits."""

    def look(service: Service, session: Session) -> list[streams.State]:
        return list(streams.states(session, service.settings, service.now()))

    found = running.read(look)
    if as_json:
        printing.as_json({"data": [state.view() for state in found]})
        return
    rows = [(state.stream, state.words, f"{state.age.total_seconds():.0f} s") for state in found]
    printing.table(("stream", "state", "oldest due mail waits"), rows)
