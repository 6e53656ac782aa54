"""What the stories of faults share: real processes over a relay that keeps a record, and the reckoning at the end."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import httpx2
import redis

from tests import commands, servers
from tests.commands import Process
from tests.servers import Postgres, Redis
from tests.stories import served
from tests.stories.served import POSTAL, environment

CONNECTIONS = 8
#: For how many seconds a server stays away: ten stand for the minute of a run by hand (MAILER_TEST_AWAY=60).
AWAY = float(os.environ.get("MAILER_TEST_AWAY", "10"))
TRANSACTIONAL, PROMOTIONAL = "transactional", "promotional"
_FINAL = ("sent", "bounced", "failed", "cancelled", "expired", "uncertain")
_SCOPES = ("send:transactional", "send:promotional", "campaigns", "suppressions", "read")


class Took(NamedTuple):
    """A mail that the relay took."""

    recipient: str
    #: Its Message-ID.
    key: str
    #: When its DATA began, by the monotonic clock, which all processes of a machine share.
    began: float
    #: Its Date, as seconds since 1970.
    dated: float
    #: Where a POST opts out; `-` where the mail has none.
    link: str


@dataclass
class Sink:
    """A relay in a process of its own, which takes every mail and writes down whose it was."""

    record: Path
    port: int

    @property
    def address(self) -> str:
        """Return it as a setting names it."""
        return f"smtp://127.0.0.1:{self.port}?starttls=off&connections={CONNECTIONS}"

    def took(self) -> list[Took]:
        """Return every mail that it took so far."""
        whole = self.record.read_text().rpartition("\n")[0]
        rows = (line.split() for line in whole.splitlines())
        return [Took(to, key, float(began), float(dated), link) for to, key, began, dated, link in rows]

    def number(self) -> int:
        """Return how many mails it took so far."""
        return self.record.read_bytes().count(b"\n")


@contextmanager
def sink(folder: Path, delay: float) -> Iterator[Sink]:
    """Start a relay that answers each mail after so many seconds."""
    record = folder / "taken"
    record.touch()
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("slow_relay.py")), "0", str(record), str(delay)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield Sink(record, int(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()


def until(what: Callable[[], object], seconds: float = 30.0, every: float = 0.05) -> float:
    """Wait until something is so, and return how many seconds that took."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds, f"not so after {seconds:g} s"
        time.sleep(every)
    return time.monotonic() - began


@dataclass
class World:
    """The processes of a service, what they are called, and the relay behind them."""

    env: Mapping[str, str]
    url: str
    sink: Sink
    log: Path
    #: None: embedded.
    postgres: Postgres | None = None
    running: dict[str, Process] = field(default_factory=dict)
    client: httpx2.Client = field(default_factory=httpx2.Client)

    @property
    def database_url(self) -> str:
        """Return where its mail waits."""
        return self.env["MAILER_DATABASE_URL"]

    def start(self, name: str, *words: str, before: Sequence[str] | None = None, **more: str) -> Process:
        """Start a process under a name, by the help of another program; `more` goes into its environment."""
        with self.log.open("a+b") as log:
            process = commands.start(*words, env={**self.env, **more}, log=log, before=before)
        self.running[name] = process
        return process

    def until_running(self, *names: str) -> None:
        """Wait until processes say that they do their work."""
        for name in names:
            said = f"(process {self.running[name].pid})"
            until(lambda said=said: said in self.log.read_text())  # type: ignore[misc]

    def lapse(self) -> None:
        """Let half a minute pass for whoever does not beat any more: its leases, its role, its seats at the relay."""
        assert self.postgres is not None
        for table, column in (("lease", "beat_at"), ("role", "until")):
            self.postgres.command(f"UPDATE {table} SET {column} = {column} - interval '1 minute'", self.database_url)
        with redis.Redis.from_url(self.env["MAILER_REDIS_URL"]) as client:
            client.flushall()

    def start_web(self, word: str = "web", before: Sequence[str] | None = None) -> None:
        """Start `web`, or `serve`, and wait until it answers."""
        self.start(word, word, "--port", self.url.rpartition(":")[2], before=before)
        self.until_ready()

    def until_ready(self, seconds: float = 30.0) -> float:
        """Wait until the web process answers and has its database."""
        return until(lambda: self.ready() == 200, seconds)

    def ready(self) -> int:
        """Return what `/readyz` answers; 0 where nobody does."""
        try:
            return self.client.get("/readyz").status_code
        except httpx2.TransportError:
            return 0

    def kill(self, name: str) -> None:
        """Kill a process with -9."""
        process = self.running.pop(name)
        process.kill()
        process.wait(10)

    def stopped(self, name: str, seconds: float = 25.0) -> int:
        """Wait for the end of a process that was asked to stop, and return its exit code."""
        return self.running.pop(name).wait(seconds)

    def end(self) -> None:
        """Stop whatever still runs."""
        for process in self.running.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.running.values():
            process.end(25)
        self.client.close()

    def open_client(self) -> None:
        """Make a key for everything, and keep a client with it."""
        self.client = served.client(self.url, served.key(self.env, *_SCOPES))


