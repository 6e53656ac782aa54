"""The processes: all in one, or web, worker and clock each alone; and the migration before them."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from mailer import interpreter, secrets, signals, tenancy
from mailer import migrate as migrations
from mailer.cli import running
from mailer.cli.printing import note
from mailer.errors import ConfigurationError
from mailer.feedback.inbound import Box
from mailer.service import Service
from mailer.settings import Settings
from mailer.web import serve as web
from suppression.rules import Stream

Host = Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 for every one of this machine.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 for any free one.", envvar="PORT")]

_BOTH = frozenset(Stream)
_RELAYS = ("MAILER_TRANSACTIONAL_RELAY", "MAILER_PROMOTIONAL_RELAY")


def add(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command()(serve)
    app.command(name="web")(web_alone)
    app.command()(worker)
    app.command()(clock)
    app.command()(migrate)


def serve(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Serve everything in one process: web, workers of both streams, clock."""
    settings = running.settings()
    said = _Said(settings)
    web.run(settings, host, port, streams=_BOTH, ticking=True, started=said.say)


def web_alone(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Serve HTTP alone; workers and clock run beside it. Without MAILER_REDIS_URL this is `serve`."""
    settings = running.settings()
    if not settings.redis_url:
        serve(host, port)
        return
    _need_relays(settings)
    web.run(settings, host, port, started=_Said(settings).say)


def worker(stream: Annotated[Stream, typer.Argument(help="The stream whose mail it sends.")]) -> None:
    """Send the mail of one stream, beside `web` and `clock`."""
    settings = _scaled("worker")
    _need_relays(settings)
    run(settings, streams=frozenset({stream}), name=f"worker of the {stream} stream")


def clock() -> None:
    """Do what is due without anybody asking, beside `web` and `worker`; of several one ticks."""
    run(_scaled("clock"), ticking=True, name="clock")


def migrate() -> None:
    """Bring the database to the version of this program; on PostgreSQL nothing else does."""
    settings = running.settings()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        progress.add_task("migrating the database")
        if settings.on_postgresql:
            asyncio.run(migrations.upgrade_postgresql(settings.database_url))
        else:
            migrations.upgrade_sqlite(_file(settings))
    note(f"the database has version {migrations.newest()}")


def _file(settings: Settings) -> Path:
    default = secrets.data_folder(settings) / "mailer.db"
    return Path(settings.database_url.removeprefix("sqlite:///")) if settings.database_url else default


class _Said:
    """What a start made up, told once it serves: what was there before is not worth a line."""

    def __init__(self, settings: Settings) -> None:
        """Look at what is there."""
        self._settings = settings
        self._fresh = [name for name in ("secret-keys", "suppression-key") if not (settings.folder / name).exists()]

    async def say(self, service: Service, url: str) -> None:
        """Tell on stderr what stands for the settings that are not set."""
        settings, folder = self._settings, self._settings.folder.resolve()
        if not settings.database_url or self._made_up:
            note(f"data folder: {folder} (MAILER_DATA_DIR)")
        if self._made_up:
            note(f"made up and kept in the data folder: {', '.join(self._made_up)}; keep a copy, opt-outs need them")
        if not settings.sender(Stream.TRANSACTIONAL) or not settings.sender(Stream.PROMOTIONAL):
            note(f"no From is set (MAILER_FROM): mail is from {tenancy.MADE_UP}")
        if service.captures:
            note(f"mail is captured, not sent: {url}/inbox")

    @property
    def _made_up(self) -> list[str]:
        return [name for name in self._fresh if (self._settings.folder / name).exists()]


def _scaled(command: str) -> Settings:
    settings = running.settings()
    if not settings.redis_url:
        raise ConfigurationError(
            f"`mailer {command}` alone needs MAILER_REDIS_URL; without it `mailer serve` does everything in one process"
        )
    return settings


def _need_relays(settings: Settings) -> None:
    """The inbox of one process is not seen by the others, so capturing belongs to `serve` or has to be asked for."""
    relays = (settings.transactional_relay, settings.promotional_relay)
    if missing := [name for name, relay in zip(_RELAYS, relays, strict=True) if not relay]:
        raise ConfigurationError(
            f"set {' and '.join(missing)}: a relay such as smtp://user:password@host:587, or inbox:"
        )


def run(
    settings: Settings,
    *,
    name: str,
    streams: frozenset[Stream] = frozenset(),
    ticking: bool = False,
    inlet: Box | bool = False,
) -> None:
    """Do one part of the work until a signal ends it."""

    async def until_stopped() -> None:
        stopping = asyncio.Event()
        service = Service.build(settings)
        with signals.heard(stopping.set):
            try:
                await service.prepare()
                await service.start(streams=streams, ticking=ticking, inlet=inlet)
                interpreter.settle(sending=bool(streams))
                note(f"the {name} runs (process {os.getpid()})")
                await stopping.wait()
            finally:
                await service.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(until_stopped())
