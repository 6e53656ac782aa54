"""The command line as scripts and people meet it: the installed `mailer` in processes of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import httpx2
import pytest
import typer

from mailer import cli
from mailer.cli import COMMANDS, load, logs, main
from tests import commands
from tests.commands import Process

MAILER = Path(sys.executable).with_name("mailer")
POSTAL = "Ringwise Ltd, 12 Bell Lane, Kyiv 01001, Ukraine"


Text = subprocess.CompletedProcess[str]


class Shell:
    """Runs `mailer` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        """Forget every setting of this process."""
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MAILER_")}
        self.env = {name: value for name, value in kept.items() if name not in {"DATABASE_URL", "REDIS_URL", "PORT"}}
        self.env |= {"MAILER_DATA_DIR": str(folder / "data"), "MAILER_POSTAL_ADDRESS": POSTAL}

    def run(self, *words: str, code: int = 0, **settings: str) -> Text:
        """Run a command to its end, from a folder that is not the repository."""
        done = commands.run(*words, env=self.env | settings, cwd=self.folder)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr + done.stdout
        return done

    def json(self, *words: str) -> dict[str, object]:
        """Run a command and read what it prints."""
        found: dict[str, object] = json.loads(self.run(*words, "--json").stdout)
        return found

    def start(self, *words: str) -> Process:
        """Start a command that stays."""
        return commands.start(*words, env=self.env, cwd=self.folder)


