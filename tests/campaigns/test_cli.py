"""`mailer campaign`, as scripts meet it; and the example of docs/campaigns.md."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_cli import Quick

ROOT = Path(__file__).parent.parent.parent
WORDS = ("--topic", "newsletter", "--subject", "Spring", "--text", "It is here.")


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Quick:
    return Quick(tmp_path, monkeypatch, capsys)


def made(quick: Quick, *more: str) -> str:
    return quick.run("campaign", "create", "Spring", *WORDS, *more).stdout.strip()


def test_a_campaign_from_its_draft_to_its_report(quick: Quick) -> None:
    campaign = made(quick, "--tag", "season=spring", "--opens", "off")
    assert campaign.startswith("ca_")
    people = quick.folder / "people.csv"
    people.write_text("email,name\n" + "".join(f"p{place}@example.org,Ann\n" for place in range(2000)))
    assert "2,000 new, 0 duplicates" in quick.run("campaign", "add", campaign, str(people)).stdout
    people.write_text('{"email": "p0@example.org"}\n{"email": "nobody"}\n{"email": "new@example.org"}\n')
    again = quick.run("campaign", "add", campaign, str(people), "--format", "ndjson", "--json", code=1)
    assert json.loads(again.stdout) == {
        "new": 1,
        "duplicates": 1,
        "suppressed": 0,
        "refused": 1,
        "lines": [{"line": 2, "reason": "the address has no @"}],
    }
    assert quick.run("campaign", "start", campaign).stdout == f"{campaign} running\n"
    quick.run("campaign", "start", campaign)
    assert quick.run("campaign", "pause", campaign, "--note", "a typo").stdout == f"{campaign} paused\n"
    shown = quick.json("campaign", "show", campaign)
    assert (shown["note"], shown["progress"]["held"]) == ("a typo", 2001)  # type: ignore[index]
    assert "a typo" in quick.run("campaign", "show", campaign).stdout
    assert quick.run("campaign", "start", campaign, code=1).stderr.count("resume it") == 1
    quick.run("campaign", "resume", campaign)
    quick.run("campaign", "cancel", campaign)
    assert campaign in quick.run("campaign", "list", "--status", "cancelled").stdout
    assert quick.json("campaign", "list", "--status", "draft")["data"] == []
    report = quick.json("campaign", "report", campaign)
    assert report["numbers"]["requested"]["value"] == 2001  # type: ignore[index]
    assert report["numbers"]["requested"]["formula"] == "recipients added, one email each"  # type: ignore[index]
    assert "requested - every final status" in quick.run("campaign", "report", campaign, "--watch").stdout


def test_recipients_come_from_stdin(quick: Quick, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = made(quick, "--schedule-at", "2090-01-01T00:00:00Z")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"address;name\nann@example.org;Ann\n")))
    assert quick.run("campaign", "add", campaign, "-", "--format", "csv").stdout.startswith("1 new")
    moved = quick.json("campaign", "schedule", campaign, "2091-01-01T00:00:00Z")
    assert (moved["status"], moved["scheduled_at"]) == ("scheduled", "2091-01-01T00:00:00Z")


def test_what_is_wrong_is_one_sentence(quick: Quick) -> None:
    campaign = made(quick)
    people = quick.folder / "people.txt"
    people.write_text("email\n")
    assert "--format: say csv or ndjson" in quick.run("campaign", "add", campaign, str(people), code=2).stderr
    assert "No such file" in quick.run("campaign", "add", campaign, "none.csv", code=1).stderr
    assert "cannot use none.csv: " in quick.run("campaign", "add", campaign, "none.csv", code=1).stderr
    assert "no such campaign" in quick.run("campaign", "start", "ca_nothing", code=1).stderr
    assert "scheduled_at" in quick.run("campaign", "schedule", campaign, "tomorrow", code=2).stderr
    assert "topic" in quick.run("campaign", "create", "Spring", "--subject", "a", "--text", "b", code=2).stderr


def test_the_example_of_the_docs_runs(quick: Quick) -> None:
    campaign = made(quick)
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "campaigns.md").read_text(), re.DOTALL)
    assert len(examples) == 1
    env = quick.env | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", examples[0], campaign],
        env=env,
        cwd=quick.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "3 new, 0 duplicates\n"
