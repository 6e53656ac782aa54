"""The phrases of reports and machines, kept as data (`phrases.toml`)."""

import re
import tomllib
from importlib import resources

_TABLE: dict[str, str] = tomllib.loads(
    resources.files("mailer.feedback.inbound.parsing").joinpath("phrases.toml").read_text(encoding="utf-8")
)


def phrase(name: str) -> re.Pattern[str]:
    """Return the pattern of that name."""
    return re.compile(_TABLE[name], re.IGNORECASE | re.MULTILINE | re.VERBOSE)
