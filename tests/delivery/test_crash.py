"""Killed with -9 in the middle: a transactional email arrives at least once, a promotional one at most once."""

import asyncio
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import Session, col, select

from mailer.database import Database
from mailer.models import Email
from mailer.status import Status
from tests.delivery import mails
from tests.delivery.mails import P, T
from tests.servers import Relay, Stage

ROOT = Path(__file__).parent.parent.parent
CONNECTIONS = 6
EACH = 250


async def worker(url: str, relay: Relay) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.delivery.runner", url, str(relay.port), str(CONNECTIONS), cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def kill_when(process: asyncio.subprocess.Process, relay: Relay, mails_taken: int) -> None:
    async with asyncio.timeout(30):
        while len(relay.mails) < mails_taken:
            await asyncio.sleep(0.002)
    process.kill()
    await process.communicate()


def doubtful(session: Session) -> list[str]:
    """Return the addresses of promotional mail that was in doubt."""
    return [str(address) for address in session.exec(select(Email.address).where(Email.status == Status.UNCERTAIN))]


@pytest.mark.parametrize("kills", [(40,), (10, 160, 320)])
async def test_kill_9_in_the_middle_of_500_mails(
    database: Database, database_url: str, relay: Relay, kills: tuple[int, ...]
) -> None:
    relay.at(Stage.DOT, wait=0.02)
    now = datetime.now(UTC)

    def seed(session: Session) -> None:
        mails.add(session, EACH, P, now)
        mails.add(session, EACH, T, now)

    await database.run(seed)
    for taken in kills:
        await kill_when(await worker(database_url, relay), relay, taken)
    relay.behave()
    last = await worker(database_url, relay)
    async with asyncio.timeout(60):
        await last.communicate()
    assert last.returncode == 0

    found = await database.read(mails.statuses)
    uncertain = await database.read(doubtful)
    copies = Counter(relay.recipients)
    assert set(found) <= {Status.SENT, Status.UNCERTAIN}
    assert sum(found.values()) == 2 * EACH
    assert all(copies[f"t{place}@example.org"] >= 1 for place in range(EACH))
    assert all(copies[f"p{place}@example.org"] <= 1 for place in range(EACH))
    assert all(copies[f"p{place}@example.org"] == 1 or f"p{place}@example.org" in uncertain for place in range(EACH))
    # In doubt is at most one mail a connection, in each stream and each crash.
    assert len(uncertain) <= CONNECTIONS * len(kills)
    again = sum(number - 1 for number in copies.values())
    assert again <= CONNECTIONS * len(kills)
    # What was counted is what happened.
    assert await database.read(mails.sums) == {
        "sent": 2 * EACH - len(uncertain),
        **({"uncertain": len(uncertain)} if uncertain else {}),
    }
    flagged = await database.read(
        lambda session: session.exec(select(Email.address).where(col(Email.maybe_duplicate))).all()
    )
    assert {address for address, number in copies.items() if number > 1} <= set(flagged)


async def test_two_mails_of_one_content_have_the_same_bytes_after_a_crash(
    sqlite: Database, sqlite_url: str, relay: Relay
) -> None:
    relay.at(Stage.DOT, hang=True, times=1, takes=True)
    await sqlite.run(lambda session: mails.add(session, 1, T, datetime.now(UTC) - timedelta(hours=1)))
    await kill_when(await worker(sqlite_url, relay), relay, 1)
    relay.behave()
    last = await worker(sqlite_url, relay)
    await last.communicate()
    first, second = relay.mails
    assert first.data == second.data
    assert await sqlite.read(mails.statuses) == {Status.SENT: 1}
