"""What Python is told once everything is loaded."""

import gc
import sys

from mailer import interpreter


def test_threads_take_turns_soon_and_garbage_is_collected_seldom() -> None:
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    try:
        sys.setswitchinterval(0.005)
        gc.set_threshold(700, 10, 10)
        interpreter.settle()
        assert sys.getswitchinterval() < 0.001
        assert gc.get_threshold()[0] > 10_000
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)


def test_nothing_is_collected_while_modules_load() -> None:
    with interpreter.loading():
        assert not gc.isenabled()
    assert gc.isenabled()
