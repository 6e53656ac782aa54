"""What probes ask, who may read the inbox, and what a stranger at the door gets."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from sqlmodel import Session
from starlette.applications import Starlette

from mailer import halts, tenancy
from mailer.database import Verb
from mailer.halts import Rest
from mailer.models import Scope
from mailer.service import Service
from mailer.settings import Settings
from mailer.web.app import create_app
from mailer.web.serve import Server
from suppression.rules import Stream

BOTH = frozenset(Stream)


async def running(folder: Path, streams: frozenset[Stream] = BOTH, **settings: str) -> Service:
    service = Service.build(Settings(data_dir=str(folder), **settings))
    await service.prepare()
    await service.start(streams=streams, ticking=True)
    return service


def client(service: Service, *, host: str = "127.0.0.1:8000", peer: str = "127.0.0.1") -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(create_app(service), client=(peer, 1234))
    return httpx2.AsyncClient(transport=transport, base_url=f"http://{host}")


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    service = await running(tmp_path)
    yield service
    await service.stop()


async def test_probes_say_that_mail_is_captured_and_how_long_it_waits(service: Service) -> None:
    async with client(service) as http:
        assert (await http.get("/healthz")).text == "ok\n"
        ready = await http.get("/readyz")
        assert ready.status_code == 200
        assert ready.json() == {
            "ready": True,
            "database": "ok",
            "broker": "ok",
            "relays": {"transactional": "captured, not sent", "promotional": "captured, not sent"},
            "streams": {"transactional": "goes", "promotional": "goes"},
            "webhooks": "ok",
            "queue_age_seconds": {"transactional": 0.0, "promotional": 0.0},
        }
        assert "mailer_hits_dropped_total 0.0" in (await http.get("/metrics")).text


async def test_a_stream_that_an_operator_paused_is_ready_and_says_so(service: Service) -> None:
    since = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
    await service.database.run(lambda session: halts.pause(session, Stream.PROMOTIONAL, "wrong prices", since))
    async with client(service) as http:
        ready = await http.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    assert ready.json()["streams"] == {
        "transactional": "goes",
        "promotional": "an operator paused it at 2026-03-01 09:30:00 UTC: wrong prices",
    }


async def test_a_stream_whose_every_relay_rests_is_not_ready(service: Service) -> None:
    def fail(relay: str, now: datetime) -> Verb[Rest]:
        return lambda session: halts.failed(session, Stream.PROMOTIONAL, relay, "it answered 421", now)

    now = datetime.now(UTC)
    async with client(service) as http:
        await service.database.run(fail("smtp://old.example:25", now))
        assert (await http.get("/readyz")).status_code == 200
        await service.database.run(fail("inbox", now))
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        said = ready.json()["streams"]
        assert said["transactional"] == "goes"
        assert said["promotional"].startswith("nothing goes, because every relay rests; inbox rests since ")
        assert "(it answered 421), tried again " in said["promotional"]
        await service.database.run(lambda session: halts.recovered(session, Stream.PROMOTIONAL, "inbox", now))
        assert (await http.get("/readyz")).status_code == 200


async def test_where_workers_run_apart_the_relays_stand_as_their_workers_found_them(tmp_path: Path) -> None:
    relays = {f"{stream}_relay": f"smtp://{stream}.example:25?starttls=off" for stream in Stream}
    service = await running(tmp_path, frozenset(), public_url="https://m.example.org", **relays)
    now = datetime.now(UTC)
    name = service.settings.relays(Stream.PROMOTIONAL)[0].name
    try:
        async with client(service) as http:
            assert (await http.get("/readyz")).json()["relays"] == {"transactional": "goes", "promotional": "goes"}
            await service.database.run(
                lambda session: halts.failed(session, Stream.PROMOTIONAL, name, "it answered 421", now)
            )
            ready = await http.get("/readyz")
            assert ready.status_code == 503
            told = ready.json()
            assert told["relays"]["transactional"] == "goes"
            assert told["relays"]["promotional"].startswith(f"nothing goes, because every relay rests; {name} rests")
            assert "(it answered 421)" in told["relays"]["promotional"]
    finally:
        await service.stop()


async def test_where_workers_run_apart_mail_that_is_captured_is_said_to_be(tmp_path: Path) -> None:
    service = await running(tmp_path, frozenset())
    try:
        async with client(service) as http:
            told = (await http.get("/readyz")).json()["relays"]
        assert told == dict.fromkeys(["transactional", "promotional"], "captured, not sent")
    finally:
        await service.stop()


@pytest.mark.parametrize(
    ("host", "peer", "status"),
    [
        ("127.0.0.1:8000", "127.0.0.1", 200),
        ("localhost:8000", "127.0.0.1", 200),
        # A name elsewhere that resolves to this machine must not read mail in a visitor's browser.
        ("evil.example:8000", "127.0.0.1", 401),
        ("127.0.0.1:8000", "203.0.113.7", 401),
    ],
)
async def test_the_inbox_is_for_this_machine(service: Service, host: str, peer: str, status: int) -> None:
    async with client(service, host=host, peer=peer) as http:
        assert (await http.get("/inbox")).status_code == status


async def test_with_a_public_address_the_inbox_needs_an_admin_key(tmp_path: Path) -> None:
    service = await running(tmp_path, public_url="https://mail.example.org")
    try:
        keys = {
            scope: await service.database.run(
                lambda session, scope=scope: (
                    tenancy.create_key(  # type: ignore[misc]
                        session, 1, scope.value, scopes=[scope], captures=False, now=service.now()
                    ).plain
                )
            )
            for scope in (Scope.ADMIN, Scope.READ)
        }

        def customers(session: Session) -> str:
            made = tenancy.create_tenant(session, "acme", sender="Acme <hi@acme.example>", now=service.now())
            own = tenancy.create_key(
                session, made.id or 0, "own", scopes=[Scope.ADMIN], captures=False, now=service.now()
            )
            return own.plain

        theirs = await service.database.run(customers)
        async with client(service) as http:
            assert (await http.get("/inbox")).status_code == 401
            # A customer is admin of their own mail; the inbox holds everybody's.
            assert (await http.get("/inbox", auth=("any", theirs))).status_code == 401
            assert (await http.get("/inbox", auth=("any", keys[Scope.READ]))).status_code == 401
            assert (await http.get("/inbox", auth=("any", "wrong"))).status_code == 401
            assert (await http.get("/inbox", auth=("any", keys[Scope.ADMIN]))).status_code == 200
    finally:
        await service.stop()


async def test_without_an_inbox_relay_there_is_no_inbox(tmp_path: Path) -> None:
    relay = "smtp://127.0.0.1:1?starttls=off"
    service = await running(
        tmp_path, transactional_relay=relay, promotional_relay=relay, public_url="https://m.example.org"
    )
    try:
        async with client(service) as http:
            assert (await http.get("/inbox", auth=("any", "wrong"))).status_code in {401, 404}
            relays = (await http.get("/readyz")).json()["relays"]
            assert relays == dict.fromkeys(["transactional", "promotional"], "not tried yet by this process")
    finally:
        await service.stop()


async def test_a_path_that_is_nobodys_is_a_404(service: Service) -> None:
    async with client(service) as http:
        assert (await http.get("/nowhere")).status_code == 404
        assert (await http.get("/", follow_redirects=False)).headers["location"] == "/inbox"


def test_a_second_signal_waits_for_no_open_request() -> None:
    server = Server(Starlette())
    server.stop()
    assert (server.should_exit, server.force_exit) == (True, False)
    server.stop()
    assert (server.should_exit, server.force_exit) == (True, True)
