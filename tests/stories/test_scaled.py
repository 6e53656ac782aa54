"""Every process of the Procfile apart, on PostgreSQL and Redis: both streams, an opt-out, a crash."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests import servers
from tests.commands import Process, start
from tests.servers import Postgres, Redis
from tests.stories.served import POSTAL, Served, environment, run
from tests.stories.test_opt_out import INVOICE, NEWSLETTER, captured, send

ROOT = Path(__file__).parent.parent.parent


def procfile() -> dict[str, list[str]]:
    lines = (ROOT / "Procfile").read_text().splitlines()
    commands = {name: command.split() for name, _, command in (line.partition(": ") for line in lines)}
    # With `exec` no shell stands between who runs the line and its process: a signal to the one reaches the other.
    assert {tuple(words[:2]) for words in commands.values()} == {("exec", "mailer")}
    return {name: words[2:] for name, words in commands.items()}


@contextmanager
def scaled(folder: Path, postgres: Postgres, redis: Redis) -> Iterator[tuple[Served, dict[str, Process]]]:
    """Run what the Procfile names, each in a process of its own."""
    database_url = postgres.take()
    port = servers.free_port()
    env = environment(
        folder,
        postal_address=POSTAL,
        database_url=database_url,
        redis_url=redis.url,
        transactional_relay="inbox:",
        promotional_relay="inbox:",
        return_path_domain="bounce.example.org",
        inbound_listen=f"127.0.0.1:{servers.free_port()}",
        # Links of mail must lead to the web process, which is not the worker that composes them.
        promotional_public_url=f"http://127.0.0.1:{port}",
        transactional_public_url=f"http://127.0.0.1:{port}",
    )
    commands = procfile()
    run(env, *commands.pop("release"))
    commands["web"] = ["web", "--port", str(port)]
    running = {name: start(*words, env=env) for name, words in commands.items()}
    try:
        assert running["web"].ready() == f"http://127.0.0.1:{port}"
        yield Served(env, f"http://127.0.0.1:{port}", running["web"]), running
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.end()
        postgres.give_back(database_url)


def test_every_process_apart_on_postgresql_and_redis(tmp_path: Path, postgres: Postgres, redis: Redis) -> None:
    with scaled(tmp_path / "data", postgres, redis) as (served, running):
        admin = served.run("key", "create", "inbox", "--scope", "admin").strip()
        with served.client("send:transactional", "send:promotional", "read") as client:
            to = "ann@example.org"
            began = time.monotonic()
            assert served.settled(client, send(client, to, NEWSLETTER))["status"] == "sent"
            assert served.settled(client, send(client, to, INVOICE))["status"] == "sent"
            print(f"two emails in {time.monotonic() - began:.2f} s")
            with httpx2.Client(base_url=served.url, auth=("any", admin), trust_env=False) as reader:
                assert client.get("/inbox").status_code == 401
                newsletter = captured(reader, to)[-1]
            unsubscribe, mailto = str(newsletter["List-Unsubscribe"]).split(", ")
            assert mailto.endswith("@bounce.example.org>")
            assert httpx2.post(unsubscribe.strip("<>"), trust_env=False).status_code == 200
            again = client.post("/v1/emails", json={**NEWSLETTER, "to": to}).json()
            assert again["status"] == "suppressed"
            assert served.settled(client, send(client, to, INVOICE))["status"] == "sent"
            doctored = json.loads(served.run("doctor", "unsubscribe", "--json"))
            assert {each["message"] for each in doctored["findings"] if each["check"].startswith("by mail")} == {
                "the answer 250, the person has left; given back"
            }
            # A worker that is killed loses nothing: another one takes over.
            running["transactional"].kill()
            waiting = send(client, to, INVOICE)
            running["second"] = start("worker", "transactional", env=served.env)
            assert served.settled(client, waiting, 90)["status"] == "sent"
