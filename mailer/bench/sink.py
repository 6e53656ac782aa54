"""The relay of a benchmark: postfix's smtp-sink, which takes every mail, and smtp-source, which fills it by itself."""

import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from mailer.bench.watching import Child, child
from mailer.errors import ConfigurationError, MailerError

#: Debian keeps them out of most people's PATH.
_PLACES = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
_BACKLOG = "1000"
_SESSIONS = 16
_PATIENCE = 10.0


class Sink(NamedTuple):
    """A running smtp-sink."""

    port: int
    child: Child


def program(name: str, package: str) -> str:
    """Return where a program lies, or raise `ConfigurationError` that says what to install."""
    found = shutil.which(name, path=_PLACES)
    if found is None:
        raise ConfigurationError(f"{name} is not installed: it comes with Debian's package {package}")
    return found


def free_port() -> int:
    """Return a loopback port that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until_open(port: int, listener: Child) -> None:
    """Wait until somebody listens on a loopback port."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        listener.check()
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.02)
    raise MailerError(f"the {listener.name} does not listen on port {port}")


@contextmanager
def running(folder: Path) -> Iterator[Sink]:
    """Start smtp-sink on a free port."""
    port = free_port()
    # It refuses to run as root.
    user = ["-u", "nobody"] if os.getuid() == 0 else []
    command = [program("smtp-sink", "postfix"), *user, f"127.0.0.1:{port}", _BACKLOG]
    with child("smtp-sink", command, folder) as process:
        until_open(port, process)
        yield Sink(port, process)


def fill(sink: Sink, size: int, number: int) -> float:
    """Let smtp-source send so many mails of so many bytes over 16 connections that stay; return mails a second."""
    source = program("smtp-source", "postfix")
    people = ["-f", "source@bench.example", "-t", "sink@bench.example"]
    counts = ["-d", "-s", str(_SESSIONS), "-l", str(size), "-m", str(number)]
    began = time.perf_counter()
    with child("smtp-source", [source, *counts, *people, f"127.0.0.1:{sink.port}"], sink.child.log.parent) as process:
        process.until_ends()
    return number / (time.perf_counter() - began)
