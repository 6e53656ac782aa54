"""What a crash left in doubt is settled by a person: once, with its sums, and with a note."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, func
from sqlalchemy import select as sql_select
from sqlmodel import Session, select

from mailer import emails, uncertain
from mailer.counters import FACTS, Tally, dimensions
from mailer.database import Database
from mailer.delivery import claims
from mailer.emails import Filter
from mailer.errors import Conflict
from mailer.models import Campaign, CampaignStatus, Event
from mailer.status import Status
from mailer.uncertain import CHUNK, Decision, Resolution
from tests.delivery import mails
from tests.delivery.mails import NOW, P

LATER = NOW + timedelta(days=5)
BEGAN = NOW + timedelta(minutes=1)


def doubtful(session: Session, number: int = 1, campaign: str | None = None) -> list[str]:
    """Leave some promotional emails as a dead worker leaves them, and count them so."""
    found = mails.add(session, number, P, prefix=campaign or "p", status=Status.SENDING, tags={"team": "blue"})
    values = {"lease": None, "intent_at": BEGAN, "dated_at": NOW, "settled_at": BEGAN, "attempts": 1}
    mails.move(session, found, status=Status.UNCERTAIN, campaign_id=campaign, **values)
    tally, dims = Tally(), dimensions(tags={"team": "blue"}, topic="newsletter", template=None, campaign=campaign)
    for _ in found:
        tally.add(1, NOW.date(), P, Status.UNCERTAIN, dims)
    tally.write(session)
    return found


def run(session: Session, campaign_id: str, status: CampaignStatus) -> None:
    session.add(
        Campaign(
            id=campaign_id,
            tenant_id=1,
            name="Spring",
            status=status,
            stream=P,
            topic="newsletter",
            content_id=1,
            locale="en",
            from_address="us@x.example",
            created_at=NOW,
        )
    )


async def resolve(
    database: Database, found: Sequence[str], resolution: Resolution, note: str | None = None, tenant_id: int = 1
) -> list[str]:
    decision = Decision(resolution, "operator:ann", note)
    return await database.run(lambda session: uncertain.resolve(session, tenant_id, found, decision, LATER))


async def facts(database: Database, dimension: str) -> dict[str, int]:
    statement = (
        sql_select(FACTS.c.metric, func.sum(FACTS.c.amount))
        .where(FACTS.c.dimension == dimension)
        .group_by(FACTS.c.metric)
    )
    rows = await database.read(lambda session: session.execute(statement).all())
    return {metric: int(amount) for metric, amount in rows if amount}


@pytest.fixture
async def database(database: Database) -> Database:
    """A database that refuses every change of status outside of the table of transitions."""
    await database.run(mails.watch_transitions)
    return database


async def test_mail_that_went_was_sent_when_it_was_meant_to_be(database: Database) -> None:
    found = await database.run(lambda session: doubtful(session, 3, "ca_1"))
    assert sorted(await resolve(database, found[:2], Resolution.SENT, "stands in the relay's log")) == sorted(found[:2])
    row = await database.read(lambda session: mails.email(session, found[0]))
    assert (row.status, row.sent_at, row.settled_at, row.intent_at) == (Status.SENT, BEGAN, LATER, None)
    assert await database.read(mails.statuses) == {Status.SENT: 2, Status.UNCERTAIN: 1}
    for dimension in ("all", "tag", "topic", "campaign"):
        assert await facts(database, dimension) == {"sent": 2, "uncertain": 1}
    told_of = await database.read(lambda session: session.exec(select(Event).where(Event.email_id == found[0])).one())
    assert (told_of.kind, told_of.at) == ("email.sent", LATER)
    assert told_of.data == {"resolved_by": "operator:ann", "note": "stands in the relay's log"}
    told = emails.view(row, [told_of])["events"]
    assert isinstance(told, list)
    assert [each["type"] for each in told] == ["email.queued", "email.sent"]


async def test_mail_without_a_known_intent_was_sent_now(database: Database) -> None:
    found = await database.run(doubtful)
    await database.run(lambda session: mails.move(session, found, intent_at=None))
    await resolve(database, found, Resolution.SENT)
    assert (await database.read(lambda session: mails.email(session, found[0]))).sent_at == LATER


async def test_mail_that_did_not_go_has_failed(database: Database) -> None:
    found = await database.run(doubtful)
    await resolve(database, found, Resolution.FAILED)
    row = await database.read(lambda session: mails.email(session, found[0]))
    assert (row.status, row.sent_at, row.settled_at) == (Status.FAILED, None, LATER)
    assert await facts(database, "all") == {"failed": 1}
    assert await database.read(lambda session: mails.kinds(session, found[0])) == ["email.failed"]


async def test_mail_that_is_sent_again_waits_like_fresh_mail(database: Database) -> None:
    found = await database.run(doubtful)
    await resolve(database, found, Resolution.AGAIN)
    row = await database.read(lambda session: mails.email(session, found[0]))
    assert (row.status, row.maybe_duplicate, row.due_at, row.intent_at) == (Status.QUEUED, True, LATER, None)
    assert (row.settled_at, row.dated_at, row.attempts, row.lease) == (None, None, 0, None)
    assert await facts(database, "all") == {}
    assert await database.read(lambda session: mails.kinds(session, found[0])) == ["email.queued"]
    assert await database.run(lambda session: claims.expire(session, LATER, timedelta(days=3))) == 0
    _worker, jobs = await database.run(lambda session: mails.claim(session, P, LATER))
    assert [job.id for job in jobs] == found


async def test_mail_of_a_campaign_that_ended_is_not_sent_again(database: Database) -> None:
    def arrange(session: Session) -> list[str]:
        found = [doubtful(session, 1, f"ca_{status}")[0] for status in CampaignStatus]
        for status in CampaignStatus:
            run(session, f"ca_{status}", status)
        return found

    found = await database.run(arrange)
    await resolve(database, found, Resolution.AGAIN)
    rows = [await database.read(lambda session, each=each: mails.email(session, each)) for each in found]  # type: ignore[misc]
    left = {row.campaign_id for row in rows if row.status is Status.UNCERTAIN}
    assert left == {"ca_cancelled", "ca_expired"}
    assert len(await resolve(database, found, Resolution.FAILED)) == 2


async def test_only_uncertain_mail_of_the_tenant_is_resolved_and_once(database: Database) -> None:
    found = await database.run(doubtful)
    sent = await database.run(lambda session: mails.add(session, 1, P, prefix="s"))
    assert await resolve(database, found, Resolution.SENT, tenant_id=2) == []
    assert await resolve(database, [*found, *sent, "em_nobody"], Resolution.SENT) == found
    assert await resolve(database, found, Resolution.FAILED) == []
    assert await resolve(database, [], Resolution.FAILED) == []
    assert await facts(database, "all") == {"sent": 1}


async def test_two_who_resolve_at_once_do_it_once(database: Database) -> None:
    found = await database.run(lambda session: doubtful(session, 20))
    done = await asyncio.gather(*(resolve(database, found, each) for each in Resolution))
    assert sum(len(each) for each in done) == 20
    assert "uncertain" not in await facts(database, "all")
    events = await database.read(lambda session: session.exec(select(func.count()).select_from(Event)).one())
    assert events == 20


async def test_one_that_cannot_be_resolved_says_why(database: Database) -> None:
    def arrange(session: Session) -> tuple[str, str]:
        run(session, "ca_1", CampaignStatus.CANCELLED)
        return doubtful(session, 1, "ca_1")[0], mails.add(session, 1, P, prefix="s")[0]

    ended, queued = await database.run(arrange)

    def one(session: Session, email_id: str) -> Status:
        decision = Decision(Resolution.AGAIN, "operator:ann")
        return uncertain.resolve_one(session, emails.get(session, 1, email_id), decision, LATER).status

    with pytest.raises(Conflict, match="its campaign was cancelled or has expired"):
        await database.run(lambda session: one(session, ended))
    with pytest.raises(Conflict, match="the email is queued, not uncertain"):
        await database.run(lambda session: one(session, queued))


async def test_what_is_uncertain_is_paged_and_counted(database: Database) -> None:
    found = await database.run(lambda session: doubtful(session, 5) + doubtful(session, 2, "ca_1"))
    seen: list[str] = []
    while True:
        after = seen[-1] if seen else None
        page = await database.read(
            lambda session, after=after: uncertain.waiting(session, 1, limit=3, after=after)  # type: ignore[misc]
        )
        if not page:
            break
        seen += page
    assert seen == sorted(found, reverse=True)
    mine = await database.read(lambda session: uncertain.waiting(session, 1, limit=9, campaign_id="ca_1"))
    assert sorted(mine) == found[5:]
    assert await database.read(lambda session: uncertain.number(session, 1)) == 7
    assert await database.read(lambda session: uncertain.number(session, 1, campaign_id="ca_1")) == 2
    assert await database.read(lambda session: uncertain.number(session, 2)) == 0


async def test_one_call_resolves_no_more_than_a_chunk(database: Database) -> None:
    found = await database.run(lambda session: doubtful(session, CHUNK + 1))
    assert len(await resolve(database, found, Resolution.FAILED)) == CHUNK


async def test_a_list_of_uncertain_mail_walks_its_own_index(database: Database) -> None:
    await database.run(lambda session: mails.add(session, 2000, P))
    found = await database.run(lambda session: doubtful(session, 2, "ca_1"))
    page = await database.read(lambda session: emails.listing(session, 1, Filter(status=Status.UNCERTAIN), limit=10))
    assert [email.id for email in page.emails] == sorted(found, reverse=True)
    assert "email_doubtful" in await database.run(plan)


def plan(session: Session) -> str:
    """Return how the database finds the first page of uncertain mail."""
    connection, asked = session.connection(), list[tuple[str, Any]]()

    @event.listens_for(connection, "before_cursor_execute")
    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        asked.append((statement, parameters))

    emails.listing(session, 1, Filter(status=Status.UNCERTAIN), limit=10)
    [(statement, parameters)] = asked
    on_sqlite = connection.dialect.name == "sqlite"
    if not on_sqlite:
        connection.exec_driver_sql("ANALYZE email")
    explain = "EXPLAIN QUERY PLAN" if on_sqlite else "EXPLAIN"
    return "\n".join(str(row) for row in connection.exec_driver_sql(f"{explain} {statement}", parameters))
