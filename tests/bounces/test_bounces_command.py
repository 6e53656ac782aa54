"""`mailer inbound parse`: one object a file."""

import json
import os
from pathlib import Path

from tests import commands

OWN = Path(__file__).parent / "own"


def run(*arguments: str, given: bytes = b"") -> str:
    done = commands.run("inbound", "parse", *arguments, env=os.environ, given=given)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_prints_an_object_a_file() -> None:
    files = [
        str(OWN / name)
        for name in ("postfix-unknown.eml", "arf-yahoo.eml", "o-ooo.eml", "o-unsubscribe.eml", "o-mdn.eml")
    ]
    found = [json.loads(line) for line in run("--json", *files).splitlines()]
    assert [each["file"] for each in found] == files
    assert [each["kind"] for each in found] == ["bounce", "complaint", "autoreply", "optout", "other"]
    wanted = {
        "address": "ann@dest.example",
        "hard": True,
        "category": "invalid_recipient",
        "status": "5.1.1",
        "code": 550,
    }
    assert found[0]["recipients"][0].items() >= wanted.items()
    assert found[1]["recipients"][0]["address"] == "ann@yahoo.com"


def test_it_reads_standard_input_and_prints_a_table() -> None:
    shown = run("-", given=(OWN / "postfix-full.eml").read_bytes())
    assert "mailbox_full" in shown
    assert "ann@dest.example" in shown


def test_a_file_that_is_not_there_is_named() -> None:
    told = commands.run("inbound", "parse", "nowhere.eml", env=os.environ)
    assert told.returncode == 2
    assert "nowhere.eml" in told.stderr
