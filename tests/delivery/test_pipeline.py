"""A pipeline, a real database and a relay that misbehaves: whatever happens, every email ends in an honest state."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlmodel import Session, col, select

from mailer import halts
from mailer.database import Database
from mailer.delivery import claims
from mailer.delivery import connections as connecting
from mailer.delivery.claims import Job
from mailer.delivery.pipeline import Pipeline
from mailer.errors import MailerError
from mailer.models import Email, Lease
from mailer.status import Status
from suppression.entries import Entry
from suppression.rules import Reason, Stream
from tests import servers
from tests.delivery import mails
from tests.delivery.mails import Letters, P, T
from tests.delivery.trouble import until
from tests.servers import Relay, Stage

Make = Callable[..., Pipeline]


@pytest.fixture
async def make(database: Database, relay: Relay) -> AsyncIterator[Make]:
    """Make pipelines from the database to the relay; they are stopped after the test."""
    made: list[Pipeline] = []

    def making(stream: Stream = P, **options: object) -> Pipeline:
        made.append(mails.pipeline(database, relay.port, stream, **options))  # type: ignore[arg-type]
        return made[-1]

    yield making
    relay.behave()
    async with asyncio.timeout(10):
        await asyncio.gather(*(each.stop() for each in made))


async def add(database: Database, number: int, stream: Stream = P, **fields: object) -> list[str]:
    """Add emails that are due now by the clock on the wall."""
    now = datetime.now(UTC)
    return await database.run(lambda session: mails.add(session, number, stream, now, **fields))  # type: ignore[arg-type]


async def rows(database: Database) -> list[Email]:
    return list(await database.read(lambda session: session.exec(select(Email).order_by(col(Email.id))).all()))


async def test_everything_is_sent_once(database: Database, relay: Relay, make: Make) -> None:
    await add(database, 250)
    pipeline = make()
    await pipeline.ring()
    await pipeline.stop()
    assert sorted(relay.recipients) == sorted(f"p{place}@example.org" for place in range(250))
    assert await database.read(mails.statuses) == {Status.SENT: 250}
    assert await database.read(mails.sums) == {"sent": 250}
    assert {email.reply for email in await rows(database)} == {"250 2.0.0 taken"}
    assert relay.peak <= 4
    assert await database.read(lambda session: session.exec(select(Lease)).all()) == []


async def test_a_second_bell_finds_nothing_and_uses_the_kept_connections(
    database: Database, relay: Relay, make: Make
) -> None:
    pipeline = make(connections=1)
    await add(database, 3)
    await pipeline.ring()
    await pipeline.ring()
    await add(database, 3)
    await pipeline.ring()
    assert (len(relay.mails), relay.connections) == (6, 1)


async def test_the_other_stream_is_left_alone(database: Database, relay: Relay, make: Make) -> None:
    await add(database, 3, P)
    await add(database, 2, T)
    await make(T).ring()
    assert await database.read(mails.statuses) == {Status.SENT: 2, Status.QUEUED: 3}


async def test_two_pipelines_on_one_queue_send_nothing_twice(database: Database, relay: Relay, make: Make) -> None:
    await add(database, 300)
    await asyncio.gather(make().ring(), make().ring())
    assert len(relay.recipients) == len(set(relay.recipients)) == 300


async def test_mail_that_comes_during_a_run_goes_with_it(database: Database, relay: Relay, make: Make) -> None:
    pipeline = make(connections=2)
    relay.at(Stage.DOT, wait=0.005)
    await add(database, 50)
    running = asyncio.create_task(pipeline.ring())
    await until(lambda: len(relay.mails) > 5)
    await add(database, 50, prefix="late")
    await pipeline.ring()
    await running
    assert await database.read(mails.statuses) == {Status.SENT: 100}


# --- refusals


async def test_a_4xx_is_tried_again_by_the_schedule(database: Database, relay: Relay, make: Make) -> None:
    await add(database, 1)
    relay.at(Stage.RCPT, "451 4.7.1 greylisted")
    pipeline = make()
    for attempt, wait in ((1, 60), (2, 300), (3, 300)):
        before = datetime.now(UTC)
        await pipeline.ring()
        [email] = await rows(database)
        assert (email.status, email.attempts, email.reply) == (Status.DEFERRED, attempt, "451 4.7.1 greylisted")
        assert wait * 0.89 < (email.due_at - before).total_seconds() < wait * 1.11 + 5
        await pipeline.ring()
        assert (await rows(database))[0].attempts == attempt
        await database.run(mails.make_due)
    relay.behave()
    await pipeline.ring()
    assert await database.read(mails.statuses) == {Status.SENT: 1}
    assert await database.read(mails.sums) == {"deferred": 3, "sent": 1}


async def test_a_4xx_beyond_the_last_try_bounces(database: Database, relay: Relay, make: Make) -> None:
    await add(database, 1, dated_at=datetime.now(UTC) - timedelta(days=3) + timedelta(seconds=30))
    relay.at(Stage.RCPT, "451 4.7.1 greylisted")
    await make().ring()
    assert await database.read(mails.statuses) == {Status.BOUNCED: 1}
    assert await database.read(lambda session: session.exec(select(Entry)).all()) == []


@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT])
async def test_one_refusal_at_any_stage_does_not_touch_the_next_mail(
    database: Database, relay: Relay, make: Make, stage: Stage
) -> None:
    await add(database, 5)
    relay.at(stage, "550 5.7.1 no", times=1)
    await make(connections=1).ring()
    assert await database.read(mails.statuses) == {Status.SENT: 4, Status.FAILED: 1}
    assert len(relay.mails) == 4
    assert relay.connections == 1
    assert await database.read(lambda session: session.exec(select(Entry)).all()) == []


async def test_a_mailbox_that_does_not_exist_is_suppressed_in_every_stream(
    database: Database, relay: Relay, make: Make
) -> None:
    await add(database, 3)
    relay.at(Stage.RCPT, "550 5.1.1 no such user", to="p1@")
    await make().ring()
    assert await database.read(mails.statuses) == {Status.SENT: 2, Status.BOUNCED: 1}
    [entry] = await database.read(lambda session: session.exec(select(Entry)).all())
    assert (entry.reason, entry.scope, entry.address) == (Reason.HARD_BOUNCE, "all", "p1@example.org")
    await add(database, 3, T, prefix="p")
    await make(T).ring()
    assert relay.recipients.count("p1@example.org") == 0
    assert (await database.read(mails.statuses))[Status.SUPPRESSED] == 1


async def test_a_sender_that_the_relay_does_not_know_suppresses_nobody(
    database: Database, relay: Relay, make: Make
) -> None:
    await add(database, 3)
    relay.at(Stage.MAIL, "550 Sender address rejected: user unknown")
    await make().ring()
    assert await database.read(mails.statuses) == {Status.FAILED: 3}
    assert await database.read(lambda session: session.exec(select(Entry)).all()) == []


async def test_what_needs_smtputf8_is_not_sent_without_it(database: Database) -> None:
    letters = Letters()
    letters.smtputf8 = True
    await add(database, 1)
    async with servers.relay(("PIPELINING",)) as plain:
        pipeline = mails.pipeline(database, plain.port, P, letters=letters)
        await pipeline.ring()
        await pipeline.stop()
        assert plain.mails == []
    [email] = await rows(database)
    assert (email.status, email.reply) == (Status.FAILED, "the relay does not offer SMTPUTF8")


async def test_one_mail_that_cannot_be_composed_does_not_stop_the_others(
    database: Database, relay: Relay, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    await add(database, 20)
    broken = {"p3@example.org": KeyError("content"), "p7@example.org": MailerError("no such template")}
    async with asyncio.timeout(10):
        await make(letters=Letters(broken=broken)).ring()
    left = {email.address: (email.status, email.reply) for email in await rows(database) if not email.sent_at}
    assert left == {
        # A bug of ours may be gone in a minute, and what it met is not lost.
        "p3@example.org": (Status.DEFERRED, "our fault: KeyError"),
        "p7@example.org": (Status.FAILED, "no such template"),
    }
    assert "could not be composed" in caplog.text
    assert "example.org" not in caplog.text


# --- suppression on the way


async def test_who_opts_out_while_the_mail_is_queued_here_gets_none(
    database: Database, relay: Relay, make: Make
) -> None:
    await add(database, 60)
    relay.at(Stage.DOT, wait=0.01)
    running = asyncio.create_task(make(connections=1).ring())
    await until(lambda: len(relay.mails) >= 3)
    left = [f"p{place}@example.org" for place in range(50, 60)]
    for address in left:
        await database.run(
            lambda session, address=address: mails.opt_out(session, mails.fingerprint(address), datetime.now(UTC))  # type: ignore[misc]
        )
    await running
    assert not set(relay.recipients) & set(left)
    assert await database.read(mails.statuses) == {Status.SENT: 50, Status.SUPPRESSED: 10}
    assert await database.read(mails.sums) == {"sent": 50, "suppressed:unsubscribe": 10}


# --- a relay that goes away


@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.DATA])
async def test_a_connection_lost_before_the_mail_is_tried_again_soon(
    database: Database, relay: Relay, make: Make, stage: Stage
) -> None:
    await add(database, 3)
    relay.at(stage, close=True, times=1)
    pipeline = make(connections=1)
    await pipeline.ring()
    assert (await database.read(mails.statuses)).get(Status.UNCERTAIN) is None
    deferred = [email for email in await rows(database) if email.status is Status.DEFERRED]
    assert all((email.due_at - datetime.now(UTC)).total_seconds() < 6 for email in deferred)
    await database.run(mails.make_due)
    await pipeline.ring()
    assert await database.read(mails.statuses) == {Status.SENT: 3}
    assert len(relay.mails) == 3


@pytest.mark.parametrize("takes", [True, False])
async def test_a_connection_lost_after_the_dot_leaves_a_promotional_email_uncertain(
    database: Database, relay: Relay, make: Make, takes: bool
) -> None:
    await add(database, 3)
    relay.at(Stage.DOT, close=True, to="p1@", times=1, takes=takes)
    pipeline = make(connections=1)
    await pipeline.ring()
    await pipeline.ring()
    assert await database.read(mails.statuses) == {Status.SENT: 2, Status.UNCERTAIN: 1}
    assert relay.recipients.count("p1@example.org") == takes
    assert await database.read(mails.sums) == {"sent": 2, "uncertain": 1}


async def test_a_connection_lost_after_the_dot_has_a_transactional_email_sent_again_with_the_same_bytes(
    database: Database, relay: Relay, make: Make
) -> None:
    await add(database, 1, T)
    relay.at(Stage.DOT, close=True, times=1, takes=True)
    pipeline = make(T)
    await pipeline.ring()
    [email] = await rows(database)
    assert (email.status, email.maybe_duplicate) == (Status.DEFERRED, True)
    assert (email.due_at - datetime.now(UTC)).total_seconds() < 60
    await database.run(mails.make_due)
    await pipeline.ring()
    first, second = relay.mails
    assert first.data == second.data
    assert await database.read(mails.statuses) == {Status.SENT: 1}


@pytest.mark.parametrize("stage", [Stage.RCPT, Stage.DOT])
async def test_a_relay_that_goes_on_so_does_not_get_the_mail_every_few_seconds(
    database: Database, relay: Relay, make: Make, stage: Stage
) -> None:
    await add(database, 1, T)
    relay.at(stage, close=True, takes=True)
    pipeline = make(T)
    for least in (0, 50, 250):
        await pipeline.ring()
        [email] = await rows(database)
        assert email.status is Status.DEFERRED
        assert (email.due_at - datetime.now(UTC)).total_seconds() > least
        await database.run(mails.make_due)


async def test_a_relay_that_closes_silently_after_five_mails_loses_nothing(
    database: Database, relay: Relay, make: Make
) -> None:
    await add(database, 100)
    relay.mails_a_connection = 5
    await make().ring()
    assert max(Counter(mail.connection for mail in relay.mails).values()) == 5
    assert len(set(relay.recipients)) == len(relay.mails) == 100
    assert await database.read(mails.statuses) == {Status.SENT: 100}


async def test_a_relay_that_is_away_leaves_the_mail_untried_and_says_so(
    database: Database, relay: Relay, make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(halts, "WAITS", (timedelta(seconds=0.05),))
    await add(database, 20)
    await relay.stop()
    pipeline = make()
    with caplog.at_level(logging.WARNING):
        await pipeline.ring()
    assert pipeline.trouble == f"smtp://127.0.0.1:{relay.port}: it cannot be reached"
    assert caplog.text.count("rests") == 1
    emails = await rows(database)
    assert {(email.status, email.attempts, email.maybe_duplicate) for email in emails} == {(Status.QUEUED, 0, False)}
    await pipeline.ring()
    await relay.start()
    async with asyncio.timeout(10):
        # On a busy machine the bell before was a probe: then the relay rests once more.
        while await database.read(mails.statuses) != {Status.SENT: 20}:
            await asyncio.sleep(0.06)
            await pipeline.ring()
    assert await database.read(mails.sums) == {"sent": 20}
    assert pipeline.trouble is None


async def test_a_relay_that_dies_in_the_middle_of_a_campaign(
    database: Database, relay: Relay, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halts, "WAITS", (timedelta(seconds=0.01),))
    await add(database, 120)
    relay.at(Stage.DOT, wait=0.005)
    pipeline = make()
    running = asyncio.create_task(pipeline.ring())
    await until(lambda: len(relay.mails) >= 30)
    await relay.stop()
    await running
    await relay.start()
    relay.behave()
    for _ in range(3):
        await asyncio.sleep(0.02)
        await database.run(mails.make_due)
        await pipeline.ring()
    found = await database.read(mails.statuses)
    uncertain = found.get(Status.UNCERTAIN, 0)
    assert found[Status.SENT] + uncertain == 120
    assert uncertain <= 4
    assert max(Counter(relay.recipients).values()) == 1


async def test_a_421_in_the_middle_of_a_session_is_a_rest_and_no_bounce(
    database: Database, relay: Relay, make: Make
) -> None:
    await add(database, 10)
    relay.at(Stage.MAIL, "421 4.7.0 too many mails, closing", close=True, times=1)
    pipeline = make(connections=1)
    await pipeline.ring()
    await database.run(mails.make_due)
    await pipeline.ring()
    assert await database.read(mails.statuses) == {Status.SENT: 10}


# --- order


async def test_an_urgent_mail_passes_a_long_queue_on_a_slow_relay(database: Database, relay: Relay, make: Make) -> None:
    relay.at(Stage.DOT, wait=0.02)
    await add(database, 500, T)
    pipeline = make(T, connections=2)
    running = asyncio.create_task(pipeline.ring())
    await until(lambda: len(relay.mails) >= 10)
    await add(database, 1, T, urgency=0, prefix="reset")
    asked = len(relay.mails)
    await pipeline.ring()
    await until(lambda: "reset0@example.org" in relay.recipients)
    place = relay.recipients.index("reset0@example.org")
    stopping = asyncio.create_task(pipeline.stop())
    await asyncio.gather(running, stopping)
    assert place - asked <= 20


# --- stopping


async def test_stop_finishes_what_is_in_flight_and_gives_the_rest_back(
    database: Database, relay: Relay, make: Make
) -> None:
    relay.at(Stage.DOT, wait=0.03)
    await add(database, 300)
    pipeline = make()
    running = asyncio.create_task(pipeline.ring())
    await until(lambda: len(relay.mails) >= 8)
    await pipeline.stop()
    await running
    found = await database.read(mails.statuses)
    assert found[Status.SENT] == len(relay.mails) < 300
    assert found == {Status.SENT: len(relay.mails), Status.QUEUED: 300 - len(relay.mails)}
    await until(lambda: relay.open == 0)
    await pipeline.ring()
    assert len(relay.mails) == found[Status.SENT]
    relay.behave()
    await make().ring()
    assert await database.read(mails.statuses) == {Status.SENT: 300}
    assert len(set(relay.recipients)) == 300


async def test_idle_connections_say_goodbye(
    database: Database, relay: Relay, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = make()
    await add(database, 4)
    await pipeline.ring()
    await pipeline.tidy()
    assert relay.open > 0
    monkeypatch.setattr(connecting, "_IDLE", timedelta(0))
    await pipeline.tidy()
    await until(lambda: relay.open == 0)
    assert "QUIT" in relay.commands


# --- a database that goes away


async def test_postgresql_that_drops_every_connection_costs_no_mail_and_no_doubt(
    postgresql: Database, relay: Relay
) -> None:
    relay.at(Stage.DOT, wait=0.005)
    await add(postgresql, 200)
    pipeline = mails.pipeline(postgresql, relay.port, P)
    running = asyncio.create_task(_ring_until_done(pipeline, postgresql))
    dropping = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    for quarter in range(1, 4):
        await until(lambda quarter=quarter: len(relay.mails) >= 40 * quarter)  # type: ignore[misc]
        await postgresql.run(lambda session: session.execute(dropping))
    async with asyncio.timeout(20):
        await running
    await pipeline.stop()
    assert await postgresql.read(mails.statuses) == {Status.SENT: 200}
    assert await postgresql.read(mails.sums) == {"sent": 200}
    assert len(relay.recipients) == len(set(relay.recipients)) == 200


async def _ring_until_done(pipeline: Pipeline, database: Database) -> None:
    """Ring as a worker does, which looks for itself and outlives an error."""
    while True:
        try:
            await pipeline.ring()
            found = await database.read(mails.statuses)
            if set(found) <= {Status.SENT, Status.UNCERTAIN}:
                return
        except Exception:
            logging.getLogger(__name__).exception("a run ended")
        await asyncio.sleep(0.02)


async def test_a_claim_that_fails_ends_the_run_and_not_the_stream(
    sqlite: Database, relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Letters):
        calls = 0

        async def prepare(self, jobs: Sequence[Job]) -> None:
            self.calls += 1
            if self.calls == 2:
                raise ConnectionError("the database is away")

    await add(sqlite, 400)
    pipeline = mails.pipeline(sqlite, relay.port, P, letters=Failing())
    async with asyncio.timeout(10):
        await pipeline.ring()
        assert Status.SENDING not in await sqlite.read(mails.statuses)
        await pipeline.ring()
    await pipeline.stop()
    assert "could not claim mail: ConnectionError" in caplog.text
    assert await sqlite.read(mails.statuses) == {Status.SENT: 400}
    assert len(relay.mails) == 400


async def test_a_worker_that_slept_while_its_lease_lapsed_sends_nothing_twice(
    database: Database, relay: Relay, make: Make
) -> None:
    relay.at(Stage.DOT, wait=0.01)
    await add(database, 60)
    pipeline = make(connections=2)
    running = asyncio.create_task(pipeline.ring())
    await until(lambda: len(relay.mails) >= 10)

    def lapse(session: Session) -> int:
        return claims.recover(session, datetime.now(UTC) + timedelta(minutes=1))

    await database.run(lapse)
    await running
    relay.behave()
    await make().ring()
    found = await database.read(mails.statuses)
    assert found[Status.SENT] + found.get(Status.UNCERTAIN, 0) == 60
    assert found.get(Status.UNCERTAIN, 0) <= 2
    assert max(Counter(relay.recipients).values()) == 1
