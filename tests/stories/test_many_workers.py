"""Worker processes side by side: streams that do not hinder each other, races, pauses, a relay that they all rest."""

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from mailer import campaigns, halts
from mailer.campaigns import Upload
from mailer.campaigns.drafts import CampaignDraft
from mailer.drafts import parse
from mailer.status import Status
from mailer.submission import Submitter
from suppression.rules import Stream
from tests import servers
from tests.servers import Postgres, Redis, Relay, Stage
from tests.stories.crew import ROOT, Crew, crew, until


@asynccontextmanager
async def sinking(folder: Path) -> AsyncIterator[tuple[int, Path]]:
    """Run a fast relay in a process of its own: its port, and the file of its recipients."""
    path = folder / "recipients"
    path.touch()
    sink = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.stories.sink", str(path), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert sink.stdout is not None
        yield int(await sink.stdout.readline()), path
    finally:
        sink.kill()
        await sink.communicate()


async def campaign(crew: Crew, number: int) -> str:
    """Make a campaign to c0@…, c1@… and return its id."""
    draft = parse(CampaignDraft, {"name": "Spring", "topic": "newsletter", "subject": "Hello", "text": "A line."})
    service, sender = crew.service, Submitter.trusted(crew.tenant_id)
    made = await service.database.run(
        lambda session: campaigns.create(session, sender, draft, service.intake, service.now())
    )
    upload = Upload(
        database=service.database, intake=service.intake, sender=sender, campaign_id=made.id, now=service.now
    )
    added = await campaigns.add(upload, [{"email": f"c{place}@example.org"} for place in range(number)])
    assert added.new == number
    return made.id


async def reach(client: httpx2.AsyncClient, relay: Relay, prefix: str, number: int) -> list[float]:
    """Send single transactional mails, and return how many seconds after its acceptance each one's DATA came."""
    accepted: dict[str, float] = {}
    for place in range(number):
        to = f"{prefix}{place}@example.org"
        answer = await client.post(
            "/v1/emails", json={"stream": "transactional", "to": to, "subject": "Reset", "text": "A code."}
        )
        accepted[to] = time.monotonic()
        assert answer.status_code == 202
        await asyncio.sleep(0.03)
    await until(lambda: accepted.keys() <= {to for _, to in relay.asked}, 20)
    return sorted(max(0.0, at - accepted[to]) for at, to in relay.asked if to in accepted)


async def test_whatever_promotional_mail_does_transactional_mail_reaches_its_relay_at_once(
    tmp_path: Path, postgres: Postgres, redis: Redis, relay: Relay, capsys: pytest.CaptureFixture[str]
) -> None:
    port = servers.free_port()
    async with (
        sinking(tmp_path) as (sink, _path),
        crew(
            tmp_path,
            postgres,
            redis,
            promotional_relay=f"smtp://127.0.0.1:{sink}?starttls=off&connections=16",
            transactional_relay=f"smtp://127.0.0.1:{relay.port}?starttls=off&connections=4",
            retry_after="1s",
        ) as ours,
    ):
        await ours.submit("promotional", [f"flood{place}@example.org" for place in range(8000)])
        key = (await ours.run("key", "create", "tests", "--scope", "send:transactional")).strip()
        await asyncio.gather(
            ours.worker("transactional"), ours.start("web", "--port", str(port), says=f"ready: http://127.0.0.1:{port}")
        )
        promotional = await ours.worker("promotional")
        authorization = {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers=authorization, timeout=30, trust_env=False
        ) as client:
            waits = {"a flood": await reach(client, relay, "reset", 40)}
            assert not {Status.QUEUED, Status.SENDING}.isdisjoint((await ours.statuses("flood")).values()), "it is over"
            await ours.settled("flood")
            await ours.submit("promotional", [f"retry{place}@example.org" for place in range(1500)])
            waits["retries"] = await reach(client, relay, "again", 40)
            assert Status.DEFERRED in (await ours.statuses("retry")).values()
            await ours.submit("promotional", [f"hang{place}@example.org" for place in range(100)])
            async with asyncio.timeout(30):
                while Status.SENDING not in (await ours.statuses("hang")).values():
                    await asyncio.sleep(0.1)
            waits["a relay that hangs"] = await reach(client, relay, "last", 40)
        promotional.kill()
        with capsys.disabled():
            for what, found in waits.items():
                print(
                    f"\ntransactional mail during {what}: accepted -> DATA p50 {found[len(found) // 2] * 1000:.0f} ms, "
                    f"p99 {found[-1] * 1000:.0f} ms of {len(found)} ",
                    end="",
                )


