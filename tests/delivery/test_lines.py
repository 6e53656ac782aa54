"""Which relay the next connection goes to: shares by weight, spares last, and nobody who is away or full."""

import ssl
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.delivery.lines import Lines
from mailer.delivery.relay import RelayAway, connect
from mailer.delivery.wire import Wire
from mailer.relays import Relay, parse_relays
from tests import servers


async def nowhere(relay: Relay) -> Wire:
    raise RelayAway(relay, "it cannot be reached")


def lines(text: str, connect: Callable[[Relay], Awaitable[Wire]] = nowhere) -> Lines:
    return Lines(parse_relays(text, "X"), connect)


def filled(lines: Lines, count: int, *away: str) -> dict[str, int]:
    """Return how many of so many connections go where."""
    in_use: Counter[str] = Counter()
    for _ in range(count):
        relay = lines.choose(in_use, {f"smtp://{name}:587" for name in away})
        in_use[relay.host if relay else "nobody"] += 1
        if relay:
            in_use[relay.name] += 1
    return {name: uses for name, uses in in_use.items() if ":" not in name}


def test_equal_relays_are_filled_in_turn() -> None:
    assert filled(lines("smtp://a smtp://b"), 7) == {"a": 4, "b": 3}


def test_weights_are_shares() -> None:
    assert filled(lines("smtp://a?weight=3 smtp://b?weight=1"), 12) == {"a": 9, "b": 3}


def test_a_spare_waits_until_every_other_is_away() -> None:
    two = lines("smtp://a smtp://b smtp://c?weight=0")
    assert filled(two, 6) == {"a": 3, "b": 3}
    assert filled(two, 6, "a") == {"b": 6}
    assert filled(two, 6, "a", "b") == {"c": 6}
    assert filled(two, 1, "a", "b", "c") == {"nobody": 1}


def test_a_spare_does_not_help_out_those_that_are_full() -> None:
    assert filled(lines("smtp://a?connections=2 smtp://b?weight=0"), 3) == {"a": 2, "nobody": 1}


def test_the_others_take_what_a_full_relay_cannot() -> None:
    assert filled(lines("smtp://a?connections=1&weight=9 smtp://b"), 5) == {"a": 1, "b": 4}


def test_under_load_shares_hold_where_connections_stand_in_proportion() -> None:
    assert filled(lines("smtp://a?weight=3 smtp://b"), 32) == {"a": 16, "b": 16}
    held = lines("smtp://a?weight=3&connections=15 smtp://b?connections=5")
    assert filled(held, 21) == {"a": 15, "b": 5, "nobody": 1}


def test_spares_are_filled_in_their_order() -> None:
    spares = lines("smtp://a smtp://b?weight=0&connections=2 smtp://c?weight=0")
    assert filled(spares, 3, "a") == {"b": 2, "c": 1}


def test_a_relay_that_stands_alone_is_no_spare() -> None:
    assert filled(lines("smtp://a?weight=0"), 2) == {"a": 2}


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 200))
def test_nobody_is_ever_a_whole_connection_beyond_his_share(weights: list[int], count: int) -> None:
    text = " ".join(f"smtp://r{place}?connections=500&weight={weight}" for place, weight in enumerate(weights))
    found = filled(lines(text), count)
    for place, weight in enumerate(weights):
        assert found.get(f"r{place}", 0) <= count * weight / sum(weights) + 1


async def test_a_line_is_counted_from_its_opening_to_its_end() -> None:
    async with servers.relay() as relay:

        async def plain(to: Relay) -> Wire:
            return await connect(to, "us.example", ssl.create_default_context())

        address = f"smtp://127.0.0.1:{relay.port}"
        one = lines(f"{address}?starttls=off&connections=1", plain)
        line = await one.open(())
        assert line is not None
        assert (line.relay.name, one.in_use[address]) == (address, 1)
        assert await one.open(()) is None
        await line.wire.quit()
        one.closed(line)
        assert one.in_use[address] == 0


async def test_a_relay_that_is_away_says_who_it_is_and_the_next_one_is_asked() -> None:
    two = lines("smtp://a smtp://b?weight=0")
    with pytest.raises(RelayAway) as caught:
        await two.open(())
    assert caught.value.relay.name == "smtp://a:587"
    with pytest.raises(RelayAway) as caught:
        await two.open({"smtp://a:587"})
    assert caught.value.relay.name == "smtp://b:587"
    assert await two.open({"smtp://a:587", "smtp://b:587"}) is None
    assert not +two.in_use


async def test_a_spare_does_not_help_out_those_that_other_workers_fill() -> None:
    two = lines("smtp://a smtp://b?weight=0")
    assert await two.open((), {"smtp://a:587"}) is None
    with pytest.raises(RelayAway, match="smtp://b:587"):
        await two.open({"smtp://a:587"})
