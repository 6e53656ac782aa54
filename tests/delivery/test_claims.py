"""Claim, intend, settle, recover: what each may change, and who wins when two want the same row."""

import asyncio
import random
import re
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlmodel import Session, col, select

from mailer import database as databases
from mailer import halts, ids
from mailer.database import Database, on_postgresql
from mailer.delivery import claims
from mailer.delivery.claims import Ask, Job, Outcome, Step, Worker, settling, statements, taking
from mailer.delivery.claims import together as at_once
from mailer.delivery.claims.together import NotOurs, Together
from mailer.feedback import hearing, optouts
from mailer.feedback.optouts import How, Kind
from mailer.models import Email, Lease, ToldState
from mailer.status import Status
from suppression import entries
from suppression.entries import Entry
from suppression.rules import Ender, Reason
from suppression.token import OptOut
from tests import plans
from tests.delivery import mails
from tests.delivery.mails import NOW, P, T

LATER = NOW + timedelta(minutes=1)


async def claimed(database: Database, stream: str = "promotional", number: int = 1) -> tuple[Worker, list[Job]]:
    """Return a lease and what it holds."""
    which = P if stream == "promotional" else T

    def verb(session: Session) -> tuple[Worker, list[Job]]:
        mails.add(session, number, which)
        return mails.claim(session, which)

    return await database.run(verb)


async def intend(database: Database, worker: Worker, job: Job, now: datetime = NOW) -> bool:
    """Ask for an intent and return whether DATA may be sent."""
    return await database.run(lambda session: mails.commit(session, [Step(intent=job)], worker, now)) == [True]


async def settle(database: Database, worker: Worker, outcome: Outcome, now: datetime = NOW) -> None:
    await database.run(lambda session: claims.commit(session, [Step(outcome=outcome)], worker, now))


async def row(database: Database, job: Job) -> Email:
    return await database.read(lambda session: mails.email(session, job.id))


# --- claim


async def test_the_urgent_go_first_then_who_is_due_longest(database: Database) -> None:
    def verb(session: Session) -> list[str]:
        bulk = mails.add(session, 1, T, urgency=2, due_at=NOW - timedelta(hours=2))
        single = mails.add(session, 1, T, urgency=1, due_at=NOW)
        older = mails.add(session, 1, T, urgency=1, due_at=NOW - timedelta(hours=1))
        reset = mails.add(session, 1, T, urgency=0, due_at=NOW)
        return reset + older + single + bulk

    order = await database.run(verb)
    _worker, jobs = await database.run(lambda session: mails.claim(session, T))
    assert [job.id for job in jobs] == order


async def test_a_small_claim_takes_the_urgent(database: Database) -> None:
    def verb(session: Session) -> list[str]:
        mails.add(session, 5, T, urgency=2, due_at=NOW - timedelta(hours=2))
        return mails.add(session, 2, T, urgency=0)

    urgent = await database.run(verb)
    _worker, jobs = await database.run(lambda session: mails.claim(session, T, limit=3))
    assert [job.id for job in jobs[:2]] == urgent
    assert len(jobs) == 3


async def test_only_what_is_due_and_waits_is_claimed(database: Database) -> None:
    def verb(session: Session) -> set[str]:
        mails.add(session, 1, P, due_at=NOW + timedelta(seconds=1))
        mails.add(session, 1, T)
        for status in Status:
            mails.add(session, 1, P, status=status)
        claimable = [Status.QUEUED, Status.DEFERRED, Status.SCHEDULED]
        return set(session.exec(select(Email.id).where(col(Email.status).in_(claimable), Email.stream == P)))

    due = await database.run(verb)
    _worker, jobs = await database.run(lambda session: mails.claim(session, P))
    assert len(jobs) == 3
    assert {job.id for job in jobs} < due


async def test_captured_mail_has_its_own_way(database: Database) -> None:
    def verb(session: Session) -> tuple[list[str], Worker]:
        mails.add(session, 2, P)
        captured = mails.add(session, 1, P, captured=True)
        return captured, Worker(claims.open_lease(session, P, "me", NOW))

    captured, worker = await database.run(verb)
    for route, expected in ((True, 1), (False, 2)):
        ask = Ask(P, route, worker.lease, 10)
        jobs = await database.run(lambda session, ask=ask: claims.claim(session, ask, NOW))  # type: ignore[misc]
        assert len(jobs) == expected
        assert ([job.id for job in jobs] == captured) is route


