"""What Python is told once everything is loaded."""

import gc
import sys

import pytest

from mailer import interpreter


@pytest.mark.parametrize("sending", [False, True])
def test_garbage_is_collected_seldom_and_threads_that_sign_have_their_turns_soon(sending: bool) -> None:
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    try:
        sys.setswitchinterval(0.005)
        gc.set_threshold(700, 10, 10)
        interpreter.settle(sending=sending)
        assert (sys.getswitchinterval() < 0.001) == sending
        assert gc.get_threshold()[0] > 10_000
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)


def test_nothing_is_collected_while_modules_load() -> None:
    with interpreter.loading():
        assert not gc.isenabled()
    assert gc.isenabled()
