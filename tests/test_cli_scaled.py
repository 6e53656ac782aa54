"""One process each: web, workers and clock over PostgreSQL and Redis."""

import json
import time
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from tests.commands import Process
from tests.servers import Postgres, Redis
from tests.test_cli import Shell


@pytest.fixture
def scaled(tmp_path: Path, postgres: Postgres, redis: Redis) -> Shell:
    shell = Shell(tmp_path)
    shell.env |= {"MAILER_DATABASE_URL": postgres.create(), "MAILER_REDIS_URL": redis.url}
    return shell


def ended(process: Process) -> str:
    process.terminate()
    assert process.wait(30) == 0, process.complained
    err = process.complained
    assert "Traceback" not in err
    return err


def test_only_migrate_migrates_postgresql(scaled: Shell) -> None:
    assert "mailer migrate" in scaled.run("topic", "list", code=2).stderr
    scaled.run("migrate")
    scaled.run("migrate")
    assert "newsletter" in scaled.run("topic", "list").stdout


def test_web_and_worker_want_both_relays(scaled: Shell) -> None:
    for words in (["web", "--port", "0"], ["worker", "promotional"]):
        said = scaled.run(*words, code=2).stderr
        assert "MAILER_TRANSACTIONAL_RELAY and MAILER_PROMOTIONAL_RELAY" in said


def test_mail_goes_from_web_to_worker(scaled: Shell) -> None:
    scaled.run("migrate")
    scaled.env |= {"MAILER_TRANSACTIONAL_RELAY": "inbox:", "MAILER_PROMOTIONAL_RELAY": "inbox:"}
    key = scaled.run("key", "create", "shop", "--scope", "send:transactional", "--scope", "read").stdout.strip()
    with ExitStack() as stack:
        processes = [scaled.start(*words) for words in (["web", "--port", "0"], ["worker", "transactional"], ["clock"])]
        for process in processes:
            stack.callback(process.kill)
        url = processes[0].ready()
        headers = {"Authorization": f"Bearer {key}"}
        body = {"stream": "transactional", "to": "ann@example.org", "subject": "Hello", "text": "A line."}
        with httpx2.Client(base_url=url, headers=headers, trust_env=False) as client:
            placed = client.post("/v1/emails", json=body).json()
            until = time.monotonic() + 20
            while (found := client.get(f"/v1/emails/{placed['id']}").json())["status"] != "sent":
                assert time.monotonic() < until, found
        told = [ended(process) for process in processes]
    assert "worker of the transactional stream" in told[1]
    assert "clock" in told[2]
    listed = json.loads(scaled.run("emails", "list", "--json").stdout)
    assert [email["status"] for email in listed["data"]] == ["sent"]