async def test_a_claim_dates_the_mail_once_and_for_all(database: Database) -> None:
    worker, [job] = await claimed(database, "transactional")
    row = await database.read(lambda session: mails.email(session, job.id))
    assert (row.status, row.lease, row.dated_at) == (Status.SENDING, worker.lease, job.dated_at)
    assert job.dated_at == NOW
    await database.run(lambda session: claims.give_back(session, worker.lease, LATER))
    _worker, [again] = await database.run(lambda session: mails.claim(session, T, LATER))
    assert again.dated_at == NOW


async def test_many_claimers_at_once_never_share_a_row(database: Database) -> None:
    await database.run(lambda session: mails.add(session, 400, P))
    workers = [await database.run(lambda session: Worker(claims.open_lease(session, P, "me", NOW))) for _ in range(6)]

    async def take(worker: Worker) -> list[str]:
        taken: list[str] = []
        empty = 0
        while empty < 2:
            ask = Ask(P, None, worker.lease, 17)
            jobs = await database.run(lambda session, ask=ask: claims.claim(session, ask, NOW))  # type: ignore[misc]
            assert len(jobs) <= 17
            taken += [job.id for job in jobs]
            empty += not jobs
        return taken

    taken = Counter(identifier for each in await asyncio.gather(*map(take, workers)) for identifier in each)
    assert len(taken) == 400
    assert set(taken.values()) == {1}


async def test_a_lease_that_ended_claims_nothing(database: Database) -> None:
    # Rows under a lease that nobody sweeps would wait for ever.
    await database.run(lambda session: mails.add(session, 3, P))
    worker, _none = await database.run(lambda session: mails.claim(session, P, limit=0))
    await database.run(lambda session: claims.give_back(session, worker.lease, NOW))
    ask = Ask(P, None, worker.lease, 10)
    assert await database.run(lambda session: claims.claim(session, ask, NOW)) == []
    assert await database.read(mails.statuses) == {Status.QUEUED: 3}


# --- intend


async def test_an_intent_is_written_before_the_mail_may_go(database: Database) -> None:
    worker, [job] = await claimed(database)
    assert await intend(database, worker, job)
    email = await row(database, job)
    assert (email.status, email.intent_at, email.attempts) == (Status.SENDING, NOW, 1)


async def test_who_opted_out_after_the_claim_gets_no_mail(database: Database) -> None:
    worker, [job] = await claimed(database)
    entry = await database.run(lambda session: mails.opt_out(session, job.fingerprint, NOW))
    assert not await intend(database, worker, job)
    email = await row(database, job)
    assert (email.status, email.suppression_id, email.suppression_reason) == (
        Status.SUPPRESSED,
        entry.id,
        Reason.UNSUBSCRIBE,
    )
    assert await database.read(mails.sums) == {"suppressed:unsubscribe": 1}
    assert await database.read(lambda session: mails.kinds(session, job.id)) == ["email.suppressed"]


async def test_the_same_opt_out_does_not_stop_transactional_mail(database: Database) -> None:
    worker, [job] = await claimed(database, "transactional")
    await database.run(lambda session: mails.opt_out(session, job.fingerprint, NOW))
    assert await intend(database, worker, job)


async def test_a_topic_that_may_be_left_is_asked_for_in_transactional_mail(database: Database) -> None:
    def verb(session: Session) -> tuple[Worker, list[Job]]:
        mails.add(session, 1, T, topic="notifications", leavable=True)
        return mails.claim(session, T)

    worker, [job] = await database.run(verb)

    def leave(session: Session) -> None:
        optouts.opted_out(
            session, OptOut(1, job.fingerprint, T, "notifications", ids.to_bytes(job.id)), How(Kind.LINK), NOW
        )

    await database.run(leave)
    assert not await intend(database, worker, job)
    assert (await row(database, job)).status is Status.SUPPRESSED


async def test_an_opt_out_that_was_taken_back_forbids_nothing(database: Database) -> None:
    worker, [job] = await claimed(database)
    entry = await database.run(lambda session: mails.opt_out(session, job.fingerprint, NOW))
    await database.run(lambda session: entries.lift(session, 1, entry.id, Ender.PERSON, None, NOW))
    assert await intend(database, worker, job)


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.SUPPRESSED, Status.EXPIRED])
async def test_what_was_ended_after_the_claim_is_not_sent_and_stays_ended(database: Database, status: Status) -> None:
    worker, [job] = await claimed(database)
    await database.run(lambda session: mails.move(session, [job.id], status=status, lease=None))
    assert not await intend(database, worker, job)
    assert (await row(database, job)).status is status
    assert await database.read(mails.sums) == {}


