"""A real `mailer serve` in a process of its own, and what a person or program does with it over HTTP."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from tests import commands
from tests.commands import Process

POSTAL = "Ringwise Ltd, 12 Bell Lane, Kyiv 01001, Ukraine"
ENDED = {"sent", "suppressed", "bounced", "failed", "cancelled", "expired", "uncertain"}


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """Return this process's environment with nothing of ours in it but what is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAILER_")}
    kept.pop("DATABASE_URL", None)
    kept.pop("REDIS_URL", None)
    kept["MAILER_DATA_DIR"] = str(folder)
    return kept | {f"MAILER_{name.upper()}": value for name, value in settings.items()}


@dataclass
class Served:
    """One running service."""

    env: Mapping[str, str]
    url: str
    process: Process
    keys: dict[str, str] = field(default_factory=dict)

    def run(self, *words: str) -> str:
        """Run another command beside it and return its stdout."""
        return run(self.env, *words)

    def client(self, *scopes: str) -> httpx2.Client:
        """Return a client with a key of these scopes."""
        name = "+".join(scopes)
        if name not in self.keys:
            self.keys[name] = key(self.env, *scopes)
        return client(self.url, self.keys[name])

    def settled(self, client: httpx2.Client, identifier: str, seconds: float = 20) -> dict[str, object]:
        """Return an email once its delivery has ended."""
        email: dict[str, object] = {}
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            email = client.get(f"/v1/emails/{identifier}").json()
            if email["status"] in ENDED:
                return email
            time.sleep(0.05)
        raise AssertionError(f"still {email.get('status')} after {seconds} s")

    def kill(self) -> None:
        """Kill the process as a crash would."""
        self.process.kill()
        self.process.wait(10)


def run(env: Mapping[str, str], *words: str) -> str:
    """Run a command and return its stdout."""
    done = commands.run(*words, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def key(env: Mapping[str, str], *scopes: str) -> str:
    """Make a key of these scopes."""
    words = [word for scope in scopes for word in ("--scope", scope)]
    return run(env, "key", "create", "+".join(scopes), *words).strip()


def client(url: str, key: str) -> httpx2.Client:
    """Return a client that shows a key."""
    return httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30, trust_env=False)


def start(env: Mapping[str, str], port: int = 0) -> Served:
    """Start `mailer serve` and wait for its ready line."""
    process = commands.start("serve", "--port", str(port), env=env)
    return Served(env, process.ready(), process)


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[Served]:
    """Serve from a folder, and stop in order at the end."""
    served = start(environment(folder, **{"postal_address": POSTAL, **settings}))
    try:
        yield served
    finally:
        served.process.end()
