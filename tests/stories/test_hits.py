"""Loaded pictures wait in memory before they are written: what the end of a process, or a crash, does to them."""

import itertools
import signal
import sqlite3
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from mailer import ids, secrets
from mailer.links import Links, one_email
from mailer.settings import Settings
from suppression.rules import Stream
from tests.stories.served import Served, serving

MANY = 120
READER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.0"}
#: What docs/tracking.md promises for kill -9, in seconds.
PROMISED = 1.0


def file_of(folder: Path) -> Path:
    (file,) = folder.rglob("mailer.db")
    return file


def pictures(served: Served, folder: Path) -> Mapping[str, str]:
    """Send mail whose openings are measured by person, and return the path of each one's picture, by its id."""
    served.run("tenant", "set", "default", "--promotional-opens", "individual", "--consent", "not_refused")
    common = {"stream": "promotional", "topic": "newsletter", "subject": "News", "html": "<p>News.</p>"}
    with served.client("send:promotional") as client:
        emails = [{**common, "to": f"p{number}@example.org"} for number in range(MANY)]
        found = [each["id"] for each in client.post("/v1/emails/batch", json={"emails": emails}).json()["data"]]
    until = time.monotonic() + 60
    with sqlite3.connect(file_of(folder)) as database:
        while database.execute("SELECT count(*) FROM email WHERE status = 'sent'").fetchone() != (MANY,):
            assert time.monotonic() < until
            time.sleep(0.1)
    settings = Settings(data_dir=str(folder))
    links = Links(settings, secrets.token_ring(settings))
    made = {each: links.of_mail(Stream.PROMOTIONAL, None, one_email(ids.to_bytes(each))).pixel or "" for each in found}
    return {each: "/o/" + address.rpartition("/")[2] for each, address in made.items()}


def stored(folder: Path) -> set[str]:
    """Return the mails whose picture somebody is known to have loaded."""
    with sqlite3.connect(file_of(folder)) as database:
        rows = database.execute("SELECT email_id FROM event WHERE kind = 'email.opened'").fetchall()
    assert len(rows) == len(set(rows)), "each was loaded once"
    return {email_id for (email_id,) in rows}


def test_sigterm_loses_no_hit_that_was_answered(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        paths = pictures(served, tmp_path)
        with httpx2.Client(base_url=served.url, headers=READER, trust_env=False, timeout=30) as client:
            for path in paths.values():
                assert client.get(path).status_code == 200
            served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(60) == 0, served.process.complained
        assert stored(tmp_path) == set(paths)


@dataclass
class Readers:
    """Load one picture after the other until nobody answers, and note when each was answered."""

    url: str
    paths: Mapping[str, str]
    answered: dict[str, float] = field(default_factory=dict)

    def __call__(self) -> None:
        """Go on until the server is gone."""
        with httpx2.Client(base_url=self.url, headers=READER, trust_env=False, timeout=30) as client:
            for email_id, path in self.paths.items():
                try:
                    client.get(path)
                except httpx2.TransportError:
                    return
                self.answered[email_id] = time.monotonic()
                time.sleep(0.02)

    @property
    def stood_still(self) -> float:
        """Return the longest time between two answers: so long the machine had no time for us."""
        moments = list(self.answered.values())
        return max(after - before for before, after in itertools.pairwise(moments))


def test_kill_9_loses_at_most_the_hits_of_the_last_second(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        paths = pictures(served, tmp_path)
        readers = Readers(served.url, paths)
        reading = threading.Thread(target=readers)
        reading.start()
        until = time.monotonic() + 60
        while len(readers.answered) < MANY * 3 // 4:
            assert time.monotonic() < until
            time.sleep(0.01)
        served.kill()
        killed = time.monotonic()
        reading.join(60)
    kept = stored(tmp_path)
    lost = {each: killed - moment for each, moment in readers.answered.items() if each not in kept}
    print(f"answered {len(readers.answered)}, lost {len(lost)}, the oldest {max(lost.values(), default=0):.2f} s old")
    assert kept
    assert kept <= set(paths)
    assert max(lost.values(), default=0) <= PROMISED + 2 * readers.stood_still