async def test_what_expired_after_the_claim_is_not_sent(database: Database) -> None:
    worker, [job] = await claimed(database)
    await database.run(lambda session: mails.move(session, [job.id], expires_at=NOW))
    assert not await intend(database, worker, job)
    assert (await row(database, job)).status is Status.EXPIRED
    assert await database.read(mails.sums) == {"expired": 1}


async def test_mail_of_a_tenant_that_was_paused_after_the_claim_goes_back(database: Database) -> None:
    """A brake is silent at once: what a worker holds is asked for too."""
    worker, jobs = await claimed(database, number=2)
    await database.run(lambda session: halts.pause(session, P, "too many bounces", NOW, tenant_id=1))
    assert not await intend(database, worker, jobs[0])
    assert (await row(database, jobs[0])).status is Status.QUEUED
    await database.run(lambda session: halts.resume(session, P, NOW, tenant_id=1))
    await database.run(lambda session: halts.pause(session, P, "too many bounces", NOW, tenant_id=2))
    await database.run(lambda session: halts.pause(session, T, "another stream", NOW, tenant_id=1))
    assert await intend(database, worker, jobs[1])


async def test_an_erased_address_cancels(database: Database) -> None:
    worker, [job] = await claimed(database)
    await database.run(lambda session: mails.move(session, [job.id], address=None, fingerprint=None))
    assert not await intend(database, worker, job)
    assert (await row(database, job)).status is Status.CANCELLED


async def test_a_lease_that_was_voided_gets_no_intent(database: Database) -> None:
    worker, [job] = await claimed(database)
    await database.run(lambda session: claims.void(session, worker.lease, LATER))
    assert not await intend(database, worker, job, LATER)
    assert (await row(database, job)).status is Status.QUEUED


async def test_one_commit_carries_outcomes_intents_and_refusals(database: Database) -> None:
    worker, jobs = await claimed(database, number=4)
    sent, wanted, left, gone = jobs
    assert await intend(database, worker, sent)
    await database.run(lambda session: mails.opt_out(session, left.fingerprint, NOW))
    await database.run(lambda session: mails.move(session, [gone.id], status=Status.CANCELLED, lease=None))
    steps = [
        Step(outcome=Outcome(sent, Status.SENT, reply="250 ok", tracked=True), intent=wanted),
        Step(intent=left),
        Step(intent=gone),
    ]
    granted = await database.run(lambda session: mails.commit(session, steps, worker, LATER))
    assert granted == [True, False, False]
    assert [(await row(database, job)).status for job in jobs] == [
        Status.SENT,
        Status.SENDING,
        Status.SUPPRESSED,
        Status.CANCELLED,
    ]
    assert await database.read(mails.sums) == {"sent": 1, "tracked": 1, "suppressed:unsubscribe": 1}


async def test_a_mail_that_travels_by_now_is_not_refused_any_more(database: Database) -> None:
    worker, [job] = await claimed(database)
    assert await intend(database, worker, job)
    await database.run(lambda session: mails.opt_out(session, job.fingerprint, NOW))
    await database.run(lambda session: claims.refuse(session, [job], worker, NOW))
    assert (await row(database, job)).status is Status.SENDING
    assert await database.read(mails.sums) == {}


# --- settle


async def test_an_outcome_is_written_with_its_time_event_and_count(database: Database) -> None:
    worker, [job] = await claimed(database)
    await intend(database, worker, job)
    outcome = Outcome(job, Status.DEFERRED, reply="451 later", category="transient", due_at=LATER)
    await settle(database, worker, outcome)
    email = await row(database, job)
    assert (email.status, email.reply, email.due_at, email.settled_at) == (Status.DEFERRED, "451 later", LATER, NOW)
    assert email.sent_at is None
    assert await database.read(mails.sums) == {"deferred": 1}
    assert await database.read(lambda session: mails.kinds(session, job.id)) == ["email.deferred"]


async def test_what_was_sent_knows_when(database: Database) -> None:
    worker, [job] = await claimed(database)
    await intend(database, worker, job)
    await settle(database, worker, Outcome(job, Status.SENT, reply="250 ok"), LATER)
    email = await row(database, job)
    assert (email.status, email.sent_at, email.due_at) == (Status.SENT, LATER, NOW)


async def test_a_hard_bounce_forbids_the_address_in_every_stream(database: Database) -> None:
    worker, [job] = await claimed(database, "transactional")
    await intend(database, worker, job)
    outcome = Outcome(job, Status.BOUNCED, reply="550 5.1.1 no", category="invalid_recipient", hard=True)
    await settle(database, worker, outcome)
    [entry] = await database.read(lambda session: session.exec(select(Entry)).all())
    assert (entry.reason, entry.scope, entry.fingerprint, entry.key_id) == (
        Reason.HARD_BOUNCE,
        "all",
        job.fingerprint,
        "k1",
    )
    await database.run(lambda session: mails.add(session, 1, T))
    again, [second] = await database.run(lambda session: mails.claim(session, T))
    assert not await intend(database, again, second)
    assert (await row(database, second)).suppression_reason == Reason.HARD_BOUNCE


