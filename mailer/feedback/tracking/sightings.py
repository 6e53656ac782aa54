"""The nouns of what was seen: a load of a picture or a link that was followed, and who did it."""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from mailer.links import Hit


class Class(StrEnum):
    """Who loaded a picture, or followed a link."""

    HUMAN = "human"
    #: A provider's proxy, set off by the person (Gmail, Yahoo).
    PROXY = "proxy"
    #: A prefetch, a scanner or a program.
    MACHINE = "machine"
    UNKNOWN = "unknown"


class Verdict(NamedTuple):
    """A class and the rule that decided it, so that reports can be worked out again."""

    kind: Class
    rule: str


class Sighting(NamedTuple):
    """One load of a picture or one click, as it waits to be written; no network address is kept."""

    hit: Hit
    verdict: Verdict
    at: datetime