async def test_two_workers_race_for_a_campaign_and_a_queue_and_nobody_gets_a_mail_twice(
    tmp_path: Path, postgres: Postgres, redis: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    # Single mail costs more to accept than a campaign's recipients, and races alike.
    campaigned, single = 75_000, 25_000
    async with sinking(tmp_path) as (sink, path):
        relay = f"smtp://127.0.0.1:{sink}?starttls=off&connections=32&per_connection=1000"
        async with crew(tmp_path, postgres, redis, promotional_relay=relay) as ours:
            identifier = await campaign(ours, campaigned)
            await ours.submit("promotional", [f"q{place}@example.org" for place in range(single)])
            service = ours.service
            sender = Submitter.trusted(ours.tenant_id)
            await service.database.run(
                lambda session: campaigns.start(session, sender, identifier, service.intake, service.now())
            )
            began = time.monotonic()
            await asyncio.gather(ours.worker("promotional"), ours.worker("promotional"))
            await ours.settled()
            took = time.monotonic() - began
            statuses = Counter((await ours.statuses()).values())
            await asyncio.sleep(0.3)
            copies = Counter(path.read_text().split())
    with capsys.disabled():
        print(
            f"\ntwo workers, {campaigned + single} rows of a campaign and a queue: {took:.1f} s with their start, "
            f"{dict(statuses)}, {len(copies)} recipients, {copies.total() - len(copies)} twice ",
            end="",
        )
    assert statuses == {Status.SENT: campaigned + single}
    numbers = {"c": campaigned, "q": single}
    assert copies == {f"{kind}{place}@example.org": 1 for kind, most in numbers.items() for place in range(most)}


async def quiet(relay: Relay, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It was just stopped: a second later nothing is begun any more."""
    returned, before = time.monotonic(), len(relay.asked)
    await asyncio.sleep(2)
    late = [at - returned for at, _to in relay.asked[before:]]
    with capsys.disabled():
        print(f"\n{what}: {len(late)} mails begun afterwards, the last {max(late, default=0):.2f} s later ", end="")
    assert max(late, default=0) <= 1.0


async def test_a_pause_and_a_cancel_are_silent_within_a_second_whatever_two_workers_had_in_hand(
    tmp_path: Path, postgres: Postgres, redis: Redis, relay: Relay, capsys: pytest.CaptureFixture[str]
) -> None:
    number = 4000
    relay.at(Stage.DOT, wait=0.05)
    address = f"smtp://127.0.0.1:{relay.port}?starttls=off&connections=16"
    async with crew(tmp_path, postgres, redis, promotional_relay=address) as ours:
        identifier = await campaign(ours, number)
        await asyncio.gather(ours.worker("promotional"), ours.worker("promotional"))
        service, sender = ours.service, Submitter.trusted(ours.tenant_id)

        async def going() -> None:
            before = len(relay.mails)
            # Connections are changed after 100 mails each: 16 are open between two changes.
            await until(lambda: len(relay.mails) > before + 100 and relay.open == 16)
            assert relay.open == 16

        async def do(verb: Callable[..., object], *words: object) -> None:
            await service.database.run(lambda session: verb(session, *words))

        # What the command line and the API do, without the time that a process takes to end after its commit.
        await do(campaigns.start, sender, identifier, service.intake, service.now())
        await going()
        await do(campaigns.pause, sender, identifier, None, service.now())
        await quiet(relay, "campaign pause", capsys)
        await do(campaigns.resume, sender, identifier, service.intake, service.now())
        await going()
        await do(halts.pause, Stream.PROMOTIONAL, "tests", service.now())
        await quiet(relay, "stream pause", capsys)
        await ours.run("stream", "resume", "promotional")
        await going()
        await ours.run("stream", "pause", "promotional")
        await quiet(relay, "`mailer stream pause`", capsys)
        await ours.run("stream", "resume", "promotional")
        await going()
        await do(campaigns.cancel, sender, identifier, service.now())
        await quiet(relay, "campaign cancel", capsys)
        # What a worker was queueing at that moment is held again a little later: only a clock that runs sees it.
        await ours.start("clock")
        await ours.settled()
        statuses = Counter((await ours.statuses()).values())
    assert statuses == {Status.SENT: len(relay.mails), Status.CANCELLED: number - len(relay.mails)}
    assert len(set(relay.recipients)) == len(relay.recipients)


async def test_a_relay_that_fails_rests_for_two_workers_and_is_probed_by_one_connection(
    tmp_path: Path, postgres: Postgres, redis: Redis, relay: Relay
) -> None:
    port = servers.free_port()
    name = f"smtp://127.0.0.1:{relay.port}"
    relay.at(Stage.GREETING, "421 4.3.2 busy", wait=0.2, close=True)
    async with (
        crew(tmp_path, postgres, redis, transactional_relay=f"{name}?starttls=off&connections=8") as ours,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client,
    ):
        await asyncio.gather(
            ours.worker("transactional"),
            ours.worker("transactional"),
            ours.start("web", "--port", str(port), says=f"ready: http://127.0.0.1:{port}"),
        )
        assert (await client.get("/readyz")).status_code == 200
        await ours.submit("transactional", [f"t{place}@example.org" for place in range(200)])
        await until(lambda: relay.connections > 0 and relay.open == 0)
        async with asyncio.timeout(5):
            while (told := await client.get("/readyz")).status_code == 200:
                await asyncio.sleep(0.02)
        assert f"{name} rests since" in told.json()["streams"]["transactional"]
        assert "it answered 421" in told.json()["streams"]["transactional"]
        # Connections that had begun before anybody knew are over.
        relay.peak, before = 0, relay.connections
        await until(lambda: relay.connections > before)
        assert relay.peak == 1
        streams = json.loads(await ours.run("stream", "status", "--json"))["data"]
        [resting] = next(each["relays"] for each in streams if each["stream"] == "transactional")
        assert (resting["name"], resting["resting"]) == (name, True)
        assert relay.peak == 1
        relay.behave()
        await ours.settled("t")
        assert Counter((await ours.statuses("t")).values()) == {Status.SENT: 200}
        assert len(set(relay.recipients)) == len(relay.recipients) == 200
        first, second = itertools.islice(relay.mails, 2)
        assert first.connection == second.connection, "the probe is followed by one mail at a time"
        assert (await client.get("/readyz")).status_code == 200
