"""`mailer serve` on SQLite whose disk is full, and which is told to stop amid its work."""

import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.servers import missing
from tests.stories import faults
from tests.stories.faults import PROMOTIONAL, TRANSACTIONAL, Case, until
from tests.stories.test_faults_processes import ask_until_nobody_answers

_FULL = "the disk of the database is full; nothing was done, ask again once it has room"


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, list[str]]:
    """A folder, and what runs a program that finds a small file system of its own there, with what the folder holds."""
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*alone, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False).returncode:
        missing("a kernel that lets anybody mount a file system (unshare --user --mount)")
    seen, kept = tmp_path / "small", tmp_path / "kept"
    seen.mkdir()
    kept.mkdir()
    mount = 'mount -t tmpfs -o size=32m none "$0" && cp "$1"/* "$0" && shift && exec "$@"'
    return seen, [*alone, "sh", "-c", mount, str(seen), str(kept)]


def test_a_full_disk_loses_nothing_and_is_told_in_one_sentence(tmp_path: Path, small: tuple[Path, list[str]]) -> None:
    folder, inside = small
    with faults.embedded(tmp_path, database_url=f"sqlite:///{folder / 'mailer.db'}") as world:
        for file in folder.iterdir():
            shutil.move(file, tmp_path / "kept" / file.name)
        world.start_web("serve", inside)
        case = Case("disk", world)
        case.started(400)
        case.batch(TRANSACTIONAL, 400)
        until(lambda: case.taken() > 100)
        ballast = Path(f"/proc/{world.running['serve'].pid}/root{folder}/ballast")
        answers: list[int] = []
        with ballast.open("wb", buffering=0) as fill:
            end = time.monotonic() + 20
            # What SQLite's log has room for goes on for a while.
            while answers.count(507) < 20:
                assert time.monotonic() < end, answers
                try:
                    while fill.write(bytes(4096)):
                        pass
                except OSError:
                    pass
                answer = case.single(TRANSACTIONAL if len(answers) % 2 else PROMOTIONAL)
                answers.append(answer.status_code)
                if answer.status_code != 202:
                    assert (answer.status_code, answer.json()["detail"]) == (507, _FULL)
        taken = case.taken()
        time.sleep(1)
        assert case.taken() - taken <= 2 * faults.CONNECTIONS, "without a durable intent nothing is sent"
        ballast.unlink()
        until(lambda: case.single(TRANSACTIONAL).status_code == 202)
        took = case.settle()
        rows = case.reckon(more=f" | full after {taken} taken, 507={answers.count(507)}, settled after {took:.1f} s")
        assert rows == {"sent": rows.total()}
        assert case.taken() == rows.total(), "nothing is sent twice"


def test_sigterm_amid_the_work_of_serve_finishes_what_travels(tmp_path: Path) -> None:
    with faults.embedded(tmp_path) as world:
        world.start_web("serve")
        case = Case("serve", world)
        case.started(600)
        case.batch(TRANSACTIONAL, 400)
        with ThreadPoolExecutor(2) as threads:
            senders = [
                threads.submit(ask_until_nobody_answers, case, stream) for stream in (TRANSACTIONAL, PROMOTIONAL)
            ]
            until(lambda: case.taken() > 200)
            began, number = time.monotonic(), world.running["serve"].pid
            for _ in range(2):
                os.killpg(number, signal.SIGTERM)
                os.kill(number, signal.SIGTERM)
                time.sleep(0.2)
            code, ended, taken = world.stopped("serve"), time.monotonic() - began, case.taken()
            answered = sum(sender.result() for sender in senders)
        assert code == 0
        assert taken < 1000
        world.start_web("serve")
        case.adopt()
        case.settle()
        rows = case.reckon(more=f" | ended after {ended:.1f} s with {taken} taken, answered meanwhile={answered}")
        assert rows == {"sent": rows.total()}
        assert case.taken() == rows.total(), "nothing is sent again after an end in order"
