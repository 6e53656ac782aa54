"""The whole matrix of `mailer bench`, written into docs/benchmarks.md with the commands that made it.

python -m tests.benchmarks.matrix [--quick]
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- matrix: begin -->\n", "<!-- matrix: end -->\n"
COLUMNS = (
    ("emails/s", "emails_per_second"),
    ("smtp-source/s", "smtp_source_per_second"),
    ("ratio", "ratio"),
    ("worker CPU s/1,000", "cpu_seconds_per_1000"),
    ("PostgreSQL CPU s/1,000", "database_cpu_seconds_per_1000"),
    ("peak MB", "peak_memory_mb"),
    ("sent", "sent"),
    ("suppressed", "suppressed"),
    ("failed", "failed"),
    ("uncertain", "uncertain"),
)
ENGINES = ((), ("--throwaway",), ("--throwaway", "--workers", "2"))


def variants(*, quick: bool) -> Iterator[list[str]]:
    """Return the options of each run: every engine, size and key, then lists of people who have left."""
    emails = "5000" if quick else "100000"
    entries = "100000" if quick else "10000000"
    for engine, size, dkim in product(ENGINES, ("4k", "30k"), ("off", "rsa", "ed25519")):
        yield ["--emails", emails, "--size", size, "--dkim", dkim, *engine]
    for engine, leaving in product(ENGINES[1:], ("0", "20")):
        yield ["--emails", emails, *engine, "--suppressed", entries, "--leaving", leaving]


def measure(options: Sequence[str]) -> str:
    """Run one variant and return its row; where it cannot run, the row says why."""
    command = f"`mailer bench {' '.join(options)}`"
    words = [sys.executable, "-m", "mailer", "bench", *options, "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"| {command} | {done.stderr.strip()} |" + " |" * (len(COLUMNS) - 1)
    found = json.loads(done.stdout)
    cells = ["" if found[name] is None else f"{found[name]:,}" for _, name in COLUMNS]
    return " | ".join((f"| {command}", *cells)) + " |"


def machine() -> str:
    """Return what the figures were measured on."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit.stdout.strip()}, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores of {model.partition(': ')[2] or platform.machine()}, load before the run {load:.1f}."
    )


def write(lines: Sequence[str]) -> None:
    """Put the rows where the rows of the last time stand."""
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    PAGE.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + rest.partition(END)[2])


def main() -> None:
    """Run every variant; what is done already is on the page if the rest is given up."""
    names = [name for name, _ in COLUMNS]
    lines = [machine(), "", " | ".join(("| command", *names)) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for options in variants(quick="--quick" in sys.argv):
        lines.append(measure(options))
        print(lines[-1], flush=True)
        write(lines)


if __name__ == "__main__":
    main()
