"""How well bounces are understood: the confusion matrix over a folder of labelled mails.

python -m tests.benchmarks.bounces FOLDER [--labels FILE] [--wrong]

FOLDER holds raw mails; FILE (FOLDER/labels.tsv) says what each is, in the form that tests/bounces/labels.py tells.
"""

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from mailer.cli.understanding import kind_of
from mailer.feedback.inbound.parsing import read
from tests.bounces.labels import Label, labels


class Outcome(NamedTuple):
    """What was understood of a mail, beside what it is."""

    label: Label
    kind: str
    hard: bool
    category: str | None
    rule: str
    seconds: float


def outcome(label: Label, raw: bytes) -> Outcome:
    """Return what is understood of one mail."""
    start = time.perf_counter()
    reading = read(raw)
    took = time.perf_counter() - start
    first = next(iter(reading.reports), None)
    hard = any(report.hard for report in reading.reports)
    rule = first.rule if first else reading.dropped or ""
    return Outcome(label, kind_of(reading), hard, first.category if first else None, rule, took)


def precision(outcomes: list[Outcome]) -> tuple[float, float]:
    """Return precision and recall of "hard" over the mails whose label says yes or no."""
    told = Counter((each.hard, each.label.hard) for each in outcomes if each.label.hard is not None)
    right = told[True, True]
    return right / max(1, right + told[True, False]), right / max(1, right + told[False, True])


def _print(outcomes: list[Outcome], *, wrong: bool) -> None:
    kinds = Counter((each.label.kind, each.kind) for each in outcomes)
    words = sorted({word for pair in kinds for word in pair})
    print(f"{'is / taken for':16}" + "".join(f"{word:>11}" for word in words))
    for real in words:
        print(f"{real:16}" + "".join(f"{kinds[real, taken]:>11}" for taken in words))
    for truth in (True, False):
        same = [each for each in outcomes if each.label.hard is truth]
        taken = sum(each.hard for each in same)
        print(f"{'hard' if truth else 'not hard':16} taken for hard {taken}, not {len(same) - taken}")
    exact = [each for each in outcomes if each.label.category and each.label.kind == "bounce"]
    print("hard: precision {:.3f}, recall {:.3f}".format(*precision(outcomes)))
    print(f"category right: {sum(each.category == each.label.category for each in exact)} of {len(exact)}")
    print(f"slowest: {max(each.seconds for each in outcomes) * 1000:.0f} ms, mails: {len(outcomes)}")
    for each in outcomes if wrong else ():
        label = each.label
        told = label.hard is not None and label.hard != each.hard
        if told or label.kind != each.kind or (label.category and label.category != each.category):
            print(f"{label.name}: {label.kind}/{label.hard}/{label.category} taken for", *each[1:5])


def main() -> None:
    """Print the matrix."""
    options = argparse.ArgumentParser(description="Confusion matrix over labelled mails.")
    options.add_argument("folder", type=Path)
    options.add_argument("--labels", type=Path)
    options.add_argument("--wrong", action="store_true", help="Name the mails that were misunderstood.")
    given = options.parse_args()
    table = given.labels or given.folder / "labels.tsv"
    _print([outcome(label, (given.folder / label.name).read_bytes()) for label in labels(table)], wrong=given.wrong)


if __name__ == "__main__":
    main()