@contextmanager
def scaled(folder: Path, postgres: Postgres, bells: Redis, *, delay: float = 0.02) -> Iterator[World]:
    """Run `web` on a fresh database; a test starts the workers and clocks that it needs."""
    database_url, port = postgres.take(), servers.free_port()
    with sink(folder, delay) as relay:
        env = environment(
            folder / "data",
            postal_address=POSTAL,
            database_url=database_url,
            redis_url=bells.url,
            transactional_relay=relay.address,
            promotional_relay=relay.address,
            transactional_public_url="https://mail.example.org",
            promotional_public_url="https://mail.example.org",
            retry_after="2s,5s,10s",
        )
        world = World(env, f"http://127.0.0.1:{port}", relay, folder / "log", postgres)
        try:
            world.open_client()
            world.start_web()
            yield world
        finally:
            world.end()
            postgres.give_back(database_url)


@contextmanager
def embedded(folder: Path, *, delay: float = 0.02, **settings: str) -> Iterator[World]:
    """Make everything for a `serve` that the test starts, on SQLite."""
    with sink(folder, delay) as relay:
        env = environment(
            folder / "data",
            postal_address=POSTAL,
            transactional_relay=relay.address,
            promotional_relay=relay.address,
            public_url="https://mail.example.org",
            **settings,
        )
        world = World(env, f"http://127.0.0.1:{servers.free_port()}", relay, folder / "log")
        try:
            world.open_client()
            yield world
        finally:
            world.end()


