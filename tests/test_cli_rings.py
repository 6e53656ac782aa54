"""`mailer key ring` and `mailer key suppression`, as an operator runs them."""

import json
import stat
from pathlib import Path

import pytest

from suppression.keys import parse_ring
from tests.test_cli import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def ids(shell: Shell, name: str) -> list[str]:
    return list(parse_ring((shell.folder / "data" / name).read_text().strip()))


def test_the_suppression_key_is_replaced_and_an_opt_out_stays(shell: Shell) -> None:
    shell.run("suppression", "add", "ann@example.org", "--note", "asked by phone")
    shell.run("key", "suppression", "add")
    assert ids(shell, "suppression-key") == ["k1", "k2"]
    shell.run("key", "suppression", "rotate")
    assert ids(shell, "suppression-key") == ["k2", "k1"]
    refused = shell.run("key", "suppression", "retire", "k2", code=1)
    assert "is the first key" in refused.stderr
    shell.run("key", "suppression", "retire", "k1")
    assert ids(shell, "suppression-key") == ["k2"]
    told = json.loads(shell.run("suppression", "why", "ann@example.org", "--stream", "promotional", "--json").stdout)
    assert (told["allowed"], told["reason"]) == (False, "manual")
    listed = json.loads(shell.run("suppression", "list", "--address", "ANN@example.org", "--json").stdout)
    assert [each["email"] for each in listed["data"]] == ["ann@example.org"]
    checked = json.loads(shell.run("key", "suppression", "check", "--json").stdout)["data"]
    assert {each["id"]: each["state"] for each in checked} == {"k2": "matches", "k1": "retired"}


def test_a_backup_is_private_and_can_be_checked(shell: Shell, tmp_path: Path) -> None:
    backup = tmp_path / "ring"
    shell.run("key", "suppression", "backup", str(backup))
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    shell.run("key", "suppression", "check", "--file", str(backup))
    assert "cannot be written" in shell.run("key", "suppression", "backup", str(backup), code=2).stderr
    backup.write_text("k1:" + "another secret " * 3)
    assert "another secret" in shell.run("key", "suppression", "check", "--file", str(backup), code=1).stdout


def test_a_ring_of_the_settings_is_printed_and_not_kept(shell: Shell) -> None:
    done = shell.run("key", "ring", "add", MAILER_SECRET_KEYS="a:" + "x" * 32)
    ring = done.stdout.strip().removeprefix("MAILER_SECRET_KEYS=")
    assert list(parse_ring(ring)) == ["k1", "a"]
    assert parse_ring(ring)["a"] == b"x" * 32
    listed = json.loads(shell.run("key", "ring", "list", "--json", MAILER_SECRET_KEYS=ring).stdout)
    assert [(each["id"], each["signs"]) for each in listed["data"]] == [("k1", True), ("a", False)]
    assert "--break-links" in shell.run("key", "ring", "retire", "a", code=1, MAILER_SECRET_KEYS=ring).stderr


def test_a_list_is_asked_about_before_it_is_sent_to(shell: Shell) -> None:
    shell.run("suppression", "add", "Ann@example.org", "--reason", "unsubscribe", "--scope", "topic:newsletter")
    people = shell.folder / "list.txt"
    people.write_text("bob@example.org\n\nann@example.org\nnobody\n")
    about = ("--stream", "promotional", "--topic", "newsletter")
    done = shell.run("suppression", "why", "--file", str(people), *about)
    assert done.stdout.splitlines() == ["ann@example.org\tunsubscribe", "nobody\tno_address"]
    assert "3 asked" in done.stderr
    lines = [
        json.loads(line)
        for line in shell.run("suppression", "why", "--file", str(people), *about, "--json").stdout.splitlines()
    ]
    assert [each["allowed"] for each in lines] == [True, False, False]
    told = shell.run("suppression", "why", "ann@example.org", *about).stdout
    assert "not allowed: unsubscribe (topic:newsletter)" in told
    assert "the person, by a fresh opt-in" in told
