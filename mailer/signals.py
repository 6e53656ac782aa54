"""SIGTERM and SIGINT: the first ones ask for an end in order, and none cuts that end short."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_NUMBERS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def heard(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on the running loop for each signal; after the block they are ignored until the process is gone.

    Process managers signal a process and its group, so most signals come twice. A loop's own handlers end with the
    loop: the second signal would kill a process that has finished its work and is about to say so.
    """
    loop = asyncio.get_running_loop()

    def hear(_number: int, _frame: object) -> None:
        loop.call_soon_threadsafe(stop)

    for number in _NUMBERS:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number in _NUMBERS:
            signal.signal(number, signal.SIG_IGN)
