"""What a list of ten million people who have left costs each mail: the same run with the list and without.

python -m tests.benchmarks.suppressions [ENTRIES] [EMAILS]
"""

import json
import subprocess
import sys


def cpu(entries: str, emails: str) -> tuple[float, float]:
    """Return the processor seconds for 1,000 emails, of the worker and of PostgreSQL."""
    words = ["--emails", emails, "--throwaway", "--suppressed", entries, "--leaving", "0", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "mailer", "bench", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    found = json.loads(done.stdout)
    return found["cpu_seconds_per_1000"], found["database_cpu_seconds_per_1000"]


def main() -> None:
    """Measure without, with, and without again, so that a machine that grew slower shows."""
    given = dict(enumerate(sys.argv))
    entries, emails = given.get(1, "10000000"), given.get(2, "50000")
    sums = []
    for number in ("0", entries, "0"):
        worker, database = cpu(number, emails)
        sums.append(worker + database)
        print(f"{int(number):>12,} entries: worker {worker:.3f}, PostgreSQL {database:.3f} CPU s for 1,000 emails")
    print(f"ratio {2 * sums[1] / (sums[0] + sums[2]):.3f} (wanted: at most 1.15)")


if __name__ == "__main__":
    main()
