"""PostgreSQL and Redis of a run's own: every write is as durable as these servers make it unless they are told."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from mailer.bench.sink import free_port, program, until_open
from mailer.bench.watching import child, cpu_seconds
from mailer.errors import ConfigurationError

_DEBIAN = Path("/usr/lib/postgresql")
#: Room that any operator gives it; fsync, full_page_writes and synchronous_commit stay as they are: on.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
}


#: Its fast shutdown: whoever is connected still is sent away.
_FAST = signal.SIGINT


class Servers(NamedTuple):
    """Where the data of a run lies, and which process keeps it."""

    database_url: str
    redis_url: str
    #: The process of PostgreSQL that all its others descend from; None where the servers were given.
    postmaster: int | None = None

    def cpu(self) -> float | None:
        """Return the processor seconds that PostgreSQL has used; None where its process is not ours."""
        return None if self.postmaster is None else cpu_seconds(self.postmaster, family=True)


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Start both on free loopback ports, with their data in the folder, and stop them by their ids."""
    with ExitStack() as stack:
        port, postmaster = stack.enter_context(_postgresql(folder))
        redis = stack.enter_context(_redis(folder))
        yield Servers(f"postgresql://postgres@127.0.0.1:{port}/postgres", f"redis://127.0.0.1:{redis}/0", postmaster)


@contextmanager
def _postgresql(folder: Path) -> Iterator[tuple[int, int]]:
    binaries, data, port = _binaries(), folder / "postgresql", free_port()
    data.mkdir()
    # PostgreSQL refuses to run as root.
    user: list[str | Path] = []
    if os.getuid() == 0:
        user = [program("setpriv", "util-linux"), "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        folder.chmod(0o711)
        shutil.chown(data, "nobody")
    initdb = [*user, binaries / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C"]
    with child("initdb", initdb, folder) as process:
        process.until_ends()
    options = [f"-c{name}={value}" for name, value in _SETTINGS.items()]
    command = [*user, binaries / "postgres", "-D", data, "-p", str(port), *options]
    with child("PostgreSQL", command, folder, goodbye=_FAST) as process:
        process.until_says("ready to accept connections")
        yield port, process.process.pid


@contextmanager
def _redis(folder: Path) -> Iterator[int]:
    data, port = folder / "redis", free_port()
    data.mkdir()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(data)]
    with child("Redis", [program("redis-server", "redis-server"), *options], folder) as process:
        until_open(port, process)
        yield port


def _binaries() -> Path:
    """Return the folder of PostgreSQL's programs: Debian's newest, else where PATH finds them."""
    debian = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parent.parent.name.partition(".")[0]))
    if debian:
        return debian[-1].parent
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    raise ConfigurationError("PostgreSQL is not installed: it comes with Debian's package postgresql")
