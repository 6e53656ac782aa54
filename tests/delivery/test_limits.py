"""Limits within one process, in time that a test makes pass."""

import asyncio
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.delivery.limits import Limits, LocalStore, Quota, is_rate_reply
from mailer.delivery.limits.quota import USUAL
from mailer.delivery.limits.stores import Ask, Seats
from mailer.relays import GroupLimits
from tests.delivery.limiting import UNUSED, Clock, Counted, P, T, densest, give_way, gives_all_back, gmail, taken
from tests.servers import apart


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> Limits:
    return Limits(P, "one", LocalStore(clock), UNUSED, clock=clock)


def two(clock: Clock) -> tuple[Limits, Limits]:
    store = LocalStore(clock)
    return Limits(P, "a", store, UNUSED, clock=clock), Limits(P, "b", store, UNUSED, clock=clock)


@pytest.mark.parametrize(
    ("text", "limited"),
    [
        ("421 4.7.28 Gmail has detected an unusual rate of unsolicited mail", True),
        ("421-4.7.28 Gmail has detected an unusual rate of mail.", True),
        ("4.7.28", True),
        ("421 4.7.0 try again later", False),
        ("421 14.7.28 no", False),
        ("421 4.7.281 no", False),
        ("550 5.7.28 no", False),
        ("421 from 10.4.7.28.9", False),
    ],
)
def test_gmails_rate_reply_is_known_by_its_code(text: str, limited: bool) -> None:
    assert is_rate_reply(text) is limited


async def test_a_relay_with_connections_only_asks_nobody_for_a_mail(clock: Clock) -> None:
    store = Counted(clock)
    limits = Limits(P, "one", store, UNUSED, clock=clock)
    quota = Quota(name="one", connections=2)
    assert await limits.connect(quota) == 0.0
    # Whether somebody complained is asked once.
    assert await limits.refill(quota, "gmail") == 0.0
    asked = store.asked
    for _ in range(10_000):
        assert limits.admit(quota, "gmail")
        limits.release(quota, "gmail")
    assert store.asked == asked


async def test_a_rate_is_kept_and_a_wait_is_as_long_as_it_must_be(limits: Limits, clock: Clock) -> None:
    quota = Quota(name="one", connections=1, per_second=10)
    sent, start = 0, clock.now
    while clock.now < start + 10:
        if limits.admit(quota, "other"):
            sent += 1
        else:
            clock.now += await limits.refill(quota, "other")
    assert sent == 100


async def test_a_fast_worker_asks_the_store_seldom(clock: Clock) -> None:
    store = Counted(clock)
    limits = Limits(P, "one", store, UNUSED, clock=clock)
    quota = Quota(name="one", connections=1, per_second=5000)
    sent, start = 0, clock.now
    while clock.now < start + 2:
        if limits.admit(quota, "other"):
            sent += 1
            clock.now += 0.0001
        else:
            clock.now += await limits.refill(quota, "other")
    assert 9_800 < sent < 10_600
    assert store.asked < 300


async def test_a_group_is_limited_without_the_others(limits: Limits, clock: Clock) -> None:
    quota = gmail(per_second=1)
    assert await taken(limits, quota) == 1
    assert await taken(limits, quota, "yahoo", most=500) == 500
    clock.now += 1
    assert await taken(limits, quota) == 1


async def test_a_group_that_must_wait_takes_nothing_from_its_relay(limits: Limits, clock: Clock) -> None:
    quota = Quota(name="one", connections=1, per_second=100, groups={"gmail": GroupLimits(per_second=1)})
    for _ in range(5):
        await taken(limits, quota)
        clock.now += 0.05
    clock.now += 1
    assert await taken(limits, quota, "yahoo") == 10


async def test_a_grant_that_was_not_used_is_void_after_a_moment(limits: Limits, clock: Clock) -> None:
    quota = Quota(name="one", connections=1, per_second=100)
    assert await taken(limits, quota) == 10
    clock.now += 0.1
    assert await limits.refill(quota, "gmail") == 0.0
    clock.now += 0.3
    assert not limits.admit(quota, "gmail")


async def test_a_mail_that_never_went_gives_its_token_back(limits: Limits) -> None:
    quota = gmail(per_second=1)
    assert await limits.refill(quota, "gmail") == 0.0
    assert limits.admit(quota, "gmail")
    limits.release(quota, "gmail", used=False)
    assert limits.admit(quota, "gmail")
    assert not limits.admit(quota, "gmail")


async def test_connections_are_counted_over_all_workers(clock: Clock) -> None:
    a, b = two(clock)
    quota = Quota(name="one", connections=3)
    assert [await a.connect(quota) for _ in range(2)] == [0.0, 0.0]
    assert await b.connect(quota) == 0.0
    assert await b.connect(quota) > 0
    await a.disconnect(quota)
    clock.now += 0.25
    assert await b.connect(quota) == 0.0


async def test_a_worker_with_more_than_its_share_hears_that_another_waits(clock: Clock) -> None:
    a, b = two(clock)

    async def rest() -> None:
        clock.now += 0.3

    assert await give_way(a, b, Quota(name="one", connections=4), rest) == (2, 2)


async def test_a_worker_that_gave_everything_back_keeps_nobody_to_half(clock: Clock) -> None:
    await gives_all_back(LocalStore(clock), "one")


