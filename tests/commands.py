"""`mailer` commands of tests, each a process of its own, forked from one that has loaded everything once.

Loading takes most of what a short command takes, and of a start of those that stay. Whoever wants the installed script
itself starts it.
"""

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent
#: More than any environment and words of a test.
_LONGEST = 1 << 20


@dataclass
class Process:
    """A command that was started, with the words of `subprocess.Popen` for it, and what it says."""

    words: Sequence[str]
    pid: int
    #: Files: what it says, what it complains of, and where its exit code comes.
    _says: int
    _complains: int
    _told: int
    returncode: int | None = None

    def __post_init__(self) -> None:
        """Close its files when nobody knows it any more."""
        for each in (self._says, self._complains, self._told):
            weakref.finalize(self, os.close, each)

    @property
    def said(self) -> str:
        """Return what it wrote to stdout so far."""
        return _read(self._says)

    @property
    def complained(self) -> str:
        """Return what it wrote to stderr so far."""
        return _read(self._complains)

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs; below 0 is a signal."""
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            return self.wait()
        return self.returncode

    def wait(self, seconds: float | None = None) -> int:
        """Wait for its end and return its exit code; raises `TimeoutError`."""
        if self.returncode is None:
            if not select.select([self._told], [], [], seconds)[0]:
                raise TimeoutError(f"{self.words} still runs after {seconds} s: {self.said}{self.complained}")
            self.returncode = int(os.read(self._told, 20))
        return self.returncode

    def send_signal(self, which: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, which)

    def terminate(self) -> None:
        """Ask it to stop."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it as a crash would."""
        self.send_signal(signal.SIGKILL)

    def end(self, seconds: float = 30) -> int:
        """Ask it to stop, kill it where it does not, and return its exit code."""
        self.terminate()
        try:
            return self.wait(seconds)
        except TimeoutError:
            self.kill()
            return self.wait()

    def until(self, so: Callable[["Process"], bool], seconds: float = 30) -> None:
        """Wait until something is so with it; fails where it ends before."""
        ends = time.monotonic() + seconds
        while not so(self):
            assert self.poll() is None or so(self), f"{self.words} ended with {self.returncode}: {self.complained}"
            assert time.monotonic() < ends, f"{self.words}: not so after {seconds:g} s: {self.said}{self.complained}"
            time.sleep(0.01)

    def ready(self) -> str:
        """Wait until a server says that it is ready, and return its address."""
        self.until(lambda process: "\n" in process.said)
        line = self.said.splitlines()[0]
        assert line.startswith("ready: http://127.0.0.1:"), line + self.complained
        return line.removeprefix("ready: ")


def start(
    *words: str,
    env: Mapping[str, str],
    cwd: Path | None = None,
    given: bytes = b"",
    log: IO[bytes] | None = None,
    before: Sequence[str] | None = None,
) -> Process:
    """Start `mailer` with these words, in a group of its own, which a process manager signals as a whole.

    With `log` both of what it says goes there. `before` names a program, with its words, that starts it from the
    beginning instead; without any, Python does.
    """
    own = None if before is None else [*before, sys.executable, "-m", "mailer", *words]
    request = json.dumps({"words": words, "env": dict(env), "cwd": str(cwd or ROOT), "own": own}).encode()
    with tempfile.TemporaryFile() as asks, tempfile.TemporaryFile() as says, tempfile.TemporaryFile() as complains:
        asks.write(given)
        asks.seek(0)
        written = [(log or each).fileno() for each in (says, complains)]
        # One packet says who it is, another one how it ended.
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            socket.send_fds(_server(), [request], [asks.fileno(), *written, theirs.fileno()])
            process = int(ours.recv(20))
            said, complained = map(os.dup, written)
            return Process(words, process, said, complained, os.dup(ours.fileno()))


def run(
    *words: str, env: Mapping[str, str], cwd: Path | None = None, given: bytes = b"", seconds: float = 180
) -> subprocess.CompletedProcess[str]:
    """Run `mailer` with these words to its end, and return what it said; kill what takes longer than `seconds`."""
    process = start(*words, env=env, cwd=cwd, given=given)
    try:
        code = process.wait(seconds)
    except TimeoutError:
        process.kill()
        raise
    return subprocess.CompletedProcess(["mailer", *words], code, process.said, process.complained)


def _read(file: int) -> str:
    return os.pread(file, os.fstat(file).st_size, 0).decode()


_servers: list[socket.socket] = []


def _server() -> socket.socket:
    """Return the way to this process's server; it ends with us."""
    if not _servers:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LONGEST)
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

        def end() -> None:
            ours.close()
            process.wait(10)

        atexit.register(end)
        _servers.append(ours)
    return _servers[0]


def serve(file: int) -> list[str] | None:
    """Answer requests until nobody can ask; in the process of a command return its words, else None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whoever waits for a command is a child that nobody waits for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=file) as asked:
        while True:
            request, files, _, _ = socket.recv_fds(asked, _LONGEST, 4)
            if not request:
                return None
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                break
            for each in files:
                os.close(each)
    process = os.fork()
    if process == 0:
        return _become(json.loads(request), files)
    os.write(files[3], str(process).encode())
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    # Perhaps nobody wants to know any more.
    with contextlib.suppress(BrokenPipeError):
        os.write(files[3], str(code).encode())
    return None


def _become(request: Mapping[str, object], files: list[int]) -> list[str]:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for place, each in enumerate(files[:3]):
        os.dup2(each, place)
    for each in files:
        os.close(each)
    env, words, own = request["env"], request["words"], request["own"]
    assert isinstance(env, dict)
    assert isinstance(words, list)
    os.setsid()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(str(request["cwd"]))
    if isinstance(own, list):
        os.execvp(own[0], own)
    return words


if __name__ == "__main__":
    from mailer import cli, interpreter

    with interpreter.loading():
        import_module("mailer.cli.failures")
        for part in cli.COMMANDS.values():
            for module in part.modules:
                import_module(f"mailer.cli.{module}")
    asked_for = serve(int(sys.argv[1]))
    if asked_for is not None:
        sys.argv = ["mailer", *asked_for]
        cli.main()