async def test_an_outcome_under_a_void_lease_changes_nothing(database: Database) -> None:
    worker, jobs = await claimed(database, number=3)
    for job in jobs:
        await intend(database, worker, job)
    await database.run(lambda session: claims.void(session, worker.lease, LATER))
    before = await database.read(mails.sums)
    outcomes = [
        Outcome(jobs[0], Status.SENT, reply="250 ok", tracked=True),
        Outcome(jobs[1], Status.DEFERRED, reply="451 later", due_at=LATER),
        Outcome(jobs[2], Status.BOUNCED, reply="550 5.1.1 no", category="invalid_recipient", hard=True),
    ]
    for outcome in outcomes:
        await settle(database, worker, outcome, LATER)
    assert before == await database.read(mails.sums) == {"uncertain": 3}
    assert await database.read(mails.statuses) == {Status.UNCERTAIN: 3}
    assert await database.read(lambda session: session.exec(select(Entry)).all()) == []
    assert await database.read(lambda session: mails.kinds(session, jobs[1].id)) == ["email.uncertain"]


async def test_an_outcome_that_arrives_twice_counts_once(database: Database) -> None:
    worker, [job] = await claimed(database)
    await intend(database, worker, job)
    for _ in range(2):
        await settle(database, worker, Outcome(job, Status.SENT, reply="250 ok"))
    assert await database.read(mails.sums) == {"sent": 1}


# --- a worker that died


async def test_without_an_intent_nothing_was_sent_so_it_waits_again(database: Database) -> None:
    for stream in ("promotional", "transactional"):
        worker, [job] = await claimed(database, stream)
        assert await database.run(lambda session, worker=worker: claims.void(session, worker.lease, LATER)) == 1  # type: ignore[misc]
        email = await row(database, job)
        assert (email.status, email.maybe_duplicate) == (Status.QUEUED, False)


async def test_with_an_intent_a_transactional_email_is_sent_again_as_a_possible_duplicate(database: Database) -> None:
    worker, [job] = await claimed(database, "transactional")
    await intend(database, worker, job)
    await database.run(lambda session: claims.void(session, worker.lease, LATER))
    email = await row(database, job)
    assert (email.status, email.maybe_duplicate, email.intent_at, email.dated_at) == (Status.QUEUED, True, None, NOW)


async def test_with_an_intent_a_promotional_email_is_uncertain_and_never_sent_again(database: Database) -> None:
    worker, [job] = await claimed(database)
    await intend(database, worker, job)
    await database.run(lambda session: claims.void(session, worker.lease, LATER))
    assert (await row(database, job)).status is Status.UNCERTAIN
    assert await database.read(mails.sums) == {"uncertain": 1}
    assert await database.read(lambda session: mails.kinds(session, job.id)) == ["email.uncertain"]
    _worker, jobs = await database.run(lambda session: mails.claim(session, P, LATER + timedelta(days=9)))
    assert jobs == []


async def test_giving_back_ends_the_lease(database: Database) -> None:
    worker, _jobs = await claimed(database, number=3)
    await database.run(lambda session: claims.give_back(session, worker.lease, LATER))
    assert await database.read(mails.statuses) == {Status.QUEUED: 3}
    assert not await database.run(lambda session: claims.beat(session, worker.lease, LATER))


async def test_a_worker_that_beats_keeps_what_it_holds(database: Database) -> None:
    worker, _jobs = await claimed(database, number=3)
    moment = NOW
    for _ in range(10):
        moment += timedelta(seconds=20)
        assert await database.run(lambda session, moment=moment: claims.beat(session, worker.lease, moment))  # type: ignore[misc]
        assert await database.run(lambda session, moment=moment: claims.recover(session, moment)) == 0  # type: ignore[misc]
    assert await database.read(mails.statuses) == {Status.SENDING: 3}


async def test_a_worker_that_is_silent_for_30_seconds_loses_it(database: Database) -> None:
    worker, _jobs = await claimed(database, number=3)
    assert await database.run(lambda session: claims.recover(session, NOW + timedelta(seconds=30))) == 0
    assert await database.run(lambda session: claims.recover(session, NOW + timedelta(seconds=31))) == 3
    assert await database.read(mails.statuses) == {Status.QUEUED: 3}
    assert not await database.run(lambda session: claims.beat(session, worker.lease, LATER))
    assert await database.run(lambda session: claims.recover(session, NOW + timedelta(hours=1))) == 0


