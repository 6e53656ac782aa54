"""`mailer bench`: how fast this machine sends."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from mailer import bench as benchmark
from mailer.bench import Dkim, Plan, Size
from mailer.cli import printing

_WORDS = {
    "emails_per_second": "emails a second, from the first claim to the last outcome",
    "cpu_seconds_per_1000": "processor seconds of the workers, for 1,000 emails",
    "database_cpu_seconds_per_1000": "processor seconds of PostgreSQL, for 1,000 emails",
    "sink_cpu_seconds_per_1000": "processor seconds of smtp-sink, for 1,000 emails",
    "peak_memory_mb": "most memory of a worker, MB",
    "smtp_source_per_second": "mails a second of smtp-source into the same sink",
    "ratio": "emails a second to those of smtp-source",
    "accepted_per_second": "emails a second accepted before the run, by one process",
}


def add(app: typer.Typer) -> None:
    """Add the command of this group."""
    app.command()(bench)


def bench(
    emails: Annotated[int, typer.Option(min=1, help="How many readers get a mail.")] = 20_000,
    size: Annotated[Size, typer.Option(help="How large a mail is, about.")] = Size.SMALL,
    dkim: Annotated[Dkim, typer.Option(help="With which kind of key mails are signed.")] = Dkim.OFF,
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many workers send; one where embedded.")] = 1,
    connections: Annotated[int, typer.Option(min=1, max=500, help="How many connections a worker opens.")] = 64,
    database: Annotated[str, typer.Option(help="An empty PostgreSQL database; without it SQLite, embedded.")] = "",
    redis: Annotated[str, typer.Option(help="An empty Redis; goes with --database.")] = "",
    throwaway: Annotated[bool, typer.Option("--throwaway", help="Start PostgreSQL and Redis for this run.")] = False,
    suppressed: Annotated[int, typer.Option(min=0, help="How many people are on the suppression list.")] = 0,
    leaving: Annotated[
        int, typer.Option(min=0, max=100, help="How many readers of a hundred are on it, as far as it goes.")
    ] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Send personalised promotional mail to a sink on this machine, and measure it. Nothing leaves this machine."""
    plan = Plan(
        emails=emails,
        size=size,
        dkim=dkim,
        workers=workers,
        connections=connections,
        suppressed=suppressed,
        leaving=leaving,
        database_url=database,
        redis_url=redis,
        throwaway=throwaway,
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bars:
        result = asdict(benchmark.run(plan, _Bars(bars).show))
    if as_json:
        printing.as_json(result)
    else:
        shown = [(_WORDS.get(name, name), value) for name, value in result.items() if value is not None]
        printing.table(("measured", "value"), shown)


class _Bars:
    """A bar for each thing that is done, one after the other."""

    def __init__(self, bars: Progress) -> None:
        """Begin with none."""
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def show(self, what: str, done: int, of: int) -> None:
        """Show how much of it is done."""
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what)
        self._bars.update(self._tasks[what], completed=done, total=of or None)
