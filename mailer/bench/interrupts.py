"""Signals that end a run: they are noted at once, and heard where nothing is half done.

What a signal's handler raises comes anywhere: amid a start it leaves a process behind that nobody knows, amid
`Popen.poll` a lock that nobody gives back, so that the process can never be waited for, and amid a destructor Python
swallows it.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

#: A terminal that is closed ends what runs in it, too.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_came: list[int] = []


class Interrupted(Exception):
    """A signal came that ends the run; no `KeyboardInterrupt`, which breaks a running event loop."""


@contextmanager
def noted() -> Iterator[None]:
    """Note signals within the block, which then ends in `KeyboardInterrupt`, whatever it says itself.

    What is ignored stays so (`nohup`).
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    heard = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in heard:
        signal.signal(number, lambda which, _frame: _came.append(which))
    try:
        yield
        check()
    except Exception:
        if _came:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number in heard:
            signal.signal(number, before[number])
        _came.clear()


def check() -> None:
    """Raise `Interrupted` where a signal came: whatever waits long calls this now and then."""
    if _came:
        raise Interrupted
