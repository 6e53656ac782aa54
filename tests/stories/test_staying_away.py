"""Nobody and nothing brings back who left, paused or was erased, or throws out who did not: over HTTP and SMTP."""

import asyncio
import email
import email.policy
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.servers import Mail, Relay
from tests.stories.served import Served, serving

NEWS = {
    "stream": "promotional",
    "topic": "newsletter",
    "subject": "News",
    "html": "<html><body><p>Three things happened.</p></body></html>",
}
RECEIPT = {"stream": "transactional", "subject": "Receipt", "text": "12 euros."}
ANN, BOB = "ann.weaver@example.org", "bob@example.org"
SCOPES = ("send:promotional", "send:transactional", "campaigns", "suppressions", "people", "read")
HEADER = "uuid,email,name,attributes,status,created_at,updated_at\n"


@dataclass
class World:
    """A running service, product code that uses it, and the relay that takes its mail."""

    folder: Path
    served: Served
    relay: Relay
    client: httpx2.AsyncClient

    async def send(self, to: str, body: dict[str, str], **more: str) -> str:
        """Send a mail and return what was said of it: its status, or why it does not go."""
        answer = (await self.client.post("/v1/emails", json={**body, **more, "to": to})).json()
        return str(answer["suppression"]["reason"] if answer["status"] == "suppressed" else answer["status"])

    async def arrived(self, to: str, subject: str, number: int = 1) -> Mail:
        """Return the last of so many mails, once the relay has taken it; no more of them came."""
        async with asyncio.timeout(60):
            while (
                len(found := [each for each in self.relay.mails if (each.recipient, subject_of(each)) == (to, subject)])
                < number
            ):
                await asyncio.sleep(0.05)
        assert len(found) == number
        return found[-1]

    async def campaign(self, *people: str) -> dict[str, int]:
        """Send a campaign to some and return what became of it."""
        made = {"name": "Autumn", "topic": "newsletter", "subject": "Autumn", "text": "It is here."}
        path = f"/v1/campaigns/{(await self.client.post('/v1/campaigns', json=made)).json()['id']}"
        added = await self.client.post(
            f"{path}/recipients", content="email\n" + "\n".join(people), headers={"Content-Type": "text/csv"}
        )
        assert added.json()["new"] + added.json()["suppressed"] == len(people), added.text
        assert (await self.client.post(f"{path}/start")).status_code == 200
        async with asyncio.timeout(60):
            while (found := (await self.client.get(path)).json())["status"] != "completed":
                await asyncio.sleep(0.1)
        progress: dict[str, int] = found["progress"]
        return progress

    async def bring(self, text: str, form: str) -> dict[str, object]:
        """Import a list as another system writes it, and return what became of its lines."""
        headers = {"Content-Type": "text/csv"}
        answer = await self.client.post(f"/v1/suppressions/import?format={form}", content=text, headers=headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = answer.json()
        return found

    async def entries(self, to: str) -> list[dict[str, str]]:
        """Return what forbids mail to somebody."""
        found: list[dict[str, str]] = (await self.client.get("/v1/suppressions", params={"email": to})).json()["data"]
        return found

    async def press(self, path: str, **form: str) -> str:
        """Press a button of a page, and return what the next page says."""
        headers = {"Authorization": "", "Accept-Language": "en"}
        answer = await self.client.post(path, data=form, headers=headers)
        assert answer.status_code == 200
        return answer.text


@pytest.fixture
async def world(tmp_path: Path, relay: Relay) -> AsyncIterator[World]:
    async with _world(tmp_path, relay) as made:
        yield made


@asynccontextmanager
async def _world(folder: Path, relay: Relay) -> AsyncIterator[World]:
    where = f"smtp://127.0.0.1:{relay.port}?starttls=off"
    settings = {"transactional_relay": where, "promotional_relay": where, "public_url": "https://mail.example.org"}
    with serving(folder, **settings, **{"from": "Ringwise <hello@ringwise.example>"}) as served:
        headers = dict(served.client(*SCOPES).headers)
        async with httpx2.AsyncClient(base_url=served.url, headers=headers, trust_env=False, timeout=60) as client:
            yield World(folder, served, relay, client)


def subject_of(mail: Mail) -> str:
    return str(email.message_from_bytes(mail.data)["Subject"])


def path_of(mail: Mail, kind: str) -> str:
    """Return the path of a link in a mail: `/u/`, where one leaves, `/p/`, where one chooses."""
    html = email.message_from_bytes(mail.data, policy=email.policy.default).get_body(("html",))
    assert html is not None
    found = re.search(rf'href="(https://[^"]*{kind}[^"]+)"', html.get_content())
    assert found
    return urlsplit(found[1]).path


async def test_a_pause_of_thirty_days_holds_news_back_and_ends(world: World) -> None:
    assert await world.send(ANN, NEWS) == "queued"
    page = path_of(await world.arrived(ANN, "News"), "/p/")
    assert "gets no promotional mail from Ringwise for 30 days" in await world.press(page, form="snooze")
    [pause] = await world.entries(ANN)
    left = datetime.fromisoformat(pause["expires_at"]) - datetime.now(UTC)
    assert pause["reason"] == "snooze"
    assert timedelta(days=29, hours=23) < left <= timedelta(days=30)
    assert await world.send(ANN, NEWS) == "snooze"
    assert (await world.campaign(ANN, BOB))["suppressed"] == 1
    await world.arrived(BOB, "Autumn")
    assert await world.send(ANN, RECEIPT) == "queued"
    await world.arrived(ANN, "Receipt")
    # What is for later than the pause waits for its day.
    later = (datetime.now(UTC) + timedelta(days=31)).isoformat()
    assert await world.send(ANN, NEWS, scheduled_at=later) == "scheduled"
    # Thirty days pass: SQLite has no clock but the machine's, so the end comes to us.
    with sqlite3.connect(world.folder / "mailer.db", timeout=30) as connection:
        past = (datetime.now(UTC) - timedelta(seconds=1)).strftime("%Y-%m-%d %H:%M:%S.%f")
        assert (
            connection.execute("UPDATE suppression SET expires_at = ? WHERE reason = 'snooze'", (past,)).rowcount == 1
        )
    assert await world.send(ANN, NEWS) == "queued"
    await world.arrived(ANN, "News", 2)
    assert (await world.campaign(ANN))["sent"] == 1
    await world.arrived(ANN, "Autumn")


async def test_a_list_of_another_system_brings_nobody_back_and_throws_nobody_out(world: World) -> None:
    assert await world.send(ANN, NEWS) == "queued"
    await world.press(path_of(await world.arrived(ANN, "News"), "/u/"), act="leave")
    [before] = await world.entries(ANN)
    # There both still count as subscribers; and an older list knows that Ann left before.
    contacts = (
        HEADER + f"u1,{ANN},Ann,{{}},enabled,2020-01-01,2025-01-07\nu2,{BOB},Bob,{{}},enabled,2020-01-01,2025-01-07\n"
    )
    left = f"email,created\n{ANN},1736278245\n"
    for new in (1, 0):
        assert (await world.bring(contacts, "listmonk"))["nothing"] == 2
        told = await world.bring(left, "sendgrid-unsubscribes")
        assert (told["new"], told["standing"]) == (new, 1 - new)
    # What the list adds is wider, and what stood keeps its date and its origin.
    assert before in await world.entries(ANN)
    assert await world.entries(BOB) == []
    assert await world.send(ANN, NEWS) == "unsubscribe"
    assert await world.send(BOB, NEWS) == "queued"
    await world.arrived(BOB, "News")
    progress = await world.campaign(ANN, BOB)
    assert (progress["sent"], progress["suppressed"]) == (1, 1)
    await world.arrived(BOB, "Autumn")
    assert await world.send(ANN, RECEIPT) == "queued"
    await world.arrived(ANN, "Receipt")
    assert [subject_of(each) for each in world.relay.mails if each.recipient == ANN] == ["News", "Receipt"]


async def test_who_was_erased_stays_away_and_no_list_brings_the_address_back(world: World) -> None:
    assert await world.send(ANN, NEWS) == "queued"
    link = path_of(await world.arrived(ANN, "News"), "/u/")
    world.served.run("people", "erase", ANN, "--note", "ticket 7")
    assert holding(world.folder, ANN) == []
    # As a subscriber, as one who bounced, and with words: each of the lists names somebody who is gone.
    contacts = HEADER + f"u1,{ANN},Ann,{{}},enabled,2020-01-01,2025-01-07\n"
    assert (await world.bring(contacts, "listmonk"))["nothing"] == 1
    assert (await world.bring(f"email,reason,note\n{ANN},complaint,{ANN} called\n", "list"))["new"] == 1
    assert (await world.bring(f"email,created\n{ANN},1736278245\n", "sendgrid-unsubscribes"))["standing"] == 1
    assert holding(world.folder, ANN) == []
    assert await world.send(ANN, NEWS) == "complaint"
    assert (await world.campaign(ANN, BOB))["suppressed"] == 1
    await world.arrived(BOB, "Autumn")
    # Transactional mail is the product's to decide on, and the old link goes on working.
    assert await world.send(ANN, RECEIPT) == "queued"
    await world.arrived(ANN, "Receipt")
    assert "You are unsubscribed" in await world.press(link, act="leave")
    assert [subject_of(each) for each in world.relay.mails if each.recipient == ANN] == ["News", "Receipt"]


def holding(folder: Path, text: str) -> list[str]:
    """Return the tables of the service's file in which a text stands, whatever its case."""
    with sqlite3.connect(folder / "mailer.db", timeout=30) as connection:
        dumped = "\n".join(connection.iterdump())
    lines = [line for line in dumped.splitlines() if text.lower() in line.lower()]
    return [line[:60] for line in lines]
