"""Mail that a relay took, and what others say of it afterwards; over real SMTP, on both engines."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import Session, col, select

from mailer.database import Database
from mailer.delivery.pipeline import Pipeline
from mailer.feedback.hearing import Fate, Heard, hear
from mailer.feedback.inbound.report import Category, Kind, Proof, Report
from mailer.models import Email
from mailer.status import Status
from suppression.entries import Entry
from suppression.rules import Reason, Stream
from tests.delivery import mails
from tests.delivery.mails import P, T
from tests.servers import Relay, Stage

HOUR = timedelta(hours=1)
DSN = Report(Kind.BOUNCED, Category.INVALID_RECIPIENT, hard=True, status="5.1.1", source="dsn")


@pytest.fixture
async def pipelines(database: Database, relay: Relay) -> AsyncIterator[dict[Stream, Pipeline]]:
    """Both streams to one relay."""
    made = {stream: mails.pipeline(database, relay.port, stream) for stream in Stream}
    yield made
    relay.behave()
    async with asyncio.timeout(10):
        await asyncio.gather(*(each.stop() for each in made.values()))


async def send(database: Database, pipeline: Pipeline, stream: Stream = P) -> str:
    """Send one mail to the same person as ever, as far as it may go."""
    now = datetime.now(UTC)
    (identifier,) = await database.run(lambda session: mails.add(session, 1, stream, now, prefix="p"))
    await pipeline.ring()
    return identifier


async def status(database: Database, identifier: str) -> Status:
    return (await database.read(lambda session: mails.email(session, identifier))).status


async def told(database: Database, report: Report, proof: Proof, now: datetime) -> Heard:
    (heard,) = await database.run(lambda session: hear(session, [(report, proof)], now), conclusive=True)
    return heard


async def standing(database: Database) -> list[Reason]:
    def verb(session: Session) -> list[Reason]:
        return list(session.exec(select(col(Entry.reason)).where(col(Entry.lifted_at).is_(None))))

    return await database.read(verb)


async def test_a_dsn_an_hour_later_stops_everything_to_the_address(
    database: Database, relay: Relay, pipelines: dict[Stream, Pipeline]
) -> None:
    identifier = await send(database, pipelines[P])
    (mail,) = relay.mails
    assert await status(database, identifier) is Status.SENT
    # What the relay's own server would quote: our Message-ID, and whom it was for.
    named = DSN._replace(message_id=f"<{identifier}@x.example>", recipient=mail.recipient)
    assert f"<{identifier}@x.example>".encode() in mail.data
    heard = await told(database, named, Proof("dkim:relay.example"), datetime.now(UTC) + HOUR)
    assert (heard.fate, heard.email_id) == (Fate.DONE, identifier)
    assert await status(database, identifier) is Status.BOUNCED
    for stream in Stream:
        assert await status(database, await send(database, pipelines[stream], stream)) is Status.SUPPRESSED
    assert len(relay.mails) == 1


async def test_a_user_unknown_at_rcpt_follows_the_same_table(
    database: Database, relay: Relay, pipelines: dict[Stream, Pipeline]
) -> None:
    relay.at(Stage.RCPT, "550 5.1.1 no such user")
    identifier = await send(database, pipelines[P])
    assert await status(database, identifier) is Status.BOUNCED
    assert await standing(database) == [Reason.HARD_BOUNCE]
    sums = await database.read(mails.sums)
    assert (sums["bounced"], sums["hard_bounced"], sums.get("returned")) == (1, 1, None)
    # The DSN that some relays send besides says nothing new.
    heard = await told(database, DSN, Proof("return_path", identifier), datetime.now(UTC) + HOUR)
    assert heard.fate is Fate.REPEATED
    assert await database.read(lambda session: mails.kinds(session, identifier)) == ["email.bounced"]


async def test_a_mailbox_that_is_full_five_times_rests_until_a_mail_is_delivered(
    database: Database, relay: Relay, pipelines: dict[Stream, Pipeline]
) -> None:
    relay.at(Stage.RCPT, "552 5.2.2 mailbox full")
    for number in range(5):
        assert await standing(database) == [], number
        assert await status(database, await send(database, pipelines[P])) is Status.BOUNCED
    relay.behave()
    assert await standing(database) == [Reason.SOFT_BOUNCE]
    assert await status(database, await send(database, pipelines[P])) is Status.SUPPRESSED
    invoice = await send(database, pipelines[T], T)
    assert await status(database, invoice) is Status.SENT
    await told(database, Report(Kind.DELIVERED, source="dsn"), Proof("return_path", invoice), datetime.now(UTC))
    assert await standing(database) == []
    assert await status(database, await send(database, pipelines[P])) is Status.SENT


async def test_two_processes_that_hear_one_event_tell_it_once(
    database: Database, relay: Relay, pipelines: dict[Stream, Pipeline]
) -> None:
    found = [await send(database, pipelines[P]) for _ in range(5)]
    now = datetime.now(UTC) + HOUR
    full = Report(Kind.BOUNCED, Category.MAILBOX_FULL, status="4.2.2", source="ses")
    batch = [(full._replace(event_id=each), Proof("provider:ses", each)) for each in found]
    asked = [batch, batch[::-1], batch[2:] + batch[:2]]
    heard = await asyncio.gather(*(database.run(lambda s, b=each: hear(s, b, now)) for each in asked))  # type: ignore[misc]
    fates = [each.fate for some in heard for each in some]
    assert (fates.count(Fate.DONE), fates.count(Fate.REPEATED)) == (5, 10)
    assert (await database.read(mails.sums))["returned"] == 5
    assert await standing(database) == [Reason.SOFT_BOUNCE]

    def rows(session: Session) -> list[Status]:
        return list(session.exec(select(col(Email.status))))

    assert set(await database.read(rows)) == {Status.BOUNCED}
