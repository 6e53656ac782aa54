"""The demo: every template to people who do not exist, by the way that real mail goes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from mailer import catalogue, demo
from mailer.demo import samples
from mailer.errors import ConfigurationError
from tests import commands

MAILER = Path(sys.executable).with_name("mailer")


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAILER_")}
    # What a demo must not touch, and does not need to be able to reach.
    ignored = {
        "MAILER_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x",
        "MAILER_REDIS_URL": "redis://127.0.0.1:1",
        "MAILER_TRANSACTIONAL_RELAY": "smtp://127.0.0.1:1",
        "MAILER_PROMOTIONAL_RELAY": "smtp://127.0.0.1:1",
        "MAILER_ONLY_TO": "*@ours.example",
        "MAILER_FROM": "nobody",
    }
    return kept | ignored | {"MAILER_DATA_DIR": str(folder / "data")}


def once(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    done = commands.run("demo", "--once", *words, env=environment(folder), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_once_says_what_became_of_every_sample(tmp_path: Path) -> None:
    for attempt in range(2):
        printed = json.loads(once(tmp_path, "--json").stdout)
        assert set(printed) == {"emails"}
        emails = printed["emails"]
        assert {tuple(email) for email in emails} == {("id", "to", "stream", "template", "status", "reason")}
        assert {email["template"] for email in emails} == set(catalogue.shipped())
        lena = [email for email in emails if email["to"] == samples.LENA.email]
        assert [email["status"] for email in lena] == ["suppressed" if attempt else "sent", "suppressed", "sent"]
        assert (lena[1]["stream"], lena[1]["reason"]) == ("promotional", "unsubscribe")
        assert (lena[2]["template"], lena[2]["reason"]) == ("invoice", None)
        assert {email["status"] for email in emails if email not in lena} == {"sent"}
    assert (tmp_path / "data" / "demo" / "mailer.db").is_file()
    assert not (tmp_path / "data" / "mailer.db").exists()


def test_once_prints_a_table_for_people(tmp_path: Path) -> None:
    printed = once(tmp_path).stdout
    assert "suppressed" in printed
    assert "unsubscribe" in printed
    assert "lena.berg@halden.example" in printed


def test_the_demo_serves_its_inbox(tmp_path: Path) -> None:
    process = commands.start("demo", "--port", "0", env=environment(tmp_path), cwd=tmp_path)
    try:
        url = process.ready()
        process.until(lambda process: "stop it" in process.complained)
        assert f"{url}/inbox" in process.complained
        page = httpx2.get(f"{url}/inbox", trust_env=False)
        assert page.status_code == 200
        assert "ann.meyer@northwind.example" in page.text
        # The week behind it is made while it serves.
        process.until(lambda process: "history:" in process.complained, 120)
        (link,) = [each.split()[-1] for each in process.complained.splitlines() if each.startswith("dashboard:")]
        with httpx2.Client(trust_env=False, follow_redirects=True) as client:
            assert client.get(link).status_code == 200
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(30)
    assert code == 0, process.complained


def test_every_sample_fits_its_template() -> None:
    found = [samples.first(), *samples.after_leaving(), *samples.all_templates()]
    assert {sample.content.name for sample in found} == set(catalogue.shipped())
    for sample in found:
        assert sample.content.schema.check(sample.draft().variables) == []
    assert {sample.person.locale for sample in found} == {"en", "uk"}


def test_a_slip_of_the_pen_is_refused_here_too() -> None:
    with pytest.raises(ConfigurationError, match="MAILER_RELY"):
        demo.settings({"MAILER_RELY": "x"})
