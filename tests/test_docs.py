"""What README and the architecture page say is so."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from mailer.errors import ConfigurationError
from mailer.relays import parse_relay, parse_relays
from mailer.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
RELAYS = (ROOT / "docs" / "relays.md").read_text()


def test_readme_names_every_setting() -> None:
    missing = [f"MAILER_{field.name.rstrip('_').upper()}" for field in fields(Settings)]
    assert [name for name in missing if f"`{name}`" not in README] == []


def test_the_relays_of_readme_and_of_their_page_are_real() -> None:
    for page in (README, RELAYS):
        example = page.partition("RELAY='")[2].partition("'")[0]
        assert [relay.weight for relay in parse_relays(example, "X")] == [3, 1, 0]
    rows = "".join(line.split(" | ")[0] for line in RELAYS.splitlines() if line.startswith("| `"))
    options = re.findall(r"`([a-z_.]+)=", rows)
    assert len(options) == 16
    for option in options:
        with pytest.raises(ConfigurationError, match=f"X: {option} must be|X needs a user name"):
            parse_relay(f"smtp://r.example?{option}=%20", "X")


def test_ci_runs_readmes_test_command() -> None:
    """Each part of README's second command stands in `.ci/run`, which so runs that and nothing less."""
    script = (ROOT / ".ci" / "run").read_text()
    commands = [line for line in README.splitlines() if line.startswith("python3 -m venv") and "pytest" in line]
    assert len(commands) == 1
    for part in commands[0].split(" && "):
        assert part in script


def test_every_dependency_has_its_reason() -> None:
    reasons = (ROOT / "docs" / "architecture.md").read_text()
    project = (ROOT / "pyproject.toml").read_text().partition("dependencies = [")[2].partition("]\n")[0]
    names = [line.strip().strip('",').split(">")[0].split("[")[0] for line in project.splitlines() if line.strip()]
    assert [name for name in names if name not in reasons] == []


def test_the_locks_name_no_host() -> None:
    for lock in ROOT.glob("requirements*.txt"):
        assert "://" not in lock.read_text()
