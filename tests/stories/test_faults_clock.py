"""Machines whose clock is set back by an hour: mail neither waits for it, nor goes twice, nor is dated wrongly."""

import time
from pathlib import Path

from tests.servers import Postgres, Redis
from tests.stories import faults
from tests.stories.faults import PROMOTIONAL, TRANSACTIONAL, Case, until

#: Python runs it before everything else; from the moment on at which a file is there, the clock on the wall is an hour
#: late, as if somebody had set it back.
_SET_BACK = """
import datetime, os, pathlib, time

real, real_time, sign = datetime.datetime, time.time, pathlib.Path(os.environ["SET_BACK"])

def late():
    return 3600 if sign.exists() else 0

class Kind(type):
    def __instancecheck__(cls, value):
        return isinstance(value, real)

class Late(real, metaclass=Kind):
    @classmethod
    def now(cls, tz=None):
        return real.now(tz) - datetime.timedelta(seconds=late())

datetime.datetime = Late
time.time = lambda: real_time() - late()
"""


def test_workers_whose_clock_is_set_back_by_an_hour(tmp_path: Path, postgres: Postgres, redis: Redis) -> None:
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / "sitecustomize.py").write_text(_SET_BACK)
    sign, root = tmp_path / "set-back", Path(__file__).parent.parent.parent
    late = {"PYTHONPATH": f"{tmp_path / 'early'}:{root}", "SET_BACK": str(sign)}
    with faults.scaled(tmp_path, postgres, redis) as world:
        world.start("clock", "clock")
        for stream in (PROMOTIONAL, TRANSACTIONAL):
            world.start(stream, "worker", stream, before=(), **late)
        world.until_running("clock", PROMOTIONAL, TRANSACTIONAL)
        case = Case("late", world)
        case.started(1500)
        case.batch(TRANSACTIONAL, 600)
        until(lambda: case.taken() > 200)
        sign.touch()
        set_back = time.monotonic()
        longest = 0.0
        # Longer than heartbeats and the clock's ticks need to meet.
        while time.monotonic() - set_back < 8:
            to = case.single(TRANSACTIONAL), case.accepted[TRANSACTIONAL][-1]
            arrived = until(lambda to=to: any(took.recipient == to[1] for took in case.took()), 30)  # type: ignore[misc]
            longest = max(longest, arrived)
            time.sleep(0.3)
        took = case.settle()
        wrong = max(abs(took.dated - time.time()) for took in case.took())
        rows = case.reckon(
            more=f" | a mail accepted afterwards was taken within {longest:.1f} s, Date at most {wrong:.0f} s old, "
            f"settled after {took:.1f} s"
        )
        assert rows == {"sent": rows.total()}, "no lease was voided that was beaten"
        assert case.taken() == rows.total(), "nothing is sent twice"
        assert wrong < 300
