"""`mailer bench` sends on the real way; how fast depends on the machine, what it counts does not."""

import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mailer.bench import Plan, interrupts
from mailer.bench.letters import Size, drafts, template
from tests import servers
from tests.commands import Process
from tests.servers import Postgres, Redis
from tests.test_cli import Shell

FIGURES = {"emails_per_second", "cpu_seconds_per_1000", "peak_memory_mb", "smtp_source_per_second", "ratio"}
PLACES = "/usr/sbin:/usr/local/sbin:/usr/bin:/bin"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    if shutil.which("smtp-sink", path=PLACES) is None:
        servers.missing("smtp-sink (Debian's package postfix)")
    return Shell(tmp_path)


def sums(found: dict[str, object]) -> dict[str, object]:
    return {name: found[name] for name in ("sent", "suppressed", "failed", "uncertain")}


def test_embedded_it_sends_to_every_reader_who_has_not_left(shell: Shell) -> None:
    found = shell.json("bench", "--emails", "300", "--suppressed", "500")
    assert found.keys() >= FIGURES
    assert all(isinstance(found[name], float) and found[name] > 0 for name in FIGURES)  # type: ignore[operator]
    assert sums(found) == {"sent": 240, "suppressed": 60, "failed": 0, "uncertain": 0}
    assert found["database_cpu_seconds_per_1000"] is None
    # Its data was its own: a folder that is gone.
    assert not (shell.folder / "data").exists()


def test_on_given_servers_it_wants_them_empty(shell: Shell, postgres: Postgres, redis: Redis) -> None:
    # The tests' Redis may hold bells of other tests.
    given = ("--database", postgres.create(), "--redis", redis.url.removesuffix("/0") + "/9")
    found = shell.json("bench", "--emails", "200", "--size", "30k", "--workers", "2", *given)
    assert sums(found) == {"sent": 200, "suppressed": 0, "failed": 0, "uncertain": 0}
    assert "tables of mailer" in shell.run("bench", "--emails", "200", *given, code=1).stderr


def children(parent: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def has_children(number: int, bench: Process) -> bool:
    return len(children(bench.pid)) == number


PAUSED = " info mailer.halts: the promotional stream is paused"
#: While the sink starts, while smtp-source fills it, and while mail is accepted: then smtp-source is gone.
STAGES = {"the sink": (1,), "smtp-source": (1, 2), "accepting": (1, 2, 1)}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_what_it_started_ends_with_it(shell: Shell, stage: str, which: int) -> None:
    bench = shell.start("bench", "--emails", "100000")
    for number in STAGES[stage]:
        bench.until(partial(has_children, number))
    started = children(bench.pid)
    bench.send_signal(which)
    assert bench.wait(20) == 130
    # Nothing but what a command says that was a step further than the test saw.
    assert all(line.endswith(PAUSED) for line in bench.complained.splitlines()), bench.complained
    # The system may take a moment to clear the dead away.
    until = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in started):
        assert time.monotonic() < until
        time.sleep(0.05)


def fail() -> None:
    raise OSError("the database went away for the same signal")


def interrupted(failing: Callable[[], None]) -> None:
    with interrupts.noted():
        interrupts.check()
        signal.raise_signal(signal.SIGTERM)
        failing()


@pytest.mark.parametrize("failing", [interrupts.check, fail])
def test_a_signal_ends_what_is_checked_and_is_forgotten_afterwards(failing: Callable[[], None]) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(failing)
    interrupts.check()
    with pytest.raises(OSError, match="went away"), interrupts.noted():
        fail()


def test_a_signal_behind_the_last_check_is_heard_at_the_end() -> None:
    # Whatever runs the tests in the background may have SIGINT ignored, and so it stays.
    with pytest.raises(KeyboardInterrupt), interrupts.noted():
        signal.raise_signal(signal.SIGTERM)


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts.noted():
            signal.raise_signal(signal.SIGHUP)
            interrupts.check()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--workers", "2"], "--workers"),
        (["--database", "postgresql://nobody@127.0.0.1:1/none"], "--redis"),
        (["--throwaway", "--database", "postgresql://nobody@127.0.0.1:1/none", "--redis", "redis://x"], "--throwaway"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(shell: Shell, words: list[str], sentence: str) -> None:
    said = shell.run("bench", *words, code=2).stderr
    assert sentence in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("size", Size)
def test_html_text_and_headers_have_about_the_size_that_was_asked_for(size: Size) -> None:
    html = template(size).parts["en"].html or ""
    # Headers and signed links take 2,800 octets; the text part and the encoding add two fifths of the HTML.
    assert abs(2800 + 1.4 * len(html) - size.bytes) < max(size.bytes * 0.1, 900)


def test_no_two_readers_are_alike() -> None:
    made = list(drafts(0, 500))
    assert len({draft.to[0].email for draft in made}) == 500
    assert len({draft.variables["code"] for draft in made}) == 500


def test_the_list_bounds_how_many_readers_leave() -> None:
    assert len(Plan(emails=1000, suppressed=5000).leavers) == 200
    assert len(Plan(emails=1000, suppressed=50).leavers) == 50
    assert len(Plan(emails=1000, suppressed=5000, leaving=0).leavers) == 0
