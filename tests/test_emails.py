"""Emails that were accepted: shown, listed, taken back, moved."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlmodel import Session, select

from mailer import emails, submission
from mailer.database import Database
from mailer.drafts import Draft, parse
from mailer.emails import Filter
from mailer.errors import Conflict, Invalid, NotFound
from mailer.models import Email, Event, Tally
from mailer.status import Status
from mailer.submission import Submitter
from suppression.rules import Stream
from tests.test_api_world import intake, mail, prepared

NOW = datetime(2027, 3, 1, 9, 30, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


async def placed(database: Database, **more: object) -> Email:
    tenant = await prepared(database)
    draft, sender = parse(Draft, mail(**more)), Submitter.trusted(tenant.id or 0)
    accepted = await database.run(lambda session: submission.submit(session, sender, draft, intake(), NOW))
    return await database.read(lambda session: emails.get(session, sender.tenant_id, accepted.id))


async def change(database: Database, email: Email, **values: object) -> None:
    def verb(session: Session) -> None:
        row = session.get_one(Email, email.id)
        for name, value in values.items():
            setattr(row, name, value)

    await database.run(verb)


async def cancel(database: Database, email: Email) -> Email:
    return await database.run(lambda session: emails.cancel(session, email.tenant_id, email.id, LATER))


async def move(database: Database, email: Email, to: datetime) -> Email:
    return await database.run(lambda session: emails.reschedule(session, email.tenant_id, email.id, to, NOW))


@pytest.mark.parametrize("status", [Status.SCHEDULED, Status.HELD, Status.QUEUED, Status.DEFERRED, Status.SENDING])
async def test_what_has_no_intent_is_taken_back(database: Database, status: Status) -> None:
    email = await placed(database, tags={"campaign": "x"})
    await change(database, email, status=status, lease="le_1")
    for _ in range(2):
        taken = await cancel(database, email)
        assert (taken.status, taken.lease, taken.settled_at) == (Status.CANCELLED, None, LATER)
    told = await database.read(lambda session: list(session.exec(select(Event))))
    assert [(event.kind, event.email_id, event.at) for event in told] == [("email.cancelled", email.id, LATER)]

    def counted(session: Session) -> list[tuple[str, int]]:
        rows = session.exec(select(Tally).where(Tally.metric == "cancelled"))
        return sorted((row.dimension, row.amount) for row in rows)

    assert await database.read(counted) == [("all", 1), ("stream_hour", 1), ("tag", 1)]


@pytest.mark.parametrize("status", [Status.SENT, Status.BOUNCED, Status.FAILED, Status.SUPPRESSED, Status.UNCERTAIN])
async def test_it_is_too_late_for_what_is_settled(sqlite: Database, status: Status) -> None:
    email = await placed(sqlite)
    await change(sqlite, email, status=status)
    with pytest.raises(Conflict, match=status):
        await cancel(sqlite, email)


async def test_it_is_too_late_once_the_intent_is_written(database: Database) -> None:
    email = await placed(database)
    await change(database, email, status=Status.SENDING, intent_at=NOW)
    with pytest.raises(Conflict):
        await cancel(database, email)


async def test_others_find_nothing_to_take_back(sqlite: Database) -> None:
    email = await placed(sqlite)
    with pytest.raises(NotFound):
        await sqlite.run(lambda session: emails.cancel(session, email.tenant_id + 1, email.id, NOW))
    with pytest.raises(NotFound):
        await sqlite.run(lambda session: emails.reschedule(session, email.tenant_id + 1, email.id, LATER, NOW))


async def test_ten_who_take_it_back_at_once_take_it_back_once(database: Database) -> None:
    email = await placed(database)
    await asyncio.gather(*(cancel(database, email) for _ in range(10)))
    assert len(await database.read(lambda session: list(session.exec(select(Event))))) == 1


async def test_a_waiting_mail_moves_in_time(database: Database) -> None:
    email = await placed(database)
    moved = await move(database, email, LATER)
    assert (moved.status, moved.due_at, moved.scheduled_at) == (Status.SCHEDULED, LATER, LATER)
    back = await move(database, email, NOW - timedelta(days=1))
    assert (back.status, back.due_at, back.scheduled_at) == (Status.QUEUED, NOW, None)
    await change(database, email, status=Status.SENT)
    with pytest.raises(Conflict):
        await move(database, email, LATER)


async def test_a_mail_does_not_move_beyond_its_end(sqlite: Database) -> None:
    email = await placed(sqlite, expires_at=LATER)
    with pytest.raises(Invalid, match="scheduled_at"):
        await move(sqlite, email, LATER)
    assert (await move(sqlite, email, LATER - timedelta(minutes=1))).status is Status.SCHEDULED


async def test_a_view_tells_events_in_their_order(sqlite: Database) -> None:
    email = await placed(sqlite, expires_at=LATER)
    await change(sqlite, email, status=Status.SENT, sent_at=NOW + timedelta(seconds=5), attempts=2)

    def add(session: Session) -> None:
        for number, (kind, second) in enumerate((("email.opened", 9), ("email.deferred", 2))):
            at = NOW + timedelta(seconds=second)
            data: dict[str, object] = {"class": "human"}
            session.add(
                Event(id=f"ev_{number}", tenant_id=email.tenant_id, email_id=email.id, kind=kind, at=at, data=data)
            )

    await sqlite.run(add)

    def view(session: Session) -> dict[str, object]:
        found = emails.get(session, email.tenant_id, email.id)
        return emails.view(found, emails.events_of(session, found), emails.shown_of(session, found))

    shown = await sqlite.read(view)
    told = shown["events"]
    assert isinstance(told, list)
    assert [each["type"] for each in told] == ["email.queued", "email.deferred", "email.sent", "email.opened"]
    assert told[-1]["class"] == "human"
    assert (shown["subject"], shown["attempts"], shown["template_version"]) == ("Hello", 2, None)


async def test_a_list_is_filtered_by_tag_and_person(database: Database) -> None:
    email = await placed(database, tags={"odd.name": 'it\'s "x"'})
    await placed(database, to="bob@example.org")

    async def found(wanted: Filter) -> list[str]:
        page = await database.read(lambda session: emails.listing(session, email.tenant_id, wanted, limit=10))
        return [each.id for each in page.emails]

    assert await found(Filter(tag='odd.name=it\'s "x"')) == [email.id]
    assert await found(Filter(tag="odd.name=x")) == []
    assert email.fingerprint is not None
    assert await found(Filter(prints=(email.fingerprint,))) == [email.id]
    assert len(await found(Filter())) == 2
    with pytest.raises(Invalid):
        await found(Filter(tag="odd"))


async def test_a_tenants_list_is_neither_sorted_nor_searched_among_its_neighbours_mail(sqlite: Database) -> None:
    email = await placed(sqlite)

    def plan(session: Session) -> str:
        asked = "SELECT * FROM email WHERE tenant_id = :tenant ORDER BY id DESC LIMIT 51"
        explained = session.execute(text(f"EXPLAIN QUERY PLAN {asked}"), {"tenant": email.tenant_id})
        return " ".join(row.detail for row in explained)

    assert await sqlite.read(plan) == "SEARCH email USING INDEX email_listed (tenant_id=?)"


async def test_captured_is_what_went_to_the_inbox_or_will_go_there(sqlite: Database) -> None:
    email = await placed(sqlite)

    async def captured(*captures: Stream) -> object:
        def verb(session: Session) -> object:
            return emails.view(emails.get(session, email.tenant_id, email.id), captures=captures)["captured"]

        return await sqlite.read(verb)

    assert (await captured(), await captured(Stream.TRANSACTIONAL)) == (False, True)
    assert await captured(Stream.PROMOTIONAL) is False
    await change(sqlite, email, status=Status.SENT, sent_at=NOW, reply="250 2.0.0 Ok: queued")
    assert await captured(Stream.TRANSACTIONAL) is False
    await change(sqlite, email, reply="250 2.0.0 Captured, not sent")
    assert await captured() is True