class Quick(Shell):
    """Runs `mailer` within this process, which spares a second of imports for each of many commands."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        """Keep what makes this process look like a fresh one."""
        super().__init__(folder)
        self.patch, self.capture = patch, capture
        patch.setattr(logs, "begin", lambda *, debug: None)

    def run(self, *words: str, code: int = 0, **settings: str) -> Text:
        """Run a command to its end."""
        self.capture.readouterr()
        self.patch.setattr(sys, "argv", ["mailer", *words])
        with self.patch.context() as patch:
            for name in set(os.environ) - set(self.env):
                patch.delenv(name)
            for name, value in (self.env | settings).items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        out, err = self.capture.readouterr()
        assert (ended.value.code or 0) == code, f"{words}: {ended.value.code}\n{out}\n{err}"
        assert "Traceback" not in out + err
        return subprocess.CompletedProcess(words, code, out, err)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Quick:
    return Quick(tmp_path, monkeypatch, capsys)


@pytest.fixture
def served(shell: Shell) -> Iterator[tuple[str, Process]]:
    process = shell.start("serve", "--port", "0")
    try:
        yield process.ready(), process
    finally:
        process.end()


# --- serve


def test_serve_answers_when_it_says_so_and_ends_in_order(served: tuple[str, Process], shell: Shell) -> None:
    url, process = served
    assert httpx2.get(f"{url}/healthz", trust_env=False).status_code == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0, process.complained
    assert process.said == f"ready: {url}\n"
    err = process.complained
    assert f"mail is captured, not sent: {url}/inbox" in err
    assert str(shell.folder / "data") in err
    assert "suppression-key" in err
    assert "MAILER_FROM" in err


def test_a_mail_sent_beside_a_server_is_found(served: tuple[str, Process], shell: Shell) -> None:
    assert served[0]
    words = ("--stream", "transactional", "--to", "ann@example.org", "--subject", "Hello", "--text", "A line.")
    sent = shell.json("send", *words)
    assert sent["status"] == "queued"
    until = time.monotonic() + 10
    while (status := shell.json("emails", "show", str(sent["id"]))["status"]) != "sent":
        assert time.monotonic() < until, status


def test_a_port_in_use_is_named(served: tuple[str, Process], shell: Shell) -> None:
    port = served[0].rpartition(":")[2]
    other = Shell(shell.folder)
    other.env["MAILER_DATA_DIR"] = str(shell.folder / "other")
    failed = other.run("serve", "--port", port, code=2)
    assert port in failed.stderr
    assert "--port" in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert failed.stdout == ""


def test_a_second_server_of_one_folder_is_refused(served: tuple[str, Process], shell: Shell) -> None:
    assert served[0]
    failed = shell.run("serve", "--port", "0", code=2)
    assert "another mailer serves from" in failed.stderr
    assert failed.stdout == ""


def test_web_without_redis_is_serve(shell: Shell) -> None:
    process = shell.start("web", "--port", "0")
    try:
        assert process.ready()
        sent = shell.json("send", "--stream", "transactional", "--to", "a@example.org", "--subject", "x", "--text", "y")
        until = time.monotonic() + 10
        while shell.json("emails", "show", str(sent["id"]))["status"] != "sent":
            assert time.monotonic() < until
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(30)
    assert code == 0, process.complained


# --- keys, tenants, topics


def test_key_create_prints_the_key_alone(shell: Shell) -> None:
    made = shell.run("key", "create", "shop", "--scope", "send:transactional", "--scope", "read")
    key = made.stdout.strip()
    assert made.stdout == key + "\n"
    assert " " not in key
    assert len(key) > 30
    listed = shell.run("key", "list", "--json").stdout
    assert key not in listed
    assert json.loads(listed)["data"][0]["scopes"] == ["send:transactional", "read"]
    shell.run("key", "revoke", "shop")
    shell.run("key", "revoke", "shop", code=1)
    assert json.loads(shell.run("key", "list", "--json").stdout)["data"][0]["revoked_at"]
    assert "shop" in shell.run("key", "list").stdout


def test_a_tenant_is_asked_for_only_where_there_are_several(quick: Quick) -> None:
    topics = {str(topic["key"]) for topic in json.loads(quick.run("topic", "list", "--json").stdout)["data"]}
    assert topics == {"newsletter", "product-updates", "surveys", "events", "promotions", "notifications"}
    quick.run("topic", "create", "beta-news", "--stream", "promotional", "--name", "en=Beta news")
    quick.run("topic", "create", "beta-news", "--stream", "promotional", code=1)
    quick.run("tenant", "create", "acme", "--from", "Acme <hi@acme.example>", "--postal-address", "Acme, Road 1")
    assert [one["key"] for one in json.loads(quick.run("tenant", "list", "--json").stdout)["data"]] == [
        "acme",
        "default",
    ]
    assert "acme, default" in quick.run("topic", "list", code=2).stderr
    assert "beta-news" not in quick.run("topic", "list", "--tenant", "acme").stdout
    assert "Beta news" in quick.run("topic", "list", "--tenant", "default").stdout
    quick.run("topic", "list", "--tenant", "nobody", code=1)


def test_a_topic_says_who_gets_it_and_who_sees_it(quick: Quick) -> None:
    club = ("--stream", "promotional", "--default", "opt_out", "--visibility", "private")
    made = json.loads(quick.run("topic", "create", "club", *club, "--json").stdout)
    assert (made["default"], made["visibility"]) == ("opt_out", "private")
    listed = quick.run("topic", "list").stdout
    assert "private" in listed
    assert "public" in listed
    quick.run("topic", "create", "odd", "--stream", "promotional", "--default", "maybe", code=2)


# --- suppressions


def test_an_entry_blocks_and_why_says_so(quick: Quick) -> None:
    asked = ("suppression", "why", "Ann@Example.org", "--stream", "promotional", "--topic", "newsletter")
    before = quick.json(*asked)
    assert set(before) == {"allowed", "entry", "trace", "reason", "history"}
    assert (before["allowed"], before["entry"]) == (True, None)
    trace = before["trace"]
    assert isinstance(trace, list)
    assert set(trace[0]) == {"rule", "matched", "blocks", "entry_id", "since", "email_id", "ended_by"}
    entry = quick.json("suppression", "add", "ann@example.org", "--note", "asked by phone")
    after = quick.json(*asked)
    assert after["allowed"] is False
    assert isinstance(after["entry"], dict)
    assert after["entry"]["id"] == entry["id"]
    assert "not allowed: manual" in quick.run(*asked).stdout
    sent = quick.json("send", "--stream", "transactional", "--to", "ann@example.org", "--subject", "x", "--text", "y")
    assert (sent["status"], sent["reason"]) == ("suppressed", "manual")
    quick.run("suppression", "lift", str(entry["id"]), code=2)
    quick.run("suppression", "lift", str(entry["id"]), "--note", "asked again by phone")
    assert quick.json(*asked)["allowed"] is True
    assert quick.json("suppression", "list")["data"] == []
    past = quick.json("suppression", "list", "--past")["data"]
    assert isinstance(past, list)
    assert past[0]["lift_note"] == "asked again by phone"


def test_why_prints_what_the_api_prints(served: tuple[str, Process], shell: Shell) -> None:
    shell.run("suppression", "add", "ann@example.org", "--note", "asked by phone")
    key = shell.run("key", "create", "desk", "--scope", "suppressions").stdout.strip()
    asked = {"email": "ann@example.org", "stream": "transactional"}
    headers = {"Authorization": f"Bearer {key}"}
    address = f"{served[0]}/v1/suppressions/check"
    answer = httpx2.get(address, params=asked, headers=headers, trust_env=False).json()
    assert answer["allowed"] is False
    assert shell.json("suppression", "why", "ann@example.org", "--stream", "transactional") == answer


def test_an_operator_does_not_end_what_a_person_decided(quick: Quick) -> None:
    entry = quick.json("suppression", "add", "ann@example.org", "--reason", "unsubscribe")
    assert "the person" in quick.run("suppression", "lift", str(entry["id"]), "--note", "x", code=1).stderr


# --- emails, templates, reports


def test_render_shows_every_part(quick: Quick) -> None:
    assert quick.run("render", "welcome", "--part", "subject", "--var", "name=Bob").stdout.count("\n") == 1
    assert "<html" in quick.run("render", "newsletter", "--part", "html").stdout
    assert "Анно" in quick.run("render", "welcome", "--part", "text", "--locale", "uk", "--var", "name=Анно").stdout
    assert "order_number" not in quick.run("render", "purchase-confirmation", "--var", "order_number=17").stderr


def test_emails_are_listed_shown_cancelled_and_reported(quick: Quick) -> None:
    literal = ("--subject", "Hello", "--text", "A line.")
    later = quick.json(
        "send",
        "--stream",
        "transactional",
        "--to",
        "ann@example.org",
        *literal,
        "--schedule-at",
        "2099-01-01T00:00:00Z",
    )
    assert later["status"] == "scheduled"
    now = quick.json(
        "send", "--stream", "promotional", "--topic", "newsletter", "--to", "bob@example.org", *literal, "--tag", "a=b"
    )
    listed = quick.json("emails", "list")
    assert isinstance(listed["data"], list)
    assert [one["id"] for one in listed["data"]] == [now["id"], later["id"]]
    assert listed["has_more"] is False
    only = quick.json("emails", "list", "--stream", "promotional")
    assert isinstance(only["data"], list)
    assert [one["id"] for one in only["data"]] == [now["id"]]
    assert str(now["id"]) in quick.run("emails", "list").stdout
    assert "bob@example.org" in quick.run("emails", "show", str(now["id"])).stdout
    assert quick.json("emails", "cancel", str(later["id"]))["status"] == "cancelled"
    assert quick.json("emails", "cancel", str(later["id"]))["status"] == "cancelled"
    quick.run("emails", "cancel", "em_00000000000000000000000000", code=1)
    quick.run("emails", "show", "em_00000000000000000000000000", code=1)
    report = quick.run("report").stdout
    assert "requested" in report
    assert "opened / tracked" in report
    assert quick.json("report", "--stream", "promotional", "--tag", "a=b", "--days", "7")


def test_the_same_key_twice_sends_once(quick: Quick) -> None:
    words = ["send", "--stream", "transactional", "--to", "a@example.org", "--text", "y", "--idempotency-key", "k"]
    first = quick.json(*words, "--subject", "x")
    assert quick.json(*words, "--subject", "x") == first
    assert "another body" in quick.run(*words, "--subject", "z", code=1).stderr
    found = quick.json("emails", "list")["data"]
    assert isinstance(found, list)
    assert len(found) == 1


def test_a_reader_that_leaves_early_is_no_failure(shell: Shell) -> None:
    words = f"{MAILER} topic list --json | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", words], env=shell.env, cwd=shell.folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""


# --- what goes wrong is one sentence


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["nope"], 2, "nope"),
        (["serve", "--port", "99999"], 2, "65535"),
        (["serve", "--host", "no.such.host.invalid", "--port", "0"], 2, "no.such.host.invalid"),
        (["worker", "transactional"], 2, "MAILER_REDIS_URL"),
        (["worker", "sideways"], 2, "transactional"),
        (["clock"], 2, "MAILER_REDIS_URL"),
        (["demo", "--json"], 2, "--once"),
        (["key", "create", "x"], 2, "--scope"),
        (["key", "create", "x", "--scope", "everything"], 2, "send:promotional"),
        (["key", "revoke", "x"], 1, "no key x"),
        (["tenant", "create", "Bad Key", "--from", "a@b.example"], 2, "lower-case"),
        (["tenant", "create", "acme", "--from", "nobody"], 2, "no @"),
        (["topic", "create", "news", "--stream", "promotional", "--opt-out", "never"], 2, "left"),
        (["topic", "create", "news", "--stream", "promotional", "--name", "en"], 2, "name=value"),
        (["render", "nope"], 1, "nope"),
        (["render", "welcome", "--var", "name"], 2, "name=value"),
        (["render", "welcome", "--variables-json", "{"], 2, "JSON"),
        (["render", "welcome", "--variables-json", "[]"], 2, "object"),
        (["render", "welcome", "--var", "typo=1"], 2, "typo"),
        (["send", "--stream", "promotional", "--to", "a@b.example", "--template", "nope"], 2, "no template"),
        (["send", "--stream", "transactional", "--to", "a@b.example"], 2, "template"),
        (["send", "--stream", "transactional", "--to", "a", "--subject", "x", "--text", "y"], 2, "no @"),
        (["send", "--stream", "promotional", "--to", "a@b.example", "--subject", "x", "--text", "y"], 2, "topic"),
        (["send", "--stream", "transactional", "--to", "a@b.example", "--subject", "x", "--text", "@/no"], 2, "/no"),
        (["suppression", "why", "nobody", "--stream", "promotional"], 2, "no @"),
        (["suppression", "why", "a@b.example", "--stream", "promotional", "--topic", "nope"], 2, "nope"),
        (
            ["suppression", "why", "a@b.example", "--stream", "promotional", "--topic", "notifications"],
            2,
            "transactional",
        ),
        (["suppression", "add", "a@b.example", "--scope", "here"], 2, "topic:<key>"),
        (["suppression", "add", "a@b.example", "--reason", "unsubscribe", "--scope", "topic:nope"], 2, "nope"),
        (["suppression", "add", "a@b.example", "--reason", "snooze"], 2, "time"),
        (["suppression", "lift", "su_1", "--note", "x"], 1, "no such"),
        (["emails", "list", "--status", "lost"], 2, "queued"),
        (["report", "--days", "0"], 2, "days"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_failure_is_one_sentence(quick: Quick, words: list[str], code: int, says: str) -> None:
    failed = quick.run(*words, code=code)
    assert says in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert failed.stdout == ""


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("MAILER_RELY", "x", "MAILER_RELY"),
        ("MAILER_RETRY_AFTER", "soon", "MAILER_RETRY_AFTER"),
        ("MAILER_TRANSACTIONAL_RELAY", "smtp://localhost", "MAILER_PROMOTIONAL_RELAY"),
        ("MAILER_REDIS_URL", "redis://localhost", "PostgreSQL"),
        ("MAILER_SUPPRESSION_KEY", "short", "MAILER_SUPPRESSION_KEY"),
        ("MAILER_FROM", "nobody", "MAILER_FROM"),
        ("MAILER_DATA_DIR", "/proc/nowhere", "/proc/nowhere"),
        ("MAILER_DATABASE_URL", "postgresql://u:p@127.0.0.1:1/x", "database"),
        ("MAILER_DATABASE_URL", "sqlite:////nowhere/at/all.db", "database"),
    ],
)
def test_a_wrong_setting_is_one_sentence(quick: Quick, name: str, value: str, says: str) -> None:
    for words in (["serve", "--port", "0"], ["topic", "list"]):
        code = 1 if name == "MAILER_DATABASE_URL" else 2
        failed = quick.run(*words, code=code, **{name: value})
        assert says in failed.stderr
        assert failed.stderr.count("\n") == 1
        assert failed.stdout == ""


def test_a_port_of_the_platform_is_read(quick: Quick) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert port in quick.run("serve", code=2, PORT=port).stderr


def test_another_key_than_the_database_was_built_with_is_refused(quick: Quick) -> None:
    quick.run("suppression", "add", "ann@example.org")
    failed = quick.run("topic", "list", code=2, MAILER_SUPPRESSION_KEY="k1:" + "ab" * 32)
    assert "suppression key" in failed.stderr


def test_a_database_of_another_version_and_a_file_that_is_none_are_refused(quick: Quick) -> None:
    quick.run("migrate")
    database = quick.folder / "data" / "mailer.db"
    program = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()"
    statement = "UPDATE alembic_version SET version_num = '9999'"
    subprocess.run([sys.executable, "-c", program, str(database), statement], check=True, timeout=30)
    assert "9999" in quick.run("topic", "list", code=2).stderr
    for leftover in database.parent.glob("mailer.db*"):
        leftover.unlink()
    database.write_bytes(b"these are not the bytes of a database" * 100)
    assert "is not a SQLite database: move it away" in quick.run("topic", "list", code=2).stderr


def test_every_command_helps(quick: Quick) -> None:
    groups = {
        "key": ("create", "list", "revoke"),
        "tenant": ("create", "list"),
        "topic": ("create", "list"),
        "suppression": ("list", "add", "lift", "why"),
        "emails": ("list", "show", "cancel"),
    }
    for word in ("serve", "web", "worker", "clock", "migrate", "demo", "send", "render", "report", *groups):
        assert "--help" in quick.run(word, "--help").stdout
    for group, words in groups.items():
        for word in words:
            assert "--help" in quick.run(group, word, "--help").stdout


def test_a_choice_that_is_none_is_one_sentence(quick: Quick) -> None:
    err = quick.run("topic", "create", "deals", "--stream", "other", code=2).stderr
    assert "Invalid value for '--stream': 'other' is not one of 'transactional', 'promotional'" in err


@pytest.mark.parametrize("name", COMMANDS)
def test_what_the_help_says_of_a_command_is_what_the_command_says(name: str) -> None:
    command = load(name)
    assert " ".join((command.help or "").partition("\n\n")[0].split()) == COMMANDS[name].help


def test_every_command_that_a_module_has_is_in_the_table() -> None:
    for module in {part.modules[0] for part in COMMANDS.values()}:
        found = import_module(f"mailer.cli.{module}")
        if not hasattr(found, "app"):
            found.add(holder := typer.Typer())
            assert set(typer.main.get_group(holder).commands) == {
                name for name, part in COMMANDS.items() if part.modules[0] == module
            }
    listed = {f"{module}.py" for part in COMMANDS.values() for module in part.modules}
    adding = {path.name for path in Path(cli.__file__).parent.glob("*.py") if "\ndef add(" in path.read_text()}
    assert adding <= listed


def test_the_help_loads_no_command() -> None:
    program = "import sys; from mailer import cli; cli._run(); sys.exit('sqlalchemy' in sys.modules)"
    subprocess.run([sys.executable, "-c", program, "--help"], check=True, timeout=60)
