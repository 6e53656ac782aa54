"""Operators at the command line: pause a stream, see what is in its way, settle what a crash left in doubt."""

import asyncio
import io
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import update
from sqlmodel import Session, SQLModel

from mailer import halts, postmaster
from mailer.database import Database
from mailer.feedback.hearing import hear
from mailer.feedback.inbound.report import Kind, Proof, Report
from mailer.status import Status
from suppression.rules import Stream
from tests.test_cli import Quick, Shell

V = TypeVar("V")
EMAIL = SQLModel.metadata.tables["email"]


class Terminal(io.StringIO):
    """A person who has typed an answer."""

    def isatty(self) -> bool:
        """Say that somebody is there."""
        return True


@pytest.fixture(params=["sqlite", "postgresql"])
def quick(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Quick:
    """A command line over a fresh database on either engine."""
    quick = Quick(tmp_path, monkeypatch, capsys)
    if request.param == "postgresql":
        quick.env["MAILER_DATABASE_URL"] = request.getfixturevalue("postgresql_url")
    return quick


def inside(quick: Quick, verb: Callable[[Session], V]) -> V:
    """Run something in the command line's database."""

    async def work() -> V:
        database = Database(quick.env.get("MAILER_DATABASE_URL") or f"sqlite:///{quick.folder / 'data' / 'mailer.db'}")
        try:
            return await database.run(verb)
        finally:
            await database.close()

    return asyncio.run(work())


def doubtful(quick: Quick, number: int, campaign: str | None = None) -> list[str]:
    """Send some newsletters, and leave them as a dead worker leaves them."""
    found = []
    for place in range(number):
        words = ("--stream", "promotional", "--topic", "newsletter", "--subject", "News", "--text", "News.")
        sent = quick.json("send", *words, "--to", f"{campaign or 'p'}{place}@example.org")
        found.append(str(sent["id"]))
    values = {"status": Status.UNCERTAIN, "campaign_id": campaign, "intent_at": datetime.now(UTC)}
    changed = update(EMAIL).where(EMAIL.c.id.in_(found)).values(**values)
    inside(quick, lambda session: session.execute(changed))
    return found


def statuses(quick: Quick) -> dict[str, str]:
    listed = json.loads(quick.run("emails", "list", "--json").stdout)["data"]
    return {each["id"]: each["status"] for each in listed}


def test_a_stream_is_paused_shown_and_resumed(quick: Quick) -> None:
    paused = quick.json("stream", "pause", "promotional", "--reason", "wrong prices")
    assert (paused["stream"], paused["paused"], paused["reason"]) == ("promotional", True, "wrong prices")
    again = quick.json("stream", "pause", "promotional")
    assert again["reason"] == "wrong prices", "left out, it stays"
    transactional, promotional = json.loads(quick.run("stream", "status", "--json").stdout)["data"]
    assert (transactional["paused"], promotional["paused"]) == (False, True)
    assert (promotional["reason"], promotional["since"]) == ("wrong prices", paused["since"])
    assert "wrong prices" in quick.run("stream", "status").stdout
    assert quick.run("stream", "resume", "promotional").stdout == "promotional goes on\n"
    assert quick.run("stream", "resume", "promotional").stdout == "promotional was not paused\n"
    assert quick.json("stream", "resume", "promotional") == {
        "stream": "promotional",
        "paused": False,
        "changed": False,
    }


def test_one_tenants_promotional_mail_is_paused_shown_and_resumed(quick: Quick) -> None:
    quick.json("stream", "pause", "promotional", "--tenant", "default", "--reason", "a bought list")
    _transactional, promotional = json.loads(quick.run("stream", "status", "--json").stdout)["data"]
    assert promotional["paused"] is False
    assert [(each["tenant"], each["reason"]) for each in promotional["tenants"]] == [("default", "a bought list")]
    assert "default is paused since" in quick.run("stream", "status").stdout
    assert quick.run("stream", "resume", "promotional").stdout == "promotional was not paused\n"
    assert quick.run("stream", "resume", "promotional", "--tenant", "default").stdout == "promotional goes on\n"
    assert "--tenant" in quick.run("stream", "pause", "transactional", "--tenant", "default", code=2).stderr


def test_a_report_that_found_no_mail_is_listed(quick: Quick) -> None:
    quick.run("stream", "status")
    report = Report(Kind.BOUNCED, source="ses", message_id="<1@elsewhere.example>")
    inside(quick, lambda session: hear(session, [(report, Proof("provider:ses"))], datetime.now(UTC)))
    (found,) = json.loads(quick.run("inbound", "unmatched", "--json").stdout)["data"]
    assert (found["kind"], found["message_id"], found["why"]) == (
        "bounced",
        "<1@elsewhere.example>",
        "it names no mail of ours",
    )
    assert "<1@elsewhere.example>" in "".join(quick.run("inbound", "unmatched").stdout.split())


def test_a_relay_that_rests_is_shown(quick: Quick) -> None:
    quick.run("stream", "status")
    now = datetime.now(UTC)
    inside(quick, lambda session: halts.failed(session, Stream.PROMOTIONAL, "smtp://relay.example:587", "away", now))
    said = quick.run("stream", "status").stdout
    assert "smtp://relay.example:587 rests since" in said
    [_transactional, promotional] = json.loads(quick.run("stream", "status", "--json").stdout)["data"]
    assert [relay["resting"] for relay in promotional["relays"]] == [False, True]


def test_a_pause_without_a_stream_or_a_reason_is_refused(quick: Quick) -> None:
    assert "bulk" in quick.run("stream", "pause", "bulk", code=2).stderr
    assert "--reason" in quick.run("stream", "pause", "promotional", "--reason", " ", code=2).stderr


def test_uncertain_mail_is_listed_and_resolved(quick: Quick) -> None:
    found = doubtful(quick, 3)
    page = quick.json("uncertain", "list", "--limit", "2")
    assert page["has_more"] is True
    rows = page["data"]
    assert isinstance(rows, list)
    assert [row["id"] for row in rows] == [found[2], found[1]]
    assert rows[0]["intent_at"] is not None
    rest = quick.json("uncertain", "list", "--after", found[1])
    assert [row["id"] for row in json.loads(json.dumps(rest["data"]))] == [found[0]]
    assert found[0] in quick.run("uncertain", "list").stdout
    assert "--after" in quick.run("uncertain", "list", "--limit", "2").stderr
    done = quick.json("uncertain", "resolve", found[0], "--as", "sent", "--note", "stands in the relay's log")
    assert done == {"as": "sent", "resolved": 1, "left": 0}
    shown = quick.run("emails", "show", found[0]).stdout
    assert "stands in the relay's log" in shown
    assert quick.run("uncertain", "resolve", "--all", "--as", "failed").stdout == "2 resolved as failed\n"
    assert statuses(quick) == {found[0]: "sent", found[1]: "failed", found[2]: "failed"}
    assert quick.run("uncertain", "resolve", "--all", "--as", "failed").stdout == "0 resolved as failed\n"
    report = quick.json("report")["numbers"]
    assert isinstance(report, dict)
    assert [report[name]["value"] for name in ("requested", "sent", "failed")] == [3, 1, 2]


def test_sending_again_wants_a_person_or_yes(quick: Quick) -> None:
    found = doubtful(quick, 2, "ca_1")
    doubtful(quick, 1)
    words = ("uncertain", "resolve", "--all", "--campaign", "ca_1", "--as", "again")
    assert "--yes" in quick.run(*words, code=2).stderr
    assert quick.json("uncertain", "list", "--campaign", "ca_1")["has_more"] is False
    assert quick.json(*words, "--yes") == {"as": "again", "resolved": 2, "left": 0}
    assert sorted(statuses(quick).values()) == ["queued", "queued", "uncertain"]
    assert {statuses(quick)[each] for each in found} == {"queued"}


@pytest.mark.parametrize("quick", ["sqlite"], indirect=True)
def test_a_person_is_asked_before_mail_is_sent_again(quick: Quick, monkeypatch: pytest.MonkeyPatch) -> None:
    [found] = doubtful(quick, 1)
    words = ("uncertain", "resolve", found, "--as", "again")
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    asked = quick.run(*words, code=1).stderr
    assert "whoever got one gets it twice. Send them again?" in asked
    assert "nothing is sent again" in asked
    assert statuses(quick) == {found: "uncertain"}
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert quick.run(*words).stdout == "1 resolved as again\n"


def test_what_cannot_be_resolved_is_told_by_the_exit_code(quick: Quick) -> None:
    [found] = doubtful(quick, 1)
    said = quick.run("uncertain", "resolve", found, "em_nobody", "--as", "sent", code=1)
    assert said.stdout == "1 resolved as sent\n"
    assert "1 stay as they are" in said.stderr
    assert "--all" in quick.run("uncertain", "resolve", "--as", "sent", code=2).stderr
    quick.run("uncertain", "resolve", found, "--all", "--as", "sent", code=2)
    assert "--campaign" in quick.run("uncertain", "resolve", found, "--campaign", "x", "--as", "sent", code=2).stderr
    quick.run("uncertain", "resolve", found, code=2)


def test_an_entry_stops_waiting_mail_at_once(quick: Quick) -> None:
    words = ("--stream", "transactional", "--to", "ann@example.org", "--subject", "Hello", "--text", "A line.")
    sent = quick.json("send", *words)
    quick.run("suppression", "add", "ann@example.org")
    assert statuses(quick) == {sent["id"]: "suppressed"}


def test_a_command_that_prints_its_result_logs_it_only_where_asked(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    paused = shell.run("stream", "pause", "promotional")
    assert (paused.stdout, paused.stderr) == ("promotional is paused\n", "")
    resumed = shell.run("--debug", "stream", "resume", "promotional")
    assert resumed.stdout == "promotional goes on\n"
    assert "the promotional stream goes on; it was paused for" in resumed.stderr


@pytest.mark.parametrize(
    "content",
    [b"", b"\x89PNG\r\n\x1a\n\0\0", b"Dear Ann,\n\nFrom: here\nDate: today\n", b"Subject: no more\n\nFrom: x\n", b"{}"],
    ids=["empty", "picture", "letter", "half a mail", "json"],
)
def test_a_file_that_is_no_mail_is_one_sentence(quick: Quick, content: bytes) -> None:
    file = quick.folder / "saved.eml"
    file.write_bytes(content)
    done = quick.run("doctor", "unsubscribe", "--eml", str(file), code=2)
    assert done.stdout == ""
    assert "the file is no mail as it arrived" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_mail_that_a_mailbox_file_held_is_read(quick: Quick) -> None:
    file = quick.folder / "saved.eml"
    file.write_bytes(
        b"From ann Mon Mar  1 09:30:00 2027\nFrom: a@example.org\nDate: Mon, 1 Mar 2027 09:30:00 +0000\n\nHi\n"
    )
    done = quick.run("doctor", "unsubscribe", "--eml", str(file), "--json", "--only-read", code=1)
    assert "one List-Unsubscribe" in {each["check"] for each in json.loads(done.stdout)["findings"]}


def test_a_topic_is_changed_and_what_cannot_be_is_refused(quick: Quick) -> None:
    quick.run("topic", "create", "beta", "--stream", "transactional", "--name", "en=Beta")
    changed = quick.json("topic", "set", "beta", "--opt-out", "never", "--visibility", "private", "--name", "uk=Бета")
    assert (changed["opt_out"], changed["visibility"], changed["default"]) == ("never", "private", "opt_in")
    assert changed["names"] == {"uk": "Бета"}
    assert quick.run("topic", "set", "beta", "--description", "en=New things").stdout == "beta\n"
    [beta] = [each for each in json.loads(quick.run("topic", "list", "--json").stdout)["data"] if each["key"] == "beta"]
    assert (beta["descriptions"], beta["opt_out"]) == ({"en": "New things"}, "never"), "what is not given stays"
    assert quick.json("topic", "set", "beta", "--retired")["retired"] is True
    assert quick.json("topic", "set", "beta", "--current")["retired"] is False
    for words, said, code in (
        (("notifications", "--retired"), "notifications stays", 2),
        (("beta", "--default", "opt_out"), "take it back", 2),
        (("newsletter", "--opt-out", "never"), "can always be left", 2),
        (("nope", "--opt-out", "allowed"), "there is no topic nope", 1),
        (("beta", "--name", "Beta"), "--name", 2),
    ):
        assert said in quick.run("topic", "set", *words, code=code).stderr


def test_a_tenant_is_changed_and_its_word_on_complaints_is_obeyed(quick: Quick) -> None:
    changed = quick.json("tenant", "set", "default", "--complaints-block", "--no-keep-ip", "--consent", "not_refused")
    assert (changed["complaints_block"], changed["keep_ip"], changed["consent"]) == (True, False, "not_refused")
    assert "complaints_block" in quick.run("tenant", "set", "default", "--locale", "uk").stdout
    [tenant] = json.loads(quick.run("tenant", "list", "--json").stdout)["data"]
    assert (tenant["complaints_block"], tenant["locale"]) == (True, "uk"), "what is not given stays"
    quick.run("suppression", "add", "ann@example.org", "--reason", "complaint", "--note", "the provider's list")
    why = ("suppression", "why", "--stream", "transactional", "--json")
    assert json.loads(quick.run(*why, "ann@example.org").stdout)["allowed"] is False
    quick.run("tenant", "set", "default", "--no-complaints-block")
    quick.run("suppression", "add", "bob@example.org", "--reason", "complaint", "--note", "the provider's list")
    assert json.loads(quick.run(*why, "bob@example.org").stdout)["allowed"] is True
    assert "nope" in quick.run("tenant", "set", "nope", "--name", "X", code=1).stderr
    assert "locale" in quick.run("tenant", "set", "default", "--locale", "Klingon!", code=2).stderr


def test_an_operator_reads_what_came_to_the_postmaster(quick: Quick) -> None:
    quick.run("postmaster", "list")
    raw, now = b"Subject: Your mail\r\n\r\nHello\r\n", datetime.now(UTC)
    kept = inside(quick, lambda session: postmaster.keep(session, "mo@isp.example", raw, now))
    [found] = json.loads(quick.run("postmaster", "list", "--json").stdout)["data"]
    assert (found["id"], found["sender"], found["subject"]) == (kept, "mo@isp.example", "Your mail")
    assert "Your mail" in quick.run("postmaster", "list").stdout
    assert "there is no mail pm_nope" in quick.run("postmaster", "show", "pm_nope", code=1).stderr