async def test_a_known_dead_worker_loses_it_at_once_and_the_others_keep_theirs(database: Database) -> None:
    await claimed(database, number=2)

    def other(session: Session) -> None:
        mails.add(session, 3, P)
        mails.claim(session, P, holder="other")

    await database.run(other)
    assert await database.run(lambda session: claims.recover(session, NOW, holder="other")) == 3
    assert await database.read(mails.statuses) == {Status.QUEUED: 3, Status.SENDING: 2}
    assert await database.read(lambda session: [each.holder for each in session.exec(select(Lease))]) == ["me"]


async def test_two_that_recover_at_once_do_it_once(database: Database) -> None:
    worker, jobs = await claimed(database, number=5)
    for job in jobs[:2]:
        await intend(database, worker, job)
    moment = NOW + timedelta(minutes=5)
    changed = await asyncio.gather(*(database.run(lambda session: claims.recover(session, moment)) for _ in range(3)))
    assert sum(changed) == 5
    assert await database.read(mails.sums) == {"uncertain": 2}


# --- what waited too long


async def test_what_waits_beyond_its_time_expires(database: Database) -> None:
    def verb(session: Session) -> None:
        mails.add(session, 1, P, expires_at=NOW)
        mails.add(session, 1, T, status=Status.SCHEDULED, expires_at=NOW, due_at=LATER)
        mails.add(session, 1, T, expires_at=LATER)

    await database.run(verb)
    assert await database.run(lambda session: claims.expire(session, NOW, timedelta(days=3))) == 2
    assert await database.read(mails.statuses) == {Status.EXPIRED: 2, Status.QUEUED: 1}
    assert await database.read(mails.sums) == {"expired": 2}


async def test_what_was_refused_too_long_bounces_and_what_was_never_tried_failed(database: Database) -> None:
    def verb(session: Session) -> None:
        mails.add(session, 1, P, status=Status.DEFERRED, dated_at=NOW - timedelta(days=3, seconds=1))
        mails.add(session, 1, P, status=Status.DEFERRED, dated_at=NOW - timedelta(days=2))
        mails.add(session, 1, P, dated_at=NOW - timedelta(days=3, seconds=1))
        mails.add(session, 1, P, due_at=NOW - timedelta(days=9))

    await database.run(verb)
    assert await database.run(lambda session: claims.expire(session, NOW, timedelta(days=3))) == 2
    assert await database.read(mails.statuses) == {
        Status.BOUNCED: 1,
        Status.DEFERRED: 1,
        Status.FAILED: 1,
        Status.QUEUED: 1,
    }


async def test_a_mail_that_was_refused_to_the_end_is_a_soft_bounce_of_its_mailbox(database: Database) -> None:
    def verb(session: Session) -> None:
        [identifier] = mails.add(session, 1, P, status=Status.DEFERRED, dated_at=NOW - timedelta(days=4))
        claims.expire(session, NOW, timedelta(days=3))
        [told] = hearing.listing(session, ToldState.DONE, limit=10).reports
        assert (told.email_id, told.category, told.fingerprint is None) == (identifier, "expired", False)

    await database.run(verb)


async def test_due_looks_at_a_stream_and_the_time(database: Database) -> None:
    await database.run(lambda session: mails.add(session, 1, P, due_at=LATER))
    for stream, moment, expected in ((P, NOW, False), (P, LATER, True), (T, LATER, False)):
        assert await database.read(lambda session, s=stream, m=moment: claims.due(session, s, m)) is expected  # type: ignore[misc]


# --- opt-outs against intents


