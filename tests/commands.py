"""`mailer` commands of tests, each a process of its own, forked from one that has loaded everything once.

Loading takes most of what a short command takes. Whoever wants the installed script itself starts it.
"""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: More than any environment and words of a test.
_LONGEST = 1 << 20


def run(
    *words: str, env: Mapping[str, str], cwd: Path | None = None, given: bytes = b"", seconds: float = 180
) -> subprocess.CompletedProcess[str]:
    """Run `mailer` with these words to its end, and return what it said; kill what takes longer than `seconds`."""
    request = json.dumps({"words": words, "env": dict(env), "cwd": str(cwd or ROOT)}).encode()
    with tempfile.TemporaryFile() as asks, tempfile.TemporaryFile() as says, tempfile.TemporaryFile() as complains:
        asks.write(given)
        asks.seek(0)
        ours, theirs = socket.socketpair()
        with ours:
            ours.settimeout(seconds)
            with theirs:
                files = [asks.fileno(), says.fileno(), complains.fileno(), theirs.fileno()]
                socket.send_fds(_server(), [request], files)
            told = ours.makefile("r")
            process = int(told.readline())
            try:
                code = int(told.readline())
            except TimeoutError:
                os.kill(process, signal.SIGKILL)
                raise
            finally:
                told.close()
        said, complained = (_read(each.fileno()) for each in (says, complains))
    return subprocess.CompletedProcess(["mailer", *words], code, said, complained)


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
    with os.fdopen(files[3], "w") as told:
        told.write(f"{process}\n")
        told.flush()
        told.write(f"{os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])}\n")
    return None


def _become(request: Mapping[str, object], files: list[int]) -> list[str]:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for place, each in enumerate(files[:3]):
        os.dup2(each, place)
    for each in files:
        os.close(each)
    env, words = request["env"], request["words"]
    assert isinstance(env, dict)
    assert isinstance(words, list)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(str(request["cwd"]))
    return words


if __name__ == "__main__":
    from mailer import cli, garbage

    with garbage.loading():
        import_module("mailer.cli.failures")
        for part in cli.COMMANDS.values():
            for module in part.modules:
                import_module(f"mailer.cli.{module}")
    asked_for = serve(int(sys.argv[1]))
    if asked_for is not None:
        sys.argv = ["mailer", *asked_for]
        cli.main()
