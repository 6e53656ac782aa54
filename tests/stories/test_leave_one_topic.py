"""Somebody leaves one topic while a campaign of 5,000 runs: it goes on without them, all else still reaches them."""

import asyncio
import email
import email.policy
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from tests.servers import Relay
from tests.stories.served import Served, serving

NUMBER, LEAVERS = 5000, 30
LEAVING = [f"p{place}@example.org" for place in range(NUMBER - LEAVERS, NUMBER)]
NEWS = {"stream": "promotional", "topic": "newsletter", "subject": "News", "text": "Three things happened."}
EVENT = {"stream": "promotional", "topic": "events", "subject": "A meet-up", "text": "On Friday."}
RECEIPT = {"stream": "transactional", "subject": "Receipt", "text": "12 euros."}
PATIENCE = 200.0


def links(relay: Relay) -> dict[str, str]:
    """Return the path of the one-click link in the last mail of each person."""
    found = {}
    for mail in relay.mails:
        header = str(email.message_from_bytes(mail.data, policy=email.policy.default)["List-Unsubscribe"])
        link = re.match(r"<(https://[^>]+)>", header)
        assert link, header
        found[mail.recipient] = urlsplit(link[1]).path
    return found


async def sent(client: httpx2.AsyncClient, body: dict[str, str], people: list[str]) -> list[str]:
    """Send a mail to each and return their statuses at acceptance."""
    answer = await client.post("/v1/emails/batch", json={"emails": [{**body, "to": each} for each in people]})
    return [str(each["status"]) for each in answer.json()["data"]]


async def until(relay: Relay, number: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while len(relay.mails) < number:
            await asyncio.sleep(0.05)


async def start(client: httpx2.AsyncClient) -> str:
    """Make a campaign for everybody and start it."""
    made = {"name": "Autumn", "topic": "newsletter", "subject": "Autumn", "text": "It is here."}
    campaign = str((await client.post("/v1/campaigns", json=made)).json()["id"])
    table = "email\n" + "".join(f"p{place}@example.org\n" for place in range(NUMBER))
    path = f"/v1/campaigns/{campaign}"
    added = await client.post(f"{path}/recipients", content=table, headers={"Content-Type": "text/csv"})
    assert added.json()["new"] == NUMBER, added.text
    assert (await client.post(f"{path}/start")).status_code == 200
    return campaign


async def leave_one_topic(served: Served, path: str) -> float:
    """Do what a mail program does, then what a person chooses on the page; return when the first was answered."""
    async with httpx2.AsyncClient(base_url=served.url, trust_env=False, timeout=60) as person:
        one_click = await person.post(path, data={"List-Unsubscribe": "One-Click"})
        answered = time.monotonic()
        chosen = await person.post(path, data={"act": "only_topic"})
        assert (one_click.status_code, chosen.status_code) == (200, 200)
        return answered


async def ended(client: httpx2.AsyncClient, campaign: str) -> dict[str, int]:
    async with asyncio.timeout(PATIENCE):
        while True:
            progress: dict[str, int] = (await client.get(f"/v1/campaigns/{campaign}")).json()["progress"]
            if not progress["held"]:
                return progress
            await asyncio.sleep(0.2)


async def test_a_topic_is_left_in_the_middle_of_a_campaign(tmp_path: Path, relay: Relay) -> None:
    where = f"smtp://127.0.0.1:{relay.port}?starttls=off"
    settings = {"transactional_relay": where, "promotional_relay": where, "public_url": "https://mail.example.org"}
    with serving(tmp_path, **settings, **{"from": "Ringwise <hello@ringwise.example>"}) as served:
        scopes = ("campaigns", "send:promotional", "send:transactional", "suppressions", "read")
        headers = dict(served.client(*scopes).headers)
        async with httpx2.AsyncClient(base_url=served.url, headers=headers, trust_env=False, timeout=60) as client:
            assert set(await sent(client, NEWS, LEAVING)) == {"queued"}
            await until(relay, LEAVERS)
            ways_out = links(relay)
            relay.mails.clear()
            relay.asked.clear()
            campaign = await start(client)
            await until(relay, NUMBER // 20)
            answered = await asyncio.gather(*(leave_one_topic(served, ways_out[each]) for each in LEAVING))
            reached = len(relay.mails)
            assert reached < NUMBER - LEAVERS, "the campaign was over before anybody left"
            # Everything else still goes, while the campaign runs.
            assert set(await sent(client, EVENT, LEAVING)) == {"queued"}
            assert set(await sent(client, RECEIPT, LEAVING)) == {"queued"}
            assert set(await sent(client, NEWS, LEAVING)) == {"suppressed"}
            progress = await ended(client, campaign)
            await until(relay, NUMBER + LEAVERS)
            assert (progress["sent"], progress["suppressed"]) == (NUMBER - LEAVERS, LEAVERS), progress
            subjects: dict[str, list[str]] = {each: [] for each in LEAVING}
            for mail in relay.mails:
                subject = str(email.message_from_bytes(mail.data)["Subject"])
                if mail.recipient in subjects:
                    subjects[mail.recipient].append(subject)
            assert {tuple(sorted(each)) for each in subjects.values()} == {("A meet-up", "Receipt")}
            to_others = [mail.recipient for mail in relay.mails if mail.recipient not in subjects]
            assert len(to_others) == len(set(to_others)) == NUMBER - LEAVERS
            report = (await client.get("/v1/metrics?days=2")).json()
            assert report["numbers"]["unsubscribed"]["value"] == LEAVERS, "each left by one mail"
            print(f"{LEAVERS} left after {reached} of {NUMBER}, the last was answered at {max(answered):.1f}")
