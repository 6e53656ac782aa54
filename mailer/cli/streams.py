"""`mailer stream`: stop a stream, let it go on, see what is in its way."""

from typing import Annotated

import typer
from sqlmodel import Session

from mailer import halts, streams, tenancy
from mailer.cli import printing, running
from mailer.cli.tenants import Json
from mailer.errors import Invalid, Problem
from mailer.halts import Pause
from mailer.service import Service
from suppression.rules import Stream

app = typer.Typer(help="The two streams: pause one, let it go on, see what is in its way.", no_args_is_help=True)

_Stream = Annotated[Stream, typer.Argument(help="The stream.")]
_Tenant = Annotated[
    str | None,
    typer.Option("--tenant", metavar="KEY", help="Only this tenant's promotional mail; left out: everybody's."),
]
_LONGEST_REASON = 500


@app.command()
def pause(
    stream: _Stream,
    reason: Annotated[
        str | None, typer.Option(help="Why; everybody who looks reads it. Left out, one that was given before stays.")
    ] = None,
    tenant: _Tenant = None,
    as_json: Json = False,
) -> None:
    """Send nothing of a stream any more, within a second; mail is still accepted and waits."""
    given = reason.strip() if reason is not None else None
    if given is not None and not 1 <= len(given) <= _LONGEST_REASON:
        raise Invalid(Problem("--reason", f"must have 1 to {_LONGEST_REASON} characters"))

    def stop(service: Service, session: Session) -> Pause:
        return halts.pause(session, stream, given, service.now(), tenant_id=_whose(session, stream, tenant))

    paused = running.commit(stop)
    if as_json:
        printing.as_json({"stream": stream, "paused": True, "reason": paused.reason, "since": paused.since})
    else:
        printing.line(f"{stream} is paused")


@app.command()
def resume(stream: _Stream, tenant: _Tenant = None, as_json: Json = False) -> None:
    """Let a stream go on, within a second."""

    def go_on(service: Service, session: Session) -> bool:
        return halts.resume(session, stream, service.now(), tenant_id=_whose(session, stream, tenant))

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
    rows = [(state.stream, state.summary, f"{state.age.total_seconds():.0f} s") for state in found]
    printing.table(("stream", "state", "oldest due mail waits"), rows)


def _whose(session: Session, stream: Stream, tenant: str | None) -> int | None:
    """Return whose mail is meant, None for everybody's; one tenant's transactional mail is never paused."""
    if tenant is None:
        return None
    if stream is not Stream.PROMOTIONAL:
        raise Invalid(Problem("--tenant", "pauses promotional mail only: leave it out to pause the whole stream"))
    return tenancy.only_tenant(session, tenant).id
