"""Who is behind a request, as far as one can tell by itself: rules kept as data (`classes.toml`), each with an id."""

import re
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import Any, NamedTuple, TypedDict

from mailer.feedback.tracking.sightings import Class, Trace, Verdict

#: So much of a user agent is looked at, and kept.
LOOKED_AT = 300
#: So many agents' verdicts are remembered.
_REMEMBERED = 4096
#: At the start of the agent or of one of its parts: "Java/" must not be found in "MyJava/1.0" (R6.7).
_PART, _ENDS = r"(?:^|[\s;(,])", r"(?:/|\s*$)"
#: What a network's list has no say about: these are known by themselves.
_CERTAIN = frozenset({Class.MACHINE, Class.PROXY})

#: The whole table; `judging` reads its part.
TABLE: Mapping[str, Any] = tomllib.loads(
    resources.files("mailer.feedback.tracking").joinpath("classes.toml").read_text(encoding="utf-8")
)


class _Row(TypedDict, total=False):
    id: str
    pattern: str
    words: list[str]
    products: list[str]


class Rule(NamedTuple):
    """One row of the table: what a user agent looks like, and what that says."""

    id: str
    kind: Class
    agent: re.Pattern[str]


def _agent(row: _Row) -> re.Pattern[str]:
    ways = [f"(?:{row['pattern']})"] if "pattern" in row else []
    if words := row.get("words"):
        ways.append(rf"(?i:\b(?:{'|'.join(map(re.escape, words))})\b)")
    if products := row.get("products"):
        ways.append(f"{_PART}(?:{'|'.join(products)}){_ENDS}")
    return re.compile("|".join(ways))


#: Read from the top; the first that fits decides.
RULES = tuple(Rule(row["id"], Class(row["class"]), _agent(row)) for row in TABLE["rules"])


def classify(trace: Trace, kinds: Mapping[str, Class]) -> Verdict:
    """Return who sent a request, and the rule that says so; `kinds` are the classes of the network lists' rules."""
    if trace.method != "GET":
        return Verdict(Class.MACHINE, "head" if trace.method == "HEAD" else "method")
    verdict = _by_agent(trace.agent[:LOOKED_AT])
    kind = kinds.get(trace.network)
    return verdict if kind is None or verdict.kind in _CERTAIN else Verdict(kind, trace.network)


# The same few hundred agents come again and again, and the rules are a dozen searches.
@lru_cache(maxsize=_REMEMBERED)
def _by_agent(agent: str) -> Verdict:
    found = next((rule for rule in RULES if rule.agent.search(agent)), None)
    return Verdict(found.kind, found.id) if found else Verdict(Class.UNKNOWN, "none")
