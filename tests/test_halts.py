"""A stream that an operator paused stays paused; a relay that fails rests, is probed by one worker, and comes back."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from mailer import halts
from mailer.database import Database
from mailer.halts import PROBE, WAITS, Halts, Rest
from suppression.rules import Stream

NOW = datetime(2027, 3, 1, 9, 30, tzinfo=UTC)
T, P = Stream.TRANSACTIONAL, Stream.PROMOTIONAL
RELAY = "smtp://relay.example:587"
OTHER = "smtps://other.example:465"
SECOND = timedelta(seconds=1)


async def look(database: Database, now: datetime = NOW) -> Halts:
    return await database.read(lambda session: halts.current(session, now))


async def fail(
    database: Database, now: datetime = NOW, *, began: datetime | None = None, relay: str = RELAY, reason: str = "away"
) -> Rest:
    return await database.run(lambda session: halts.failed(session, P, relay, reason, now, began=began))


async def probe(database: Database, now: datetime) -> bool:
    return await database.run(lambda session: halts.may_probe(session, P, RELAY, now))


async def recover(database: Database, now: datetime = NOW) -> bool:
    return await database.run(lambda session: halts.recovered(session, P, RELAY, now))


# --- paused


async def test_nothing_stands_in_the_way_at_first(database: Database) -> None:
    found = await look(database)
    assert (found.paused, list(found.rests)) == ({}, [])
    assert not found.silent(P, [RELAY])


async def test_a_paused_stream_says_why_and_the_other_goes(database: Database) -> None:
    await database.run(lambda session: halts.pause(session, P, "wrong prices", NOW))
    assert (await look(database)).paused == {P: ("wrong prices", NOW)}


async def test_pausing_twice_keeps_the_time_and_takes_the_newer_reason(database: Database) -> None:
    await database.run(lambda session: halts.pause(session, P, "wrong prices", NOW))
    again = await database.run(lambda session: halts.pause(session, P, "wrong links too", NOW + SECOND))
    assert again == ("wrong links too", NOW)
    assert (await look(database)).paused == {P: again}


async def test_pausing_again_without_a_reason_keeps_the_first(database: Database) -> None:
    assert await database.run(lambda session: halts.pause(session, T, None, NOW)) == ("no reason was given", NOW)
    await database.run(lambda session: halts.pause(session, P, "wrong prices", NOW))
    again = await database.run(lambda session: halts.pause(session, P, None, NOW + SECOND))
    assert again == ("wrong prices", NOW)
    assert (await look(database)).paused[P] == again


async def test_resuming_twice_is_resuming_once(database: Database) -> None:
    await database.run(lambda session: halts.pause(session, P, "wrong prices", NOW))
    assert await database.run(lambda session: halts.resume(session, P, NOW + SECOND))
    assert not await database.run(lambda session: halts.resume(session, P, NOW + SECOND))
    assert (await look(database)).paused == {}


async def test_a_pause_is_no_rest_of_a_relay(database: Database) -> None:
    await database.run(lambda session: halts.pause(session, P, "wrong prices", NOW))
    assert not (await look(database)).silent(P, [RELAY])
    await fail(database)
    await database.run(lambda session: halts.resume(session, P, NOW))
    assert (await look(database)).rest(P, RELAY) is not None


# --- the breaker


async def test_a_relay_that_fails_rests_longer_each_time(database: Database) -> None:
    now, seen = NOW, []
    for number in range(1, len(WAITS) + 3):
        rest = await fail(database, now, reason=f"reason {number}")
        assert (rest.failures, rest.since, rest.reason) == (number, NOW, f"reason {number}")
        seen.append(rest.until - now)
        now = rest.until
    for wait, wanted in zip(seen, [*WAITS, WAITS[-1], WAITS[-1]], strict=True):
        assert wanted * 0.9 <= wait <= wanted * 1.1


async def test_workers_that_fail_together_are_one_failure(database: Database) -> None:
    rests = await asyncio.gather(*(fail(database) for _ in range(12)))
    assert {rest.failures for rest in rests} == {1}
    assert len({rest.until for rest in rests}) == 1
    assert (await look(database)).rest(P, RELAY) == rests[0]


async def test_an_attempt_that_hung_since_before_the_rest_says_nothing_new(database: Database) -> None:
    first = await fail(database)
    late = await fail(database, NOW + timedelta(seconds=50), began=NOW - timedelta(seconds=10), reason="timed out")
    assert late == first


async def test_streams_and_relays_rest_each_for_itself(database: Database) -> None:
    await fail(database)
    found = await look(database)
    assert found.rest(T, RELAY) is None
    assert found.rest(P, OTHER) is None
    assert found.silent(P, [RELAY])
    assert not found.silent(P, [RELAY, OTHER])
    await fail(database, relay=OTHER)
    assert (await look(database)).silent(P, [RELAY, OTHER])


async def test_while_a_relay_rests_nobody_probes_it(database: Database) -> None:
    rest = await fail(database)
    assert not await probe(database, rest.until - timedelta(milliseconds=1))
    assert not await database.run(lambda session: halts.may_probe(session, T, RELAY, rest.until))


async def test_of_many_workers_one_probes(database: Database) -> None:
    until = (await fail(database)).until
    assert sum(await asyncio.gather(*(probe(database, until) for _ in range(12)))) == 1
    assert not await probe(database, until + PROBE - timedelta(milliseconds=1))
    assert await probe(database, until + PROBE), "who probed has died"


async def test_a_probe_that_fails_counts_and_a_failure_beside_it_does_not(database: Database) -> None:
    began = (await fail(database)).until
    assert await probe(database, began)
    beside = await fail(database, began + SECOND, began=began - SECOND)
    assert beside.failures == 1
    probed = await fail(database, began + 2 * SECOND, began=began, reason="still away")
    assert (probed.failures, probed.reason) == (2, "still away")
    assert probed.until - (began + 2 * SECOND) <= WAITS[1] * 1.1
    assert await probe(database, probed.until)


async def test_a_probe_whose_turn_is_over_does_not_count_beside_the_next(database: Database) -> None:
    first = (await fail(database)).until
    assert await probe(database, first)
    second = first + PROBE + SECOND
    assert await probe(database, second)
    assert (await fail(database, second + SECOND, began=first)).failures == 1
    assert (await fail(database, second + SECOND, began=second)).failures == 2


async def test_a_relay_that_takes_mail_rests_no_more_and_begins_anew(database: Database) -> None:
    rest = await fail(database)
    await fail(database, rest.until)
    assert await recover(database, rest.until + SECOND)
    assert not await recover(database, rest.until + SECOND)
    assert not await probe(database, rest.until + timedelta(hours=1)), "nobody needs to"
    assert (await fail(database, rest.until + timedelta(hours=1))).failures == 1


async def test_a_relay_that_nobody_tries_is_not_called_silent_for_ever(database: Database) -> None:
    rest = await fail(database)
    assert (await look(database, rest.until + 30 * SECOND)).silent(P, [RELAY]), "its probe is under way"
    assert not (await look(database, rest.until + timedelta(minutes=2))).silent(P, [RELAY])


async def test_a_relay_that_nobody_uses_any_more_is_forgotten(database: Database) -> None:
    rest = await fail(database)
    await database.run(lambda session: halts.pause(session, P, "for good", NOW))
    later = rest.until + timedelta(days=1)
    assert await database.run(lambda session: halts.forget(session, later)) == 0
    assert await database.run(lambda session: halts.forget(session, later + SECOND)) == 1
    found = await look(database)
    assert (list(found.rests), list(found.paused)) == ([], [P])


@pytest.mark.parametrize("relay", ["smtp://" + "long." * 50 + "example:25", "lmtp://[::1]:24"])
async def test_a_relay_of_any_name_rests_and_recovers(database: Database, relay: str) -> None:
    await fail(database, relay=relay)
    assert (await look(database)).rest(P, relay) is not None
    assert await database.run(lambda session: halts.recovered(session, P, relay, NOW))
