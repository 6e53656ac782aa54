"""What Python is told once everything is loaded."""

import gc

from mailer import interpreter


def test_garbage_is_collected_seldom() -> None:
    thresholds = gc.get_threshold()
    try:
        gc.set_threshold(700, 10, 10)
        interpreter.settle()
        assert gc.get_threshold()[0] > 10_000
    finally:
        gc.set_threshold(*thresholds)


def test_nothing_is_collected_while_modules_load() -> None:
    with interpreter.loading():
        assert not gc.isenabled()
    assert gc.isenabled()
