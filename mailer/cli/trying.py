"""`mailer demo`: see everything work, with nothing to install or configure."""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from mailer import demo as play
from mailer.cli import printing
from mailer.cli.processes import Host, Port
from mailer.errors import Invalid, MailerError, Problem
from mailer.service import Service
from mailer.settings import Settings
from mailer.web import serve as web
from suppression.rules import Stream

_BOTH = frozenset(Stream)


def add(app: typer.Typer) -> None:
    """Add the command of this group."""
    app.command()(demo)


def demo(
    once: Annotated[bool, typer.Option("--once", help="Send the samples, print what became of each, exit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: print JSON.")] = False,
    host: Host = "127.0.0.1",
    port: Port = 8000,
) -> None:
    """Send a sample company's mail to the built-in inbox, and serve it to be looked at. Nothing leaves this machine."""
    settings = play.settings(os.environ)
    if once:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            outcomes = runner.run(_once(settings))
        _print(outcomes, as_json=as_json)
        if waiting := play.unsettled(outcomes):
            raise MailerError(f"{waiting} emails were not settled within {play.PATIENCE.total_seconds():.0f} seconds")
    elif as_json:
        raise Invalid(Problem("--json", "goes with --once"))
    else:
        web.run(settings, host, port, streams=_BOTH, ticking=True, started=_beside)


async def _once(settings: Settings) -> list[play.Outcome]:
    service = Service.build(settings)
    try:
        await service.prepare()
        await service.start(streams=_BOTH, ticking=True)
        return await _play(service)
    finally:
        await service.stop()


async def _beside(service: Service, url: str) -> None:
    outcomes = await _play(service)
    stopped = sum(outcome.status == "suppressed" for outcome in outcomes)
    printing.note(
        f"{len(outcomes)} sample emails: {len(outcomes) - stopped} captured, {stopped} suppressed (opted out)"
    )
    printing.note(f"dashboard:  {url}/app/enter/{await play.way_in(service)}")
    printing.note(f"read them:  {url}/inbox")
    printing.note(f"the API:    {url}/docs")
    printing.note(f"kept in:    {service.settings.folder.resolve()}")
    printing.note("stop it:    Ctrl-C")
    began = time.monotonic()
    with _bar() as bar:
        # Everything answers meanwhile: it is lived in small transactions, which let others go first.
        task = bar.add_task("a week of sample history", total=None)
        number = await play.live(service, lambda done, total: bar.update(task, completed=done, total=total))
    if number is not None:
        took = time.monotonic() - began
        printing.note(f"history:    {number} more sample emails of the last seven days, made in {took:.0f} s")


async def _play(service: Service) -> list[play.Outcome]:
    with _bar() as bar:
        task = bar.add_task("sending the samples", total=None)
        return await play.play(service, lambda done, total: bar.update(task, completed=done, total=total))


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def _print(outcomes: Sequence[play.Outcome], *, as_json: bool) -> None:
    if as_json:
        printing.as_json({"emails": [outcome._asdict() for outcome in outcomes]})
        return
    printing.table(("id", "to", "stream", "template", "status", "why"), outcomes)
    sums = Counter((outcome.stream, outcome.status) for outcome in outcomes)
    totals = [(stream, status, number) for (stream, status), number in sorted(sums.items())]
    printing.table(("stream", "status", "emails"), totals)
