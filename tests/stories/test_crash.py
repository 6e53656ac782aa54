"""kill -9 of `mailer serve` amid 2,000 emails: nothing lost, nothing promotional twice, doubt is bounded."""

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx2

from tests.stories.served import POSTAL, environment, start

CONNECTIONS = 8
EACH = 1000


def batches(client: httpx2.Client, stream: str) -> list[str]:
    body = {"stream": stream, "subject": "Hello", "text": "A line."} | (
        {"topic": "newsletter"} if stream == "promotional" else {}
    )
    emails = [{**body, "to": f"{stream[0]}{number}@example.org"} for number in range(EACH)]
    answer = client.post("/v1/emails/batch", json={"emails": emails})
    assert answer.status_code == 202
    return [one["id"] for one in answer.json()["data"]]


def statuses(client: httpx2.Client, stream: str) -> Counter[str]:
    numbers = client.get("/v1/emails", params={"stream": stream, "limit": 100}).json()
    found: Counter[str] = Counter()
    while True:
        found.update(one["status"] for one in numbers["data"])
        if not numbers["has_more"]:
            return found
        after = numbers["data"][-1]["id"]
        numbers = client.get("/v1/emails", params={"stream": stream, "limit": 100, "after": after}).json()


def test_kill_9_in_the_middle_of_2000_emails(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.touch()
    relay = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("slow_relay.py")), "0", str(taken), "0.02"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert relay.stdout is not None
        address = f"smtp://127.0.0.1:{int(relay.stdout.readline())}?starttls=off&connections={CONNECTIONS}"
        env = environment(
            tmp_path / "data",
            postal_address=POSTAL,
            transactional_relay=address,
            promotional_relay=address,
            public_url="https://mail.example.org",
        )
        served = start(env)
        with served.client("send:transactional", "send:promotional", "read") as client:
            for stream in ("promotional", "transactional"):
                batches(client, stream)
            while len(taken.read_text().splitlines()) < EACH // 4:
                time.sleep(0.02)
            served.kill()
        keys = served.keys
        began = time.monotonic()
        served = start(env)
        served.keys = keys
        with served.client("send:transactional", "send:promotional", "read") as client:
            while True:
                found = {stream: statuses(client, stream) for stream in ("transactional", "promotional")}
                waiting = sum(count[status] for count in found.values() for status in ("queued", "sending", "deferred"))
                if not waiting:
                    break
                assert time.monotonic() - began < 120, found
                time.sleep(0.5)
        served.process.end(60)
    finally:
        relay.kill()
        relay.communicate()
    copies = Counter(line.split()[0] for line in taken.read_text().splitlines())
    transactional = [copies[f"t{number}@example.org"] for number in range(EACH)]
    promotional = [copies[f"p{number}@example.org"] for number in range(EACH)]
    print(f"after {time.monotonic() - began:.1f} s: {found}; sent again {sum(n - 1 for n in transactional)}")
    assert min(transactional) >= 1
    assert max(promotional) <= 1
    assert found["transactional"] == {"sent": EACH}
    assert found["promotional"]["uncertain"] <= CONNECTIONS
    assert found["promotional"].total() == EACH
    assert promotional.count(0) <= found["promotional"]["uncertain"]
