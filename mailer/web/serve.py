"""Serves HTTP: binds the address first, builds the parts, says when it answers, and ends in order."""

import asyncio
import logging
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import uvicorn
import uvloop
from starlette.applications import Starlette

from mailer import interpreter, signals
from mailer.errors import ConfigurationError
from mailer.service import Service
from mailer.settings import Settings
from mailer.web.app import create_app
from suppression.rules import Stream

logger = logging.getLogger(__name__)

Started = Callable[[Service, str], Awaitable[None]]

#: Requests in flight get this long at the end.
_GRACE = 5
#: A connection that nobody uses is kept for so many seconds: longer than clients and proxies keep theirs (libraries 5,
#: nginx and load balancers 60), or a request of theirs meets its closing and is answered by nothing.
_KEPT = 75
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - what these addresses are called from here


class Server(uvicorn.Server):
    """A server that leaves signals to us: after the last answer there is mail in flight to finish."""

    def __init__(self, app: Starlette) -> None:
        """Take an application to serve."""
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEPT,
                timeout_graceful_shutdown=_GRACE,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals as they are."""
        yield

    def stop(self) -> None:
        """End once open requests are answered; asked again, at once."""
        self.force_exit = self.should_exit
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """Return a socket bound to the address, any free port for 0; raises `ConfigurationError` where it cannot be had."""
    if not 0 <= port <= 65535:
        raise ConfigurationError(f"the port must be a number from 0 to 65535, not {port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"the host {host} is no address of this machine: leave out --host") from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        # Listening now, not later: two that share the port by SO_REUSEADDR would both believe they have it.
        bound.listen(2048)
    except OSError as error:
        bound.close()
        raise ConfigurationError(
            f"port {port} of {host} cannot be used ({error.strerror}): "
            "stop the program that has it, or choose another one with --port (0 = any free port)"
        ) from error
    return bound


def local_url(bound: socket.socket) -> str:
    """Return the address at which a bound socket answers on this machine."""
    host, port = bound.getsockname()[:2]
    shown = _ANYWHERE.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def run(
    settings: Settings,
    host: str,
    port: int,
    *,
    streams: frozenset[Stream] = frozenset(),
    ticking: bool = False,
    started: Started | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; `started` is called with the service once it answers."""
    with listen(host, port) as bound, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, bound, streams, ticking, started))


async def _serve(
    settings: Settings, bound: socket.socket, streams: frozenset[Stream], ticking: bool, started: Started | None
) -> None:
    url = local_url(bound)
    service = Service.build(settings, local_url=url)
    server = Server(create_app(service))
    with signals.heard(server.stop):
        try:
            await service.prepare()
            # Whoever sends from here receives here too: one process for everything.
            listens = bool(streams and settings.return_path_domain)
            await service.start(streams=streams, ticking=ticking, inlet=listens)
            interpreter.settle(sending=bool(streams))
            serving = asyncio.create_task(server.serve(sockets=[bound]))
            await _announce(server, serving, url)
            if started is not None and not serving.done():
                await _beside(server, serving, started(service, url))
            await serving
        finally:
            await service.stop()
    logger.info("stopped")


async def _announce(server: uvicorn.Server, serving: asyncio.Task[None], url: str) -> None:
    """Say the line that scripts wait for, once it is true."""
    while not server.started:
        if serving.done() or server.should_exit:
            return
        await asyncio.sleep(0.01)
    sys.stdout.write(f"ready: {url}\n")
    sys.stdout.flush()


async def _beside(server: uvicorn.Server, serving: asyncio.Task[None], work: Awaitable[None]) -> None:
    """Do something while the server serves; where it fails, the server ends too."""
    working = asyncio.ensure_future(work)
    await asyncio.wait([working, serving], return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        return
    if working.exception() is not None:
        server.should_exit = True
        await serving
        working.result()
