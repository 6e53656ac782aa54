"""Whether the memory of a worker grows in a long run: it is looked at once a second.

python -m tests.benchmarks.memory [EMAILS]
"""

import re
import subprocess
import sys
import time
from pathlib import Path


def worker_of(bench: int) -> int | None:
    """Return the process of the worker that a benchmark has started."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == bench and words[2:5] == [b"mailer", b"worker", b"promotional"]:
            return int(path.name)
    return None


def resident(pid: int) -> float | None:
    """Return the memory that a process has resident now, in MB."""
    try:
        found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 / 1e6 if found else None


def main() -> None:
    """Run the benchmark with one worker, and print the worker's memory at each tenth of its life."""
    emails = sys.argv[1] if len(sys.argv) > 1 else "1000000"
    command = [sys.executable, "-m", "mailer", "bench", "--emails", emails, "--throwaway", "--json"]
    seen: list[float] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as bench:
        worker = None
        while bench.poll() is None:
            worker = worker or worker_of(bench.pid)
            if worker is not None and (now := resident(worker)) is not None:
                seen.append(now)
            time.sleep(1)
        assert bench.stdout is not None
        print(bench.stdout.read().strip())
    if not seen:
        print("no worker was seen: the run was too short")
        return
    print("resident MB at each tenth of the run:", *(f"{seen[len(seen) * n // 10]:.0f}" for n in range(10)))
    print(f"last {seen[-1]:.0f} MB, most {max(seen):.0f} MB, over {len(seen)} s")


if __name__ == "__main__":
    main()