@pytest.mark.parametrize("quick", [True, False])
async def test_no_intent_is_committed_after_an_opt_out_was_answered(postgresql: Database, quick: bool) -> None:
    """200 people opt out at a random moment around their intent; the order in which commits happened decides."""
    rounds = 200
    # Of five people one opts out after the intent, one before: both outcomes occur however busy the machine is.
    left: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
    sent: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
    worker, jobs = await claimed(postgresql, number=rounds)
    chance = random.Random(5)
    answered: dict[str, float] = {}
    allowed: dict[str, float] = {}
    loop = asyncio.get_running_loop()
    connections = [Together(postgresql) for _ in range(5)]

    async def leave(job: Job) -> None:
        await asyncio.sleep(chance.uniform(0, 0.01))
        if jobs.index(job) % 5 == 0:
            await sent[job.id].wait()
        opt_out = OptOut(1, job.fingerprint, P, "newsletter", ids.to_bytes(job.id))
        now = datetime.now(UTC)
        await postgresql.run(
            lambda session: optouts.opted_out(session, opt_out, How(Kind.ONE_CLICK), now), conclusive=True
        )
        answered[job.id] = loop.time()
        left[job.id].set()

    async def send(job: Job) -> None:
        # An opt-out reads a little before it reaches the row, so the intent begins a little later.
        await asyncio.sleep(chance.uniform(0.01, 0.03))
        if jobs.index(job) % 5 == 1:
            await left[job.id].wait()
        step = Step(intent=job)
        asked = loop.time()
        if quick:
            await connections[jobs.index(job) % 5].commit([step], worker, datetime.now(UTC))
        else:
            await postgresql.run(lambda session: claims.commit(session, [step], worker, datetime.now(UTC)))
        if step.granted:
            allowed[job.id] = asked
        sent[job.id].set()
        if quick:
            await asyncio.sleep(0.02)
            await connections[jobs.index(job) % 5].rest()

    for start in range(0, rounds, 5):
        some = jobs[start : start + 5]
        await asyncio.gather(*map(leave, some), *map(send, some))
    await asyncio.gather(*(each.close() for each in connections))
    suppressed = await postgresql.read(
        lambda session: set(session.exec(select(Email.id).where(Email.status == Status.SUPPRESSED)))
    )
    assert len(answered) == rounds
    # Whoever asked after the answer got a no, and every mail is either intended or suppressed, never both.
    assert not [each for each, asked in allowed.items() if asked > answered[each]]
    assert set(allowed) | suppressed == {job.id for job in jobs}
    assert not set(allowed) & suppressed
    assert len(allowed) > 10
    assert len(suppressed) > 10


async def test_an_opt_out_waits_for_an_intent_that_is_being_written(postgresql: Database) -> None:
    worker, [job] = await claimed(postgresql)
    written, go_on = asyncio.Event(), asyncio.Event()
    order: list[str] = []
    step = Step(intent=job)

    async def send() -> None:
        assert postgresql._async is not None
        async with postgresql._async.connect() as connection, connection.begin():
            await connection.run_sync(
                lambda held: claims.commit(Session(held), [step], worker, NOW)  # the same verb, held open
            )
            written.set()
            await go_on.wait()
            order.append("intent")

    async def leave() -> None:
        await written.wait()
        await postgresql.run(
            lambda session: optouts.opted_out(
                session, OptOut(1, job.fingerprint, P, "newsletter", ids.to_bytes(job.id)), How(Kind.LINK), NOW
            ),
            conclusive=True,
        )
        order.append("opt-out")

    leaving, sending = asyncio.create_task(leave()), asyncio.create_task(send())
    await written.wait()
    await asyncio.sleep(0.1)
    assert not leaving.done()
    go_on.set()
    await asyncio.gather(leaving, sending)
    assert order == ["intent", "opt-out"]
    assert step.granted
    assert (await row(postgresql, job)).status is Status.SENDING


async def test_an_intent_waits_for_an_opt_out_that_is_being_written_and_is_refused(postgresql: Database) -> None:
    worker, [job] = await claimed(postgresql)
    written, go_on = asyncio.Event(), asyncio.Event()
    opt_out = OptOut(1, job.fingerprint, P, "newsletter", ids.to_bytes(job.id))

    async def leave() -> None:
        assert postgresql._async is not None
        async with postgresql._async.connect() as connection, connection.begin():
            await connection.run_sync(lambda held: optouts.opted_out(Session(held), opt_out, How(Kind.LINK), NOW))
            written.set()
            await go_on.wait()

    leaving = asyncio.create_task(leave())
    await written.wait()
    sending = asyncio.create_task(intend(postgresql, worker, job))
    await asyncio.sleep(0.1)
    assert not sending.done()
    go_on.set()
    await leaving
    assert not await sending
    assert (await row(postgresql, job)).status is Status.SUPPRESSED