@dataclass
class Case:
    """What one test asks for; its mail is told apart by a tag."""

    name: str
    world: World
    #: Stream -> to whom something was accepted (answered with 202).
    accepted: dict[str, list[str]] = field(default_factory=lambda: {TRANSACTIONAL: [], PROMOTIONAL: []})
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    #: How many mails the relay took before.
    _before: int = 0

    def __post_init__(self) -> None:
        """Look what the relay took for others."""
        self._before = self.world.sink.number()

    def people(self, stream: str, number: int) -> list[str]:
        """Return so many addresses that nobody had before."""
        return [f"{self.name}-{stream[0]}{place}@example.org" for place in itertools.islice(self._numbers, number)]

    def took(self) -> list[Took]:
        """Return what the relay took since this test began."""
        return self.world.sink.took()[self._before :]

    def mail(self, stream: str, to: str) -> dict[str, object]:
        """Return one mail as the API takes it."""
        topic = {"topic": "newsletter"} if stream == PROMOTIONAL else {}
        return {"stream": stream, "to": to, "subject": "Hi", "text": "A line.", "tags": {"case": self.name}, **topic}

    def batch(self, stream: str, number: int) -> None:
        """Have mails accepted in one request."""
        people = self.people(stream, number)
        answer = self.world.client.post("/v1/emails/batch", json={"emails": [self.mail(stream, to) for to in people]})
        assert answer.status_code == 202, answer.text
        assert all("id" in each for each in answer.json()["data"]), answer.text
        self.accepted[stream] += people

    def single(self, stream: str) -> httpx2.Response:
        """Ask for one mail, whatever is answered."""
        to = self.people(stream, 1)[0]
        answer = self.world.client.post("/v1/emails", json=self.mail(stream, to))
        if answer.status_code == 202:
            self.accepted[stream].append(to)
        return answer

    def campaign(self, number: int, *others: str) -> str:
        """Make a campaign with so many recipients and some others, not started."""
        client = self.world.client
        made = {"name": self.name, "topic": "newsletter", "subject": "Hi", "text": "A line."}
        answer = client.post("/v1/campaigns", json={**made, "tags": {"case": self.name}})
        assert answer.status_code == 201, answer.text
        identifier = str(answer.json()["id"])
        people = self.people(PROMOTIONAL, number)
        for place, other in enumerate(others):
            people.insert(place * len(people) // len(others), other)
        added = client.post(
            f"/v1/campaigns/{identifier}/recipients",
            content="\n".join(["email", *people]),
            headers={"Content-Type": "text/csv"},
        )
        assert added.json()["new"] == len(people), added.text
        self.accepted[PROMOTIONAL] += people
        return identifier

    def started(self, number: int, *others: str) -> str:
        """Make a campaign and start it."""
        identifier = self.campaign(number, *others)
        assert self.world.client.post(f"/v1/campaigns/{identifier}/start").status_code == 200
        return identifier

    def taken(self) -> int:
        """Return how many mails the relay took since this test began."""
        return self.world.sink.number() - self._before

    def numbers(self) -> dict[str, dict[str, float]]:
        """Return the report of this test's mail, by stream."""
        answer = self.world.client.get("/v1/metrics", params={"tag": f"case={self.name}"})
        assert answer.status_code == 200, answer.text
        streams: dict[str, dict[str, float]] = answer.json()["streams"]
        return streams

    def waiting(self) -> float:
        """Return how many of this test's mails have come to no end."""
        return sum(numbers["waiting"] for numbers in self.numbers().values())

    def rows(self, stream: str) -> dict[str, str]:
        """Return the status of every row of this test's mail, by its recipient."""
        asked, found = {"tag": f"case={self.name}", "stream": stream, "limit": "200"}, dict[str, str]()
        while True:
            page = self.world.client.get("/v1/emails", params=asked).json()
            for each in page["data"]:
                assert found.setdefault(each["to"], each["status"]) is each["status"], "two rows for one mail"
            if not page["has_more"]:
                return found
            asked["after"] = page["data"][-1]["id"]

    def adopt(self) -> int:
        """Count as asked for what was committed though its answer did not arrive; return how many these are."""
        adopted = 0
        for stream in self.accepted:
            unanswered = self.rows(stream).keys() - set(self.accepted[stream])
            self.accepted[stream] += unanswered
            adopted += len(unanswered)
        return adopted

    def settle(self, seconds: float = 60.0) -> float:
        """Wait until every mail of this test has come to its end; return how many seconds that took."""
        return until(lambda: not self.waiting(), seconds, every=0.2)

    def reckon(self, *, connections: int = CONNECTIONS, more: str = "") -> Counter[str]:
        """Compare what was asked for, rows, counters and the relay's record; print the figures, and return the rows."""
        numbers = self.numbers()
        found = {stream: Counter(self.rows(stream).values()) for stream in self.accepted}
        copies = Counter(took.recipient for took in self.took())
        lost = sum(not copies[to] for to in self.accepted[TRANSACTIONAL])
        again = sum(copies[to] - 1 for to in self.accepted[TRANSACTIONAL] if copies[to])
        twice = sum(copies[to] > 1 for to in self.accepted[PROMOTIONAL])
        unsent = sum(not copies[to] for to in self.accepted[PROMOTIONAL])
        total = sum(found.values(), Counter[str]())
        requested = sum(map(len, self.accepted.values()))
        shown = " ".join(f"{status}={number}" for status, number in sorted(total.items()))
        print(
            f"{self.name}: requested={requested} {shown} | transactional lost={lost} sent again={again} | "
            f"promotional twice={twice} not taken={unsent}{more}",
            flush=True,
        )
        for stream, rows in found.items():
            assert rows.total() == len(self.accepted[stream]) == numbers[stream]["requested"], (stream, rows, numbers)
            counted = {name: numbers[stream][name] for name in (*_FINAL, "suppressed")}
            assert counted == {name: rows[name] for name in counted}, (stream, rows, numbers[stream])
            assert numbers[stream]["waiting"] == 0
        assert (lost, twice) == (0, 0)
        assert found[TRANSACTIONAL]["uncertain"] == 0
        assert found[PROMOTIONAL]["uncertain"] <= connections
        assert unsent <= found[PROMOTIONAL].total() - found[PROMOTIONAL]["sent"]
        return total
