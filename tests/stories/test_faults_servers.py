"""PostgreSQL and Redis that die, go away and come back amid a campaign: everything goes on by itself."""

import time
from collections.abc import Iterator

import pytest
import redis

from mailer import migrate
from tests import conftest, servers
from tests.servers import Postgres, Redis
from tests.stories import faults
from tests.stories.faults import AWAY, PROMOTIONAL, TRANSACTIONAL, Case, World, until


@pytest.fixture(scope="module")
def durable() -> Iterator[Postgres]:
    """A PostgreSQL that may be killed: with fsync, as in production."""
    with servers.postgres(migrate.upgrade_postgresql, conftest.tables(), durable=True) as server:
        yield server


@pytest.fixture(scope="module")
def bells() -> Iterator[Redis]:
    """A Redis that no other test uses."""
    with servers.redis() as server:
        yield server


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, durable: Postgres, bells: Redis) -> Iterator[World]:
    """A service with two workers of campaigns, one of transactional mail, and a clock."""
    with faults.scaled(tmp_path_factory.mktemp("world"), durable, bells) as running:
        running.start("clock", "clock")
        for name in ("promotional", "second promotional", "transactional"):
            running.start(name, "worker", name.removeprefix("second "))
        running.until_running("clock", "promotional", "second promotional", "transactional")
        yield running


def test_kill_9_of_postgresql_amid_a_campaign_and_a_start_at_once(world: World, durable: Postgres) -> None:
    case = Case("pgkill", world)
    case.started(800)
    case.batch(TRANSACTIONAL, 300)
    until(lambda: case.taken() > 150)
    durable.kill()
    killed_at = case.taken()
    durable.start()
    back = world.until_ready()
    # Sooner than leases lapse: workers that live end their own.
    took = case.settle(25)
    rows = case.reckon(more=f" | killed after {killed_at} taken, ready after {back:.1f} s, settled after {took:.1f} s")
    assert rows["sent"] + rows["uncertain"] == 1100


def test_postgresql_away_is_told_in_one_sentence_and_everything_goes_on(world: World, durable: Postgres) -> None:
    case = Case("pgaway", world)
    case.started(800)
    case.batch(TRANSACTIONAL, 300)
    until(lambda: case.taken() > 150)
    durable.kill()
    began, answers, slowest = time.monotonic(), 0, 0.0
    while time.monotonic() - began < AWAY:
        asked = time.monotonic()
        answer = case.single(TRANSACTIONAL)
        slowest = max(slowest, time.monotonic() - asked)
        assert answer.status_code == 503, answer.text
        assert answer.headers["retry-after"]
        assert answer.json()["detail"] == "the database cannot be reached; nothing was done, ask again in a moment"
        assert world.ready() == 503
        answers += 1
        time.sleep(0.2)
    at_rest = case.taken()
    durable.start()
    back = world.until_ready()
    assert case.single(TRANSACTIONAL).status_code == 202
    on_again = until(lambda: case.taken() > at_rest + 20)
    took = case.settle()
    rows = case.reckon(
        more=f" | away {AWAY:g} s, {answers} times 503, the slowest after {slowest:.2f} s, ready after {back:.1f} s, "
        f"mail after {on_again:.1f} s, settled after {took:.1f} s"
    )
    assert rows["sent"] + rows["uncertain"] == 1101


def test_every_connection_of_postgresql_ended_under_load(world: World, durable: Postgres) -> None:
    case = Case("pgcut", world)
    case.started(800)
    case.batch(TRANSACTIONAL, 300)
    answered: list[int] = []
    for _ in range(4):
        before = case.taken()
        until(lambda before=before: case.taken() > before + 60)  # type: ignore[misc]
        durable.command(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        answered += [case.single(stream).status_code for stream in (TRANSACTIONAL, PROMOTIONAL) * 5]
    assert set(answered) <= {202, 503}
    adopted = case.adopt()
    took = case.settle()
    case.reckon(more=f" | 503={answered.count(503)} of them committed={adopted}, settled after {took:.1f} s")


def test_redis_away_lets_transactional_mail_go_on_and_promotional_mail_wait(world: World, bells: Redis) -> None:
    warm = Case("rwarm", world)
    warm.batch(PROMOTIONAL, 10)
    warm.settle()
    links = {took.recipient: took.link.removeprefix("https://mail.example.org") for took in warm.took()}
    case = Case("raway", world)
    case.started(1000, *links)
    until(lambda: case.taken() > 100)
    for link in list(links.values())[:5]:
        assert world.client.post(link).status_code == 200
    bells.stop()
    began = time.monotonic()
    for link in list(links.values())[5:]:
        assert world.client.post(link).status_code == 200
    left_at = time.monotonic()
    # What travels is finished, and workers notice within a question's patience.
    time.sleep(2)
    waiting_from, longest = promotional(case), 0.0
    while time.monotonic() - began < AWAY:
        before = case.taken()
        assert case.single(TRANSACTIONAL).status_code == 202
        longest = max(longest, until(lambda before=before: case.taken() > before, 10))  # type: ignore[misc]
        time.sleep(0.2)
    assert promotional(case) == waiting_from, "promotional mail waits"
    assert world.client.get("/readyz").json()["broker"].startswith("away")
    bells.start()
    on_again = until(lambda: promotional(case) > waiting_from)
    took = case.settle()
    late = [each.recipient for each in case.took() if each.recipient in links and each.began > left_at]
    case.reckon(
        more=f" | away {AWAY:g} s, transactional mail meanwhile={len(case.accepted[TRANSACTIONAL])}, the slowest after "
        f"{longest:.2f} s, promotional at rest={waiting_from}, on again after {on_again:.1f} s, settled after "
        f"{took:.1f} s, mailed after their opt-out={len(late)}"
    )
    assert late == []


def promotional(case: Case) -> int:
    """Return how many mails of the campaign the relay took."""
    return sum("-p" in took.recipient for took in case.took())


def test_flushall_amid_a_campaign(world: World, bells: Redis) -> None:
    case = Case("flush", world)
    case.started(500)
    with redis.Redis.from_url(bells.url) as client:
        for _ in range(4):
            case.batch(TRANSACTIONAL, 50)
            client.flushall()
            before = case.taken()
            until(lambda before=before: case.taken() > before + 80)  # type: ignore[misc]
    took = case.settle()
    rows = case.reckon(more=f" | settled after {took:.1f} s")
    assert rows == {"sent": 700}
