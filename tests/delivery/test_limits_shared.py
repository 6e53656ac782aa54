"""Limits across workers, over a real Redis that is emptied, stopped and started."""

import asyncio
import time
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis as Client

from mailer.delivery.limits import Limits, LocalStore, Quota, RedisStore, Schedule
from mailer.delivery.limits.stores import Ask
from mailer.relays import GroupLimits
from tests.delivery.limiting import (
    FAST,
    UNUSED,
    Clock,
    P,
    T,
    densest,
    give_way,
    gives_all_back,
    gmail,
    send,
    taken,
    workers,
)
from tests.servers import Redis, apart


def relay(**limits: object) -> Quota:
    """Return a relay that no other test has heard of."""
    return Quota(name=uuid.uuid4().hex, **{"connections": 50, **limits})  # type: ignore[arg-type]


async def flush(redis: Redis) -> None:
    async with Client.from_url(redis.url) as client:
        await client.flushall()


@pytest.mark.parametrize("rate", [5.0, 300.0])
async def test_three_workers_at_once_keep_one_rate(redis: Redis, rate: float) -> None:
    quota = relay(per_second=rate)
    async with workers(redis.url, 3) as three:
        times = await asyncio.gather(*(send(each, quota, 2.5) for each in three))
    sent = [at for each in times for at in each]
    assert rate * 2.5 * 0.6 <= len(sent) <= rate * 2.5 + 4 * max(1, rate / 10)
    assert densest(sent) <= rate + 4 * max(1, rate / 10)


async def test_a_group_has_a_rate_of_its_own_over_all_workers(redis: Redis) -> None:
    quota = relay(per_second=400, groups={"gmail": GroupLimits(per_second=50)})
    async with workers(redis.url, 2) as (a, b):
        to_gmail, again, other = await asyncio.gather(
            send(a, quota, 1.5), send(b, quota, 1.5), send(b, quota, 1.5, "yahoo", hold=0.001)
        )
    assert densest(to_gmail + again) <= 50 + 20
    assert len(other) > 50


async def test_connections_and_mails_in_flight_are_counted_over_all_workers(redis: Redis) -> None:
    quota = relay(connections=5, groups={"gmail": GroupLimits(connections=4)})
    async with workers(redis.url, 3) as three:
        waits = await asyncio.gather(*(each.connect(quota) for each in three for _ in range(4)))
        assert waits.count(0.0) == 5
        assert sum(await asyncio.gather(*(taken(each, quota) for each in three))) == 4


async def test_mails_in_flight_never_pass_the_limit_while_workers_come_and_go(redis: Redis) -> None:
    quota = relay(groups={"gmail": GroupLimits(connections=6)})
    flying, most, through = 0, 0, [0, 0, 0]

    async def carry(number: int, limits: Limits) -> None:
        nonlocal flying, most
        while time.monotonic() < end:
            if not limits.admit(quota, "gmail"):
                await asyncio.sleep(min(0.05, await limits.refill(quota, "gmail")))
                continue
            flying += 1
            most = max(most, flying)
            await asyncio.sleep(0.004)
            flying -= 1
            through[number] += 1
            limits.release(quota, "gmail")

    async def beats(limits: Limits) -> None:
        while time.monotonic() < end:
            await asyncio.sleep(0.1)
            await limits.beat()

    end = time.monotonic() + 2
    async with workers(redis.url, 3) as three:
        carriers = [carry(number, each) for number, each in enumerate(three) for _ in range(5)]
        await asyncio.gather(*carriers, *(beats(each) for each in three))
    assert most == 6
    # Nobody starves: each has about a third.
    assert min(through) > sum(through) / 10


async def test_a_killed_workers_seats_come_back_after_the_lapse(redis: Redis) -> None:
    quota = relay(connections=2, groups={"gmail": GroupLimits(connections=1)})
    async with workers(redis.url, 2) as (killed, other):
        assert [await killed.connect(quota) for _ in range(2)] == [0.0, 0.0]
        assert await taken(killed, quota) == 1
        assert await other.connect(quota) > 0
        assert await taken(other, quota) == 0
        await asyncio.sleep(FAST.lapse + 0.3)
        assert await other.connect(quota) == 0.0
        assert await taken(other, quota) == 1


async def test_a_worker_that_beats_keeps_its_seats_and_one_that_closes_leaves_them(redis: Redis) -> None:
    quota = relay(connections=1)
    async with workers(redis.url, 2) as (a, b):
        assert await a.connect(quota) == 0.0
        for _ in range(4):
            await asyncio.sleep(0.4)
            await a.beat()
        assert await b.connect(quota) > 0
        await a.close()
        await asyncio.sleep(0.3)
        assert await b.connect(quota) == 0.0


async def test_a_worker_with_more_than_its_share_makes_room_for_another(redis: Redis) -> None:
    async with workers(redis.url, 2, schedule=Schedule()) as (a, b):
        assert await give_way(a, b, relay(connections=4), lambda: asyncio.sleep(0.26)) == (2, 2)


async def test_a_worker_that_gave_everything_back_keeps_nobody_to_half(redis: Redis) -> None:
    store = RedisStore(redis.url)
    await gives_all_back(store, uuid.uuid4().hex)
    await store.close()


Asked = tuple[int, int, int, int | None, float | None]


@settings(max_examples=40, deadline=None)
@given(
    asked=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(0, 6),
            st.integers(0, 6),
            st.none() | st.integers(1, 9),
            st.sampled_from([None, None, None, 0.0, 300.0, 630.0, 930.0, 5000.0]),
        ),
        max_size=25,
    )
)
def test_the_scripts_and_the_store_of_one_process_answer_alike(redis: Redis, asked: list[Asked]) -> None:
    assert len(set(apart(lambda: answers(redis.url, asked)))) == 1


