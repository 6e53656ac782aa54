"""How Python works for us: when it collects garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: New objects that hold others, less those that are gone, before the young are looked at. Python's 700 are reached
#: every few mails, and mail leaves next to no circles behind: looking costs 6 % of a worker and finds nothing.
_YOUNG = 50_000


def settle() -> None:
    """Be ready for work that goes on: call it once everything is loaded.

    What was made so far is set apart: a full collection would walk all of it, 100 ms at a time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 10, 10)


@contextmanager
def loading() -> Iterator[None]:
    """Look for no garbage while modules load, and set them apart: the end of a short command would walk all of them."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
