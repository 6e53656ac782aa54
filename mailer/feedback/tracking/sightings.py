"""The nouns of what was seen: a load of a picture or a link that was followed, and who did it."""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from mailer.links import Hit

OPENED, CLICKED = "email.opened", "email.clicked"


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


class Trace(NamedTuple):
    """What a verdict is worked out from: nothing else of a request is kept, and this for 30 days."""

    method: str = "GET"
    #: The user agent, cut.
    agent: str = ""
    #: The rule of the network list that holds the address; the address itself is kept nowhere.
    network: str = ""


class Sighting(NamedTuple):
    """One load of a picture or one click, as it waits to be written; no network address is in it."""

    hit: Hit
    verdict: Verdict
    at: datetime
    #: None where the verdict is all there is.
    trace: Trace | None = None