async def test_an_intent_of_mail_that_an_opt_out_could_not_see_is_not_committed_after_its_answer(
    postgresql: Database,
) -> None:
    """The opt-out's UPDATE cannot see a row that is accepted after it, so no row lock orders the two."""
    await postgresql.run(mails.found)
    someone = mails.fingerprint("p0@example.org")
    opt_out = OptOut(1, someone, P, "newsletter")
    order: list[str] = []
    leave_now, send_now = asyncio.Event(), asyncio.Event()
    left, intended = asyncio.Event(), asyncio.Event()
    assert postgresql._async is not None
    engine = postgresql._async

    async def leave() -> None:
        async with engine.connect() as connection, connection.begin():
            await connection.run_sync(lambda held: optouts.opted_out(Session(held), opt_out, How(Kind.LINK), NOW))
            left.set()
            await leave_now.wait()
        # What `run` does for a conclusive verb.
        await postgresql._after_intents()
        order.append("answered")

    async def send(step: Step, worker: Worker) -> None:
        async with engine.connect() as connection, connection.begin():
            await connection.run_sync(lambda held: claims.commit(Session(held), [step], worker, NOW))
            intended.set()
            await send_now.wait()
        if step.granted:
            order.append("intent")

    leaving = asyncio.create_task(leave())
    await left.wait()
    worker, [job] = await claimed(postgresql)
    sending = asyncio.create_task(send(Step(intent=job), worker))
    await asyncio.wait_for(intended.wait(), 10)
    leave_now.set()
    await asyncio.sleep(0.1)
    send_now.set()
    await asyncio.gather(leaving, sending)
    assert order == ["intent", "answered"]


async def test_the_quick_way_writes_what_the_long_way_writes(postgresql: Database) -> None:
    """Two mails, one each way: the same rows, events and sums."""
    worker, [quick, long] = await claimed(postgresql, number=2)
    together = Together(postgresql)
    for job, commit in ((quick, together.commit), (long, None)):
        for step in (Step(intent=job), Step(outcome=Outcome(job, Status.SENT, reply="250 ok", tracked=True))):
            if commit is not None:
                await commit([step], worker, NOW)
            else:
                await postgresql.run(lambda session, step=step: claims.commit(session, [step], worker, NOW))  # type: ignore[misc]
            assert step.granted is (step.intent is not None)
    await together.close()
    first, second = [
        (await row(postgresql, job)).model_dump(exclude={"id", "address", "fingerprint"}) for job in (quick, long)
    ]
    assert first == second
    assert (first["status"], first["attempts"], first["tracked"], first["sent_at"]) == (Status.SENT, 1, True, NOW)
    assert await postgresql.read(mails.sums) == {"sent": 2, "tracked": 2}


async def test_the_quick_way_writes_nothing_where_a_row_was_taken_away(postgresql: Database) -> None:
    worker, [kept, taken] = await claimed(postgresql, number=2)
    together = Together(postgresql)
    await together.commit([Step(intent=kept), Step(intent=taken)], worker, NOW)
    await postgresql.run(lambda session: mails.move(session, [taken.id], lease="le_other"))
    with pytest.raises(NotOurs):
        await together.commit([Step(outcome=Outcome(job, Status.SENT)) for job in (kept, taken)], worker, NOW)
    assert [(await row(postgresql, job)).status for job in (kept, taken)] == [Status.SENDING] * 2
    assert await postgresql.read(mails.sums) == {}
    await together.commit([Step(outcome=Outcome(kept, Status.SENT))], worker, NOW)
    assert (await row(postgresql, kept)).status is Status.SENT
    await together.close()


