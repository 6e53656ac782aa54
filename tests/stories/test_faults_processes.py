"""Processes that die, double or stand still on PostgreSQL and Redis: nothing lost, nothing promotional twice."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from tests.servers import Postgres, Redis
from tests.stories import faults
from tests.stories.faults import PROMOTIONAL, TRANSACTIONAL, Case, World, until


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, redis: Redis) -> Iterator[World]:
    """A service with a worker for each stream and two clocks."""
    with faults.scaled(tmp_path_factory.mktemp("world"), postgres, redis) as running:
        running.start("first clock", "clock")
        running.start("second clock", "clock")
        running.start("promotional", "worker", "promotional")
        running.start("transactional", "worker", "transactional")
        running.until_running("first clock", "second clock", "promotional", "transactional")
        yield running


def ask_until_nobody_answers(case: Case, stream: str) -> int:
    """Ask for one mail after the other; return how many were accepted before the web process went away."""
    answered = 0
    try:
        while True:
            answered += case.single(stream).status_code == 202
    except httpx2.TransportError:
        return answered


def test_kill_9_of_web_amid_answers_loses_nothing_that_it_accepted(world: World) -> None:
    case = Case("web", world)
    with ThreadPoolExecutor(4) as threads:
        senders = [
            threads.submit(ask_until_nobody_answers, case, stream) for stream in (TRANSACTIONAL, PROMOTIONAL) * 2
        ]
        until(lambda: sum(map(len, case.accepted.values())) > 200, every=0.001)
        world.kill("web")
        answered = sum(sender.result() for sender in senders)
    world.start_web()
    # What was committed and not answered before the end is sent too, as any caller has to expect.
    unanswered = case.adopt()
    assert 0 <= unanswered <= 4
    case.settle()
    rows = case.reckon(more=f" | answered={answered} committed and not answered={unanswered}")
    assert rows == {"sent": answered + unanswered}


def test_kill_9_of_a_clock_leaves_its_work_to_the_other_one(world: World, postgres: Postgres) -> None:
    case, url = Case("clock", world), world.database_url
    identifier = case.campaign(100)
    soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    assert world.client.post(f"/v1/campaigns/{identifier}/schedule", json={"scheduled_at": soon}).status_code == 200
    later = {**case.mail(TRANSACTIONAL, case.people(TRANSACTIONAL, 1)[0]), "scheduled_at": soon}
    assert world.client.post("/v1/emails", json=later).json()["status"] == "scheduled"
    case.accepted[TRANSACTIONAL].append(str(later["to"]))
    until(lambda: postgres.ask("SELECT 1 FROM role WHERE name = 'clock'", url))
    holder = str(postgres.ask("SELECT holder FROM role WHERE name = 'clock'", url)[0]["holder"])
    names = ("first clock", "second clock")
    dead = next(name for name in names if holder.endswith(f":{world.running[name].pid}"))
    world.kill(dead)
    # A worker dies too, and only a clock that has the role brings its mail back.
    case.batch(PROMOTIONAL, 400)
    until(lambda: case.taken() > 50)
    world.kill("promotional")
    world.lapse()
    world.start("promotional", "worker", "promotional")
    took = case.settle()
    rows = case.reckon(more=f" | {took:.1f} s")
    assert rows["sent"] + rows["uncertain"] == 501
    now = str(postgres.ask("SELECT holder FROM role WHERE name = 'clock'", url)[0]["holder"])
    assert now != holder
    # The facts that the dead one left are added to the sums as well.
    until(lambda: not postgres.ask("SELECT 1 FROM tally LIMIT 1", url))
    case.reckon()
    world.start(dead, "clock")
    world.until_running(dead)


def test_sigterm_under_load_finishes_what_travels_and_hands_back_the_rest(world: World) -> None:
    case = Case("term", world)
    case.started(1200)
    case.batch(TRANSACTIONAL, 600)
    names = list(world.running)
    with ThreadPoolExecutor(2) as threads:
        senders = [threads.submit(ask_until_nobody_answers, case, stream) for stream in (TRANSACTIONAL, PROMOTIONAL)]
        until(lambda: case.taken() > 200)
        began = time.monotonic()
        # As process managers do: to the group and to the process, and once more for luck.
        for _ in range(2):
            for name in names:
                # Where a machine is fast, one has ended before the second time.
                if world.running[name].poll() is None:
                    os.killpg(world.running[name].pid, signal.SIGTERM)
                    world.running[name].terminate()
            time.sleep(0.3)
        ends = {name: (world.stopped(name), round(time.monotonic() - began, 1)) for name in names}
        answered = sum(sender.result() for sender in senders)
    taken = case.taken()
    print(f"term: {ends} answered={answered} taken={taken}")
    assert {code for code, _seconds in ends.values()} == {0}
    assert taken < 1800
    for name in names:
        if name != "web":
            world.start(name, *(("clock",) if name.endswith("clock") else ("worker", name)))
    world.start_web()
    world.until_running(*(name for name in names if name != "web"))
    case.adopt()
    case.settle()
    rows = case.reckon(more=f" | taken before the end={taken}")
    assert rows == {"sent": rows.total()}
    assert case.taken() == rows.total(), "nothing is sent again after an end in order"


def test_a_worker_that_stood_still_is_fenced(world: World, postgres: Postgres) -> None:
    case = Case("still", world)
    case.started(1000)
    case.batch(TRANSACTIONAL, 500)
    until(lambda: case.taken() > 200)
    names = ("promotional", "transactional")
    for name in names:
        world.running[name].send_signal(signal.SIGSTOP)
    world.lapse()
    for name in names:
        world.start(f"second {name}", "worker", name)
    # The clock voids the leases, and the others take over what was claimed.
    until(lambda: not postgres.ask("SELECT 1 FROM lease WHERE beat_at < now() - interval '30 s'", world.database_url))
    before = case.taken()
    until(lambda: case.taken() > before + 100)
    for name in names:
        world.running[name].send_signal(signal.SIGCONT)
    case.settle()
    rows = case.reckon(more=f" | sent again={case.taken() - 1500}")
    # Whoever stood still works again.
    for name in names:
        world.kill(f"second {name}")
    world.lapse()
    case.batch(TRANSACTIONAL, 20)
    case.batch(PROMOTIONAL, 20)
    case.settle()
    assert case.reckon()["sent"] == rows["sent"] + 40


def test_nobody_gets_mail_that_began_after_their_opt_out_was_answered(world: World) -> None:
    world.start("second promotional", "worker", "promotional")
    warm = Case("warm", world)
    warm.batch(PROMOTIONAL, 200)
    warm.settle()
    links = {took.recipient: took.link for took in warm.took()}
    people = sorted(links)
    assert len(people) == 200
    case, answered = Case("leaving", world), dict[str, float]()

    def leave(person: str) -> None:
        assert client.post(links[person].removeprefix("https://mail.example.org")).status_code == 200
        answered[person] = time.monotonic()

    case.started(6000, *people)
    until(lambda: case.taken() > 50)
    with (
        httpx2.Client(base_url=world.url, timeout=30, trust_env=False) as client,
        ThreadPoolExecutor(4) as threads,
    ):
        list(threads.map(leave, reversed(people)))
    going_on = case.waiting()
    case.settle()
    mailed = {took.recipient: took.began for took in case.took() if took.recipient in links}
    late = [person for person, began in mailed.items() if began > answered[person]]
    rows = case.reckon(more=f" | left={len(answered)} of these mailed before={len(mailed)} after={len(late)}")
    assert late == []
    assert going_on > 0, "the campaign ran all the while"
    assert rows["suppressed"] + len(mailed) >= 200
    world.kill("second promotional")
