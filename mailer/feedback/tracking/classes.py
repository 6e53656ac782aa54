"""Who is behind a request, as far as one can tell: rules kept as data (`classes.toml`), each with an id."""

import re
import tomllib
from importlib import resources
from typing import NamedTuple, TypedDict

from mailer.feedback.tracking.sightings import Class, Verdict

#: So much of a user agent is looked at.
_LOOKED_AT = 1000
#: At the start of the agent or of one of its parts: "Java/" must not be found in "MyJava/1.0" (R6.7).
_PART, _ENDS = r"(?:^|[\s;(,])", r"(?:/|\s*$)"


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


def _read() -> tuple[Rule, ...]:
    text = resources.files("mailer.feedback.tracking").joinpath("classes.toml").read_text(encoding="utf-8")
    return tuple(Rule(row["id"], Class(row["class"]), _agent(row)) for row in tomllib.loads(text)["rules"])


#: Read from the top; the first that fits decides.
RULES = _read()


def classify(user_agent: str | None, method: str) -> Verdict:
    """Return who sent a request, and the rule that says so."""
    if method != "GET":
        return Verdict(Class.MACHINE, "head" if method == "HEAD" else "method")
    agent = (user_agent or "")[:_LOOKED_AT]
    found = next((rule for rule in RULES if rule.agent.search(agent)), None)
    return Verdict(found.kind, found.id) if found else Verdict(Class.UNKNOWN, "none")
