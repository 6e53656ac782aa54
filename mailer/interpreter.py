"""How Python works for us: when it collects garbage, and how soon a thread that waits for it has its turn."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: New objects that hold others, less those that are gone, before the young are looked at. Python's 700 are reached
#: every few mails, and mail leaves next to no circles behind: looking costs 6 % of a worker and finds nothing.
_YOUNG = 50_000
#: After so many seconds a thread of a process that sends lets another one have the interpreter. Signatures are worked
#: out beside it, and each waits for it afterwards: where one takes 0.9 ms, a worker with RSA sends a fifth less with
#: Python's 5 ms. A process that only answers requests has them read a tenth faster with these.
_TURN = 0.0005


def settle(*, sending: bool) -> None:
    """Be ready for work that goes on: call it once everything is loaded.

    What was made so far is set apart: a full collection would walk all of it, 100 ms at a time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 10, 10)
    if sending:
        sys.setswitchinterval(_TURN)


@contextmanager
def loading() -> Iterator[None]:
    """Look for no garbage while modules load, and set them apart: the end of a short command would walk all of them."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
