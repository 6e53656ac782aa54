"""What a self-test finds, one fact at a time."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    """What a fact means."""

    OK = "ok"
    #: It works, and could be better, or could not be looked at.
    WARNING = "warning"
    #: Mail providers or people cannot unsubscribe, or do not trust it.
    FAILED = "failed"


class Finding(NamedTuple):
    """One fact: what was looked at, and a sentence on it."""

    check: str
    verdict: Verdict
    message: str


def told(check: str, right: bool, good: str, bad: str, otherwise: Verdict = Verdict.FAILED) -> Finding:
    """Return what to say of something that is right or not."""
    return Finding(check, Verdict.OK if right else otherwise, good if right else bad)


def holds(findings: Iterable[Finding]) -> bool:
    """Return whether nothing failed."""
    return all(each.verdict is not Verdict.FAILED for each in findings)