async def answers(url: str, asked: list[Asked]) -> list[tuple[tuple[int | None, bool, int], ...]]:
    """Ask both stores the same."""
    key = uuid.uuid4().hex
    stores = LocalStore(Clock()), RedisStore(url)
    found = []
    for store in stores:
        told = []
        for worker, held, more, limit, complained in asked:
            ask = Ask(key, held, held + more, limit, complained)
            seats = (await store.seat(str(worker), [ask]))[0]
            told.append((seats.allowed, seats.complained is None, seats.workers))
        found.append(tuple(told))
        await store.close()
    return found


async def beating(halves: int, *limits: Limits) -> None:
    """Let some half seconds pass, with beats."""
    for _ in range(halves):
        await asyncio.sleep(0.5)
        await asyncio.gather(*(each.beat() for each in limits))


async def test_a_complaint_stops_every_worker_then_lets_one_more_mail_fly_at_a_time(redis: Redis) -> None:
    quota = relay()
    async with workers(redis.url, 2) as (a, b):
        assert await taken(b, quota, most=1) == 1
        b.release(quota, "gmail")
        await a.throttled(quota, "gmail")
        assert 0.5 < await a.refill(quota, "gmail") <= 1.0
        await b.beat()
        assert not b.admit(quota, "gmail")
        assert await taken(a, quota) + await taken(b, quota) == 0
        await asyncio.sleep(1.2)
        assert await taken(a, quota) + await taken(b, quota) == 1
        await beating(3, a, b)
        assert await taken(b, quota) + await taken(a, quota) == 1
        await beating(3, a, b)
        assert await taken(b, quota, most=99) == 99


async def test_an_emptied_redis_learns_again_what_is_held_and_who_complained(redis: Redis) -> None:
    quota = relay(connections=3, per_second=20, groups={"gmail": GroupLimits(connections=2)})
    async with workers(redis.url, 2) as (a, b):
        assert [await a.connect(quota) for _ in range(3)] == [0.0] * 3
        assert await taken(a, quota) == 2
        await a.throttled(quota, "yahoo")
        await flush(redis)
        await a.beat()
        assert await b.connect(quota) > 0
        assert await taken(b, quota) == 0
        assert await b.refill(quota, "yahoo") > 0.1
        assert (a.trouble, b.trouble) == (None, None)


async def test_redis_keeps_no_address_and_nothing_for_ever(redis: Redis) -> None:
    quota = relay(per_second=20, groups={"gmail": GroupLimits(connections=2, per_second=5)})
    async with workers(redis.url, 1) as (a,):
        await a.connect(quota)
        await taken(a, quota)
        await a.throttled(quota, "gmail")
    async with Client.from_url(redis.url, decode_responses=True) as client:
        keys = [key async for key in client.scan_iter(f"*{quota.name}*")]
        assert len(keys) == 5
        assert all(key.startswith(f"mailer:limit:transactional:{quota.name}:") for key in keys)
        assert all([0 < await client.ttl(key) < 3600 for key in keys])


async def test_without_redis_transactional_mail_keeps_to_a_share_and_promotional_mail_waits(redis: Redis) -> None:
    quota = relay(connections=6, per_second=60, groups={"gmail": GroupLimits(connections=1)})
    stores = [RedisStore(redis.url, FAST) for _ in range(6)]
    three = [Limits(T, f"t{number}", store, UNUSED) for number, store in enumerate(stores[:3])]
    others = [Limits(P, f"p{number}", store, UNUSED) for number, store in enumerate(stores[3:])]
    try:
        for each in (*three, *others):
            assert await each.connect(quota) == 0.0
        for each in (*three, *others):
            await each.beat()
        redis.stop()
        begun = time.monotonic()
        assert await others[0].connect(quota) == 1.0
        assert not others[0].admit(quota, "other")
        assert await others[0].refill(quota, "other") == 1.0
        assert others[0].trouble is not None
        assert "promotional mail waits" in others[0].trouble
        # Two of six connections each, a third of the rate, and at least one mail for Gmail.
        assert await three[0].connect(quota) == 0.0
        assert await three[0].connect(quota) > 0
        assert await taken(three[0], quota, "gmail") == 1
        assert 10 <= len(await send(three[0], quota, 1.0, "other")) <= 20 + 6
        assert three[0].trouble is not None
        assert "1/3" in three[0].trouble
        assert time.monotonic() - begun < 3
        redis.start()
        await asyncio.sleep(1.1)
        for each in (three[0], others[0]):
            assert await each.refill(quota, "other") == 0.0
            assert each.trouble is None
        assert others[0].admit(quota, "other")
    finally:
        redis.stop()
        redis.start()
        for store in stores:
            await store.close()


async def test_a_redis_that_hangs_holds_nobody_up(redis: Redis) -> None:
    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()
        _writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with workers(f"redis://127.0.0.1:{port}/0", 1, P) as (limits,):
        quota = gmail(per_second=5)
        begun = time.monotonic()
        waits = await asyncio.gather(*(limits.refill(quota, "gmail") for _ in range(30)))
        waits += await asyncio.gather(*(limits.connect(quota) for _ in range(30)))
        assert min(waits) > 0
        assert time.monotonic() - begun < 2.0
    server.close()
    await server.wait_closed()


async def test_limits_that_are_not_there_cost_no_word_to_redis(redis: Redis) -> None:
    quota = relay()
    async with workers(redis.url, 1) as (limits,), Client.from_url(redis.url) as client:
        assert await limits.connect(quota) == 0.0
        assert await limits.refill(quota, "gmail") == 0.0
        before = (await client.info("stats"))["total_commands_processed"]
        assert len(await send(limits, quota, 0.2)) > 10
        assert (await client.info("stats"))["total_commands_processed"] - before <= 1
