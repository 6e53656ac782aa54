"""Child processes that are measured: what they used of the processors and of memory, read from /proc."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mailer.bench import interrupts
from mailer.errors import ConfigurationError, MailerError

_PATIENCE = 30.0
_LOOK = 0.01
_PROC = Path("/proc")
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def need_proc() -> None:
    """Raise `ConfigurationError` where processes cannot be measured."""
    if not (_PROC / "self" / "stat").exists():
        raise ConfigurationError("`mailer bench` reads what processes use from /proc: run it on Linux")


def cpu_seconds(pid: int, *, family: bool = False) -> float:
    """Return the processor time that a process has used, user and system; with `family` also its children's."""
    return _used(pid, family=family) / os.sysconf("SC_CLK_TCK")


def _used(pid: int, *, family: bool) -> int:
    fields = _stat(pid)
    if not family:
        return sum(fields[11:13])
    # proc(5): 11 to 14 are utime, stime, and both of the children that have ended already.
    return sum(fields[11:15]) + sum(sum(fields[11:13]) for fields in _children(pid))


def _children(parent: int) -> Iterator[Sequence[int]]:
    for path in _PROC.glob("[0-9]*"):
        try:
            fields = _stat(int(path.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[1] == parent:
            yield fields


def _stat(pid: int) -> Sequence[int]:
    """Return the fields of /proc/PID/stat after the name, which may hold anything; the state's letter counts as 0."""
    text = (_PROC / str(pid) / "stat").read_text()
    return [0, *map(int, text.rpartition(")")[2].split()[1:])]


def peak_memory(pid: int) -> float:
    """Return the most memory that a process has had resident, in MB (10^6 bytes)."""
    found = _PEAK.search((_PROC / str(pid) / "status").read_text())
    return int(found[1]) * 1024 / 1e6 if found else 0.0


@dataclass
class Child:
    """One of our processes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    #: What its start alone has used.
    used: float = 0.0

    def until_says(self, pattern: str) -> str:
        """Wait until it has said a line, and return it; raises `MailerError` where it ends or stays silent."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            said = self.log.read_text("utf-8", "replace")
            if found := re.search(pattern, said, re.MULTILINE):
                self.used = cpu_seconds(self.process.pid)
                return found[0]
            self.check()
            time.sleep(_LOOK)
        raise MailerError(f"the {self.name} did not start within {_PATIENCE:.0f} seconds: {self._last()}")

    def until_ends(self) -> None:
        """Wait for its end; raises `MailerError` where it failed."""
        while self.process.poll() is None:
            interrupts.check()
            time.sleep(_LOOK)
        if self.process.returncode:
            raise MailerError(f"the {self.name} failed with {self.process.returncode}: {self._last()}")

    def check(self) -> None:
        """Raise `MailerError` where it has ended by itself, and `Interrupted` where the run is to end."""
        interrupts.check()
        if self.process.poll() is not None:
            raise MailerError(f"the {self.name} ended with {self.process.returncode}: {self._last()}")

    @property
    def cpu(self) -> float:
        """Return the processor seconds since it said that it runs."""
        return cpu_seconds(self.process.pid) - self.used

    def _last(self) -> str:
        lines = [line.strip() for line in self.log.read_text("utf-8", "replace").split("\n") if line.strip()]
        # The very last one may only tell what follows from the reason.
        return "; ".join(lines[-3:]) or "it said nothing"


@contextmanager
def child(
    name: str,
    command: Sequence[str | Path],
    folder: Path,
    *,
    env: Mapping[str, str] | None = None,
    goodbye: int = signal.SIGTERM,
) -> Iterator[Child]:
    """Run a process whose words go to a file of the folder; `goodbye` ends it in order, by its id."""
    log = folder / f"{name.replace(' ', '-')}.log"
    with log.open("wb") as said:
        # In a group of its own: a terminal interrupts all of ours at once, and it would end before what it works for.
        process = subprocess.Popen(  # noqa: S603 - a program of ours, or one that was looked up
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=env, process_group=0
        )
    try:
        yield Child(name, process, log)
    finally:
        _end(process, goodbye)


def _end(process: subprocess.Popen[bytes], goodbye: int) -> None:
    """End a process in order, and at once where it does not."""
    if process.poll() is None:
        process.send_signal(goodbye)
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
