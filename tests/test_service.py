"""The parts of a process end when they are told to."""

import asyncio

from mailer.service import end_loops


async def test_a_loop_ends_though_a_library_swallowed_its_cancellation() -> None:
    answers = [asyncio.get_running_loop().create_future() for _ in range(2)]

    async def look() -> None:
        while True:
            # As redis-py waits for its socket.
            await asyncio.wait_for(answers[0], 60)
            answers.reverse()

    loop = asyncio.create_task(look())
    await asyncio.sleep(0)
    answers[0].set_result(None)
    # The answer is there, and nobody has looked at it yet.
    async with asyncio.timeout(5):
        await end_loops([loop])
    assert loop.done()
