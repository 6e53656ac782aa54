"""Whoever asks together waits together, and nobody passes by a wait that began before they asked."""

import asyncio

import pytest

from mailer.barrier import Barrier


class Gate:
    """A wait that ends when a test says so."""

    def __init__(self) -> None:
        self.begun = 0
        self.ends: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        self.begun += 1
        self.ends.append(asyncio.get_running_loop().create_future())
        await self.ends[-1]


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_comes_while_one_is_under_way_waits_for_the_next() -> None:
    gate = Gate()
    barrier = Barrier(gate.wait)
    first = asyncio.create_task(barrier.passed())
    await turns()
    late = [asyncio.create_task(barrier.passed()) for _ in range(1000)]
    await turns()
    assert gate.begun == 1
    gate.ends[0].set_result(None)
    await first
    await turns()
    assert gate.begun == 2
    assert not any(task.done() for task in late), "the first wait began before they asked"
    gate.ends[1].set_result(None)
    await asyncio.gather(*late)
    assert gate.begun == 2


async def test_a_failure_is_everybodys_and_the_next_wait_is_fresh() -> None:
    gate = Gate()
    barrier = Barrier(gate.wait)
    together = [asyncio.create_task(barrier.passed()) for _ in range(3)]
    await turns()
    late = asyncio.create_task(barrier.passed())
    gate.ends[0].set_exception(ConnectionError())
    assert {type(one) for one in await asyncio.gather(*together, return_exceptions=True)} == {ConnectionError}
    await turns()
    gate.ends[1].set_result(None)
    await late


async def test_who_gives_up_leaves_the_others_waiting() -> None:
    gate = Gate()
    barrier = Barrier(gate.wait)
    impatient, patient = asyncio.create_task(barrier.passed()), asyncio.create_task(barrier.passed())
    await turns()
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    assert not patient.done()
    gate.ends[0].set_result(None)
    await patient
