"""Recipients are added: one row for each address, whatever is repeated, cut off or suppressed."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import Session, col, select

from mailer import campaigns
from mailer.campaigns import Added, Format, Refusal
from mailer.database import Database
from mailer.errors import Conflict
from mailer.models import CampaignStatus, Event, Opens
from mailer.settings import Settings
from mailer.status import Status
from mailer.submission import Intake
from suppression.address import Fingerprints
from suppression.rules import Reason
from tests.campaigns.world import NOW, SOON, World, asked, offer, people, world_of
from tests.test_api_world import SETTINGS

ROOT = Path(__file__).parent.parent.parent


async def test_a_recipient_is_a_row_that_is_held(world: World) -> None:
    await world.template()
    campaign = await world.create(
        **offer(tags={"a": "b"}, reply_to="us@ringwise.example", headers={"X-A": "b"}, expires_at=SOON.isoformat())
    )
    ann = {"email": "Ann@Gmail.com", "name": "Ann", "variables": {"city": "Kyiv", "season": "Fall"}}
    assert await world.add(campaign, [ann, {"to": "bob@example.org", "variables": {"city": "Lviv"}}]) == Added(new=2)
    emails = {email.address: email for email in await world.emails(campaign)}
    row, found = emails["Ann@gmail.com"], await world.get(campaign)
    assert (row.status, row.held, row.waiting, row.urgency, row.due_at) == (Status.HELD, True, False, 2, NOW)
    assert (row.variables, emails["bob@example.org"].variables) == (
        {"city": "Kyiv", "season": "Fall"},
        {"city": "Lviv"},
    )
    assert (row.name, row.provider, row.captured, row.created_at) == ("Ann", "gmail", False, NOW)
    assert (row.content_id, row.template, row.topic, row.locale) == (found.content_id, "offer", "promotions", "en")
    assert (row.tags, row.opens, row.leavable, row.expires_at) == ({"a": "b"}, Opens.AGGREGATE, True, SOON)
    assert (row.details, found.details) == (None, {"reply_to": [["us@ringwise.example", ""]], "headers": {"X-A": "b"}})
    assert (row.from_address, row.from_name, row.attempts) == ("hello@ringwise.example", "Ringwise", 0)
    assert row.fingerprint == world.context.fingerprints.of(row.tenant_id, "ann@gmail.com")
    await world.check_sums(campaign)


async def test_nobody_is_in_a_campaign_twice(world: World) -> None:
    campaign, other = await world.create(), await world.create()
    await world.suppress("p1@example.org")
    assert await world.add(campaign, [*people(3), "P0@EXAMPLE.org"]) == Added(new=2, duplicates=1, suppressed=1)
    assert await world.add(campaign, people(4)) == Added(new=1, duplicates=3)
    assert await world.add(other, people(4)) == Added(new=3, suppressed=1)
    assert await world.statuses(campaign) == {"held": 3, "suppressed": 1}
    await world.check_sums(campaign)


async def test_several_uploads_at_once_neither_lose_nor_repeat_anybody(world: World) -> None:
    campaign = await world.create()
    everybody = people(1500)
    done = await asyncio.gather(
        *(world.add(campaign, everybody[start:] + everybody[:start]) for start in (0, 500, 900))
    )
    assert sum(added.new for added in done) == 1500
    assert sum(added.duplicates for added in done) == 3000
    assert await world.statuses(campaign) == {"held": 1500}
    await world.check_sums(campaign)


async def test_a_suppressed_recipient_is_told_at_once(world: World) -> None:
    await world.suppress("p0@example.org", Reason.COMPLAINT)
    campaign = await world.create()
    await world.add(campaign, people(2))
    row = next(email for email in await world.emails(campaign) if email.address == "p0@example.org")
    assert (row.status, row.suppression_reason, row.settled_at) == (Status.SUPPRESSED, "complaint", NOW)

    def told(session: Session) -> list[tuple[str, object]]:
        found = session.exec(select(Event).where(col(Event.email_id) == row.id))
        return [(event.kind, event.data) for event in found]

    assert await world.database.read(told) == [
        ("email.suppressed", {"reason": "complaint", "suppression_id": row.suppression_id})
    ]
    await world.check_sums(campaign)


async def test_recipients_come_while_it_runs_and_after_it_was_completed(world: World) -> None:
    campaign = await world.create()
    await world.start(campaign)
    await world.add(campaign, people(2))
    await world.deliver(campaign, 2)
    await world.sweep()
    assert (await world.get(campaign)).status is CampaignStatus.COMPLETED
    world.now = SOON + timedelta(days=1)
    await world.suppress("p2@example.org")
    await world.add(campaign, people(3))
    assert (await world.get(campaign)).status is CampaignStatus.COMPLETED, "nobody new will get it"
    await world.add(campaign, people(4))
    found = await world.get(campaign)
    assert (found.status, found.ended_at) == (CampaignStatus.RUNNING, None)
    await world.deliver(campaign, 1)
    await world.sweep()
    assert (await world.get(campaign)).status is CampaignStatus.COMPLETED
    await world.check_sums(campaign)


async def test_nobody_is_added_to_what_is_over(small: World) -> None:
    cancelled = await small.create()
    await small.cancel(cancelled)
    late = await small.create(**asked(expires_at=SOON.isoformat()))
    small.now = SOON
    for campaign in (cancelled, late):
        with pytest.raises(Conflict, match="nobody can be added"):
            await small.add(campaign, people(1))


async def test_an_older_key_knows_the_same_person(world: World) -> None:
    campaign = await world.create()
    await world.suppress("p0@example.org")
    await world.add(campaign, people(3))
    ring = "k2:" + "newer!" * 6 + ",k1:" + "secret" * 6
    world.context = Intake(settings=SETTINGS, fingerprints=Fingerprints(ring), links=world.context.links)
    assert await world.add(campaign, people(4)) == Added(new=1, duplicates=3)
    other = await world.create()
    assert await world.add(other, people(3)) == Added(new=2, suppressed=1)


async def test_in_staging_everybody_else_is_captured(sqlite: Database) -> None:
    settings = Settings(from_=SETTINGS.from_, postal_address=SETTINGS.postal_address, only_to="*@ours.example")
    world = await world_of(sqlite, settings)
    campaign = await world.create()
    await world.add(campaign, ["a@ours.example", "b@example.org"])
    captured = {email.address: email.captured for email in await world.emails(campaign)}
    assert captured == {"a@ours.example": False, "b@example.org": True}


async def test_refused_people_are_told_by_their_places_and_the_rest_is_added(small: World) -> None:
    await small.template()
    campaign = await small.create(**offer())
    good: list[object] = [{"email": f"p{place}@example.org", "variables": {"city": "Kyiv"}} for place in range(3)]
    added = await small.add(campaign, [good[0], "no address", good[1], 7, {"email": "a@b.example"}, good[2]])
    assert (added.new, added.refused) == (3, 3)
    assert [refusal.line for refusal in added.lines] == [2, 4, 5]
    many = await small.add(campaign, ["x"] * 150)
    assert (many.refused, len(many.lines), many.lines[0]) == (150, 100, Refusal(1, "the address has no @"))


async def test_an_asynchronous_iterator_and_what_was_cut_off_can_be_sent_again(world: World) -> None:
    campaign = await world.create()

    async def some(broken: int) -> AsyncIterator[str]:
        for place, person in enumerate(people(2500)):
            if place == broken:  # within a chunk on either engine
                raise ConnectionError
            yield person

    with pytest.raises(ConnectionError):
        await campaigns.add(world.upload(campaign), some(2100))
    assert await world.statuses(campaign) == {"held": 2000}
    assert await campaigns.add(world.upload(campaign), some(-1)) == Added(new=500, duplicates=2000)
    await world.check_sums(campaign)


async def test_lines_are_added_as_they_come(world: World) -> None:
    await world.template()
    campaign = await world.create(**offer())
    chunks = [b"email;city;points\nann@exam", b"ple.org;Kyiv;5\nbob@example.org;Lviv;many\n", b"cid@example.org;Odesa;"]
    added = await world.upload(campaign).lines(chunks, Format.CSV)
    assert (added.new, [refusal.line for refusal in added.lines]) == (2, [3])
    variables = sorted(str(email.variables) for email in await world.emails(campaign))
    assert variables == ["{'city': 'Kyiv', 'points': 5}", "{'city': 'Odesa'}"]


FLAT = """
import asyncio, resource, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from mailer.campaigns import Format
from mailer.database import Database
from tests.campaigns.world import world_of

def lines(number):
    yield b"email\\n"
    for start in range(0, number, 500):
        yield b"".join(b"person%d@example.org\\n" % place for place in range(start, start + 500))

async def main():
    world = await world_of(Database({url!r}))
    campaign = await world.create()
    await world.upload(campaign).lines(lines(20_000), Format.CSV)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    added = await world.upload(campaign).lines(lines(200_000), Format.CSV)
    print(added.new, added.duplicates, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    await world.database.close()

asyncio.run(main())
"""


def test_memory_does_not_grow_with_the_upload(sqlite_url: str) -> None:
    script = FLAT.format(root=str(ROOT), url=sqlite_url)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    new, duplicates, megabytes = map(int, done.stdout.split())
    assert (new, duplicates) == (180_000, 20_000)
    # SQLite's own page cache is 32 MB a connection.
    assert megabytes < 48, f"200,000 lines took {megabytes} MB"