async def test_the_seats_of_a_worker_that_is_not_heard_of_come_back(clock: Clock) -> None:
    a, b = two(clock)
    quota = Quota(name="one", connections=2, groups={"gmail": GroupLimits(connections=1)})
    assert [await a.connect(quota) for _ in range(2)] == [0.0, 0.0]
    assert await taken(a, quota) == 1
    for _ in range(5):
        clock.now += 5
        await a.beat()
    assert await b.connect(quota) > 0
    clock.now += USUAL.lapse - 1
    assert await b.connect(quota) > 0
    assert await b.refill(quota, "gmail") > 0
    clock.now += 1.1
    assert await b.connect(quota) == 0.0
    assert await taken(b, quota) == 1


async def test_mails_in_flight_are_counted_over_all_workers(clock: Clock) -> None:
    a, b = two(clock)
    quota = gmail(connections=3)
    assert await taken(a, quota) == 3
    assert await taken(b, quota) == 0
    a.release(quota, "gmail")
    assert a.admit(quota, "gmail")
    a.release(quota, "gmail")
    for _ in range(3):
        await a.beat()
        clock.now += 1
    assert await taken(b, quota) == 1
    assert await taken(a, quota) == 0


async def test_after_gmails_complaint_nothing_goes_for_ten_minutes_then_one_then_one_more_each_minute(
    clock: Clock,
) -> None:
    a, b = two(clock)
    quota = Quota(name="one", connections=50)
    assert await taken(a, quota, most=1) == 1
    assert await taken(b, quota, most=1) == 1
    await a.throttled(quota, "gmail")
    assert not a.admit(quota, "gmail")
    assert await a.refill(quota, "gmail") == pytest.approx(600)
    await b.beat()
    assert not b.admit(quota, "gmail")
    assert await taken(b, quota, "yahoo", most=9) == 9
    for limits in (a, b):
        limits.release(quota, "gmail")
    clock.now += 599
    assert await b.refill(quota, "gmail") == pytest.approx(1)
    assert await taken(a, quota) == 0
    at_once: list[int] = []
    for minute in range(40):
        clock.now += 60 if minute else 1
        at_once.append(await taken(b, quota, most=40))
        if minute < 31:
            assert await taken(a, quota) == 0
        for _ in range(at_once[-1]):
            b.release(quota, "gmail")
        await b.beat()
    assert at_once == [*range(1, 32), *[40] * 9]


async def test_a_worker_that_starts_during_the_pause_knows_of_it(clock: Clock) -> None:
    a, b = two(clock)
    quota = Quota(name="one", connections=50)
    await a.throttled(quota, "gmail")
    assert not b.admit(quota, "gmail")
    assert await b.refill(quota, "gmail") == pytest.approx(600)


async def test_a_further_complaint_starts_again(limits: Limits, clock: Clock) -> None:
    quota = gmail(connections=8)
    await limits.throttled(quota, "gmail")
    clock.now += 660
    assert await taken(limits, quota) == 2
    await limits.throttled(quota, "gmail")
    assert await limits.refill(quota, "gmail") == pytest.approx(600)
    for _ in range(2):
        limits.release(quota, "gmail")
    clock.now += 601
    assert await taken(limits, quota) == 1


async def test_a_group_with_a_limit_of_its_own_returns_to_that(limits: Limits, clock: Clock) -> None:
    quota = gmail(connections=3)
    await limits.throttled(quota, "gmail")
    clock.now += 600 + 2 * 60
    assert await taken(limits, quota) == 3
    await limits.beat()
    assert limits._lanes["one", "gmail"].complained_at is None


Steps = list[tuple[int, float]]


@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from([0.5, 1.0, 3.0, 10.0, 37.5, 200.0, 1000.0]),
    steps=st.lists(st.tuples(st.integers(0, 2), st.floats(0, 1.5) | st.floats(0, 0.05)), min_size=5, max_size=120),
)
def test_no_second_ever_brings_more_than_the_rate_and_a_small_burst(rate: float, steps: Steps) -> None:
    sent = apart(lambda: storm(rate, steps))
    # A bucket, and what each of three workers may hold of it: a tenth of a second's mails, at least one.
    burst = 4 * max(1.0, rate / 10)
    for window in (1.0, 5.0):
        assert densest(sent, window) <= rate * window + burst


async def storm(rate: float, steps: Steps) -> list[float]:
    """Let three workers send whenever they like, whatever they are told to wait."""
    clock = Clock()
    store = LocalStore(clock)
    three = [Limits(T, str(number), store, UNUSED, clock=clock) for number in range(3)]
    quota, sent = Quota(name="one", connections=1, per_second=rate), list[float]()
    for worker, pause in steps:
        sent += [clock.now] * await taken(three[worker], quota)
        clock.now += pause
    return sent


async def test_whoever_ends_while_an_answer_is_on_its_way_leaves_no_seat_behind() -> None:
    class Late(LocalStore):
        """A store whose answers take a moment."""

        async def seat(self, worker: str, asks: Sequence[Ask]) -> list[Seats]:
            asked.set()
            await answered.wait()
            return await super().seat(worker, asks)

    asked, answered = asyncio.Event(), asyncio.Event()
    store, quota = Late(time.monotonic), Quota(name="one", connections=2)
    ending = Limits(T, "a", store, UNUSED)
    connecting = asyncio.create_task(ending.connect(quota))
    await asked.wait()
    connecting.cancel()
    closing = asyncio.create_task(ending.close())
    for _ in range(10):
        await asyncio.sleep(0)
    answered.set()
    await closing
    for _ in range(10):
        await asyncio.sleep(0)
    [seats] = await store.seat("b", [Ask(f"{T}:one:connections", 0, 2, 2)])
    assert (seats.allowed, seats.workers) == (2, 1)