async def test_a_frozen_worker_does_not_keep_an_opt_out_waiting(
    postgresql: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, [job] = await claimed(postgresql)
    together = Together(postgresql)
    await together.commit([Step(intent=job)], worker, NOW)
    # It never gives its right back; its last statement ended long ago.
    monkeypatch.setattr(databases, "_LONGEST_INTENT", -900)
    opt_out = OptOut(1, job.fingerprint, P, "newsletter")
    await postgresql.run(lambda session: optouts.opted_out(session, opt_out, How(Kind.LINK), NOW), conclusive=True)
    await together.close()


async def test_the_quick_way_finds_rows_by_their_ids_however_small_the_table_was(postgresql: Database) -> None:
    """A plan that walked the lease's index would read every row of a run for each commit."""
    worker, jobs = await claimed(postgresql, number=300)
    connection = await postgresql.direct()
    values = at_once._values([Outcome(jobs[0], Status.SENT)], [jobs[1].id], worker, NOW)
    statement = at_once._statement()
    plan = await connection.fetch(f"EXPLAIN {statement.text}", *statement.arguments(values))
    await connection.close()
    lines = "\n".join(str(line[0]) for line in plan)
    assert lines.count("email_pkey on email") == 2
    assert "email_lease" not in lines


async def test_a_look_at_the_queue_is_a_step_along_its_index(postgresql: Database) -> None:
    """Both routes in one question would sort all mail that waits, twice a second in each worker."""
    await claimed(postgresql, number=300)

    def explained(session: Session) -> list[str]:
        session.execute(text("SET LOCAL enable_seqscan = off"))
        session.execute(text("SET LOCAL enable_bitmapscan = off"))
        lines: list[str] = []
        for asked in taking._asked(P, None, (0, 1, 2), NOW):
            statement = taking._due().params(**asked, b_limit=1)
            compiled = statement.compile(session.connection(), compile_kwargs={"literal_binds": True})
            lines += session.execute(text(f"EXPLAIN {compiled}")).scalars()
        return lines

    lines = "\n".join(await postgresql.read(explained))
    assert lines.count("email_work on email") == 6
    assert "Sort" not in lines


async def test_sqlite_finds_everything_by_index_in_a_young_database(sqlite: Database) -> None:
    """It once read all of a tenant's suppressions for each mail: ten seconds for thirty mails beside 100,000."""

    def explained(session: Session) -> list[str]:
        dialect, values = session.get_bind().dialect, {"b_lease": "le_1", "b_now": NOW}
        lines = []
        for prepared in (settling._intents(dialect), settling._listed(statements.settlement, dialect)):
            arguments = prepared.arguments({**values, "b_ids": "[]", "b_rows": "[]"})
            plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {prepared.text}", arguments)
            lines += [str(row[-1]) for row in plan]
        return lines

    lines = await sqlite.read(explained)
    assert sum(line.startswith("SEARCH email ") and line.endswith("(id=?)") for line in lines) == 2
    people = [line for line in lines if re.match("(SCAN|SEARCH) (suppression|consent)", line) and "(id=?)" not in line]
    assert len(people) == 6
    assert all("tenant_id=? AND fingerprint=?" in line for line in people), people


async def test_what_is_read_anew_is_found_by_its_ids_and_not_by_the_lease(database: Database) -> None:
    """A lease has had thousands of mails, and each look at a few of them once read them all."""
    worker, jobs = await claimed(database, number=300)

    def explained(session: Session) -> str:
        if on_postgresql(session):
            session.execute(text("SET LOCAL enable_seqscan = off"))
        (asked,) = plans.statements(session, lambda: settling.held(session, [job.id for job in jobs[:20]], worker))
        return plans.plan(session, asked)

    found = await database.run(explained)
    assert "email_lease" not in found
    assert "(id=?)" in found or "email_pkey" in found, found


async def test_what_waits_too_long_is_found_without_a_look_at_what_waits(database: Database) -> None:
    """The clock asks every five seconds: it once read every email that there ever was, then all that waited."""
    found: list[str] = []

    def explained(session: Session) -> None:
        mails.add(session, 500, P)
        if on_postgresql(session):
            # Of a tiny table whose numbers it does not know it takes any index.
            session.connection().exec_driver_sql("ANALYZE email")
        for asked in plans.statements(session, lambda: claims.expire(session, NOW, timedelta(days=3))):
            if on_postgresql(session):
                session.execute(text("SET LOCAL enable_seqscan = off"))
            found.append(plans.plan(session, asked))

    await database.run(explained)
    indexes = [set(re.findall(r"email_(?:expiring|tried|work)", plan)) for plan in found]
    assert indexes == [{"email_expiring"}, {"email_tried"}, {"email_tried"}], found


@pytest.mark.parametrize("reply", ["250 ok", '451 4.2.2 "quoted", \\ back \x07 ünïcødé \u2028', None])
async def test_outcomes_of_every_kind_are_written_together(database: Database, reply: str | None) -> None:
    later = NOW + timedelta(minutes=5, microseconds=7)
    worker, jobs = await claimed(database, number=4)
    sent, back, failed, taken = jobs
    outcomes = [
        Outcome(sent, Status.SENT, reply=reply, tracked=True, tracked_links=True, maybe_duplicate=True),
        Outcome(back, Status.QUEUED, reply=reply, due_at=later),
        Outcome(failed, Status.FAILED, reply=reply, category="content"),
        Outcome(taken._replace(id="em_nobody"), Status.SENT, reply=reply),
    ]
    steps = [Step(outcome=each) for each in outcomes]
    await database.run(lambda session: claims.commit(session, steps, worker, NOW))
    rows = [await row(database, job) for job in jobs]
    assert [each.status for each in rows] == [Status.SENT, Status.QUEUED, Status.FAILED, Status.SENDING]
    assert [each.reply for each in rows] == [reply, reply, reply, None]
    assert [each.due_at for each in rows] == [sent.due_at, later, failed.due_at, taken.due_at]
    marks = [(each.tracked, each.tracked_links, each.maybe_duplicate) for each in rows]
    assert marks == [(True,) * 3, *[(False,) * 3] * 3]
    assert [each.sent_at for each in rows] == [NOW, None, None, None]
