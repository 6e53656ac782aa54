"""Signing in at a relay that checks who comes: four mechanisms, passwords and tokens, right and wrong."""

import asyncio
import shlex
import ssl
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mailer.delivery import relay as relays
from mailer.delivery.relay import RelayAway, connect, tls_context
from mailer.delivery.tokens import NoToken, Tokens
from mailer.relays import Relay as Address
from tests import servers
from tests.servers import Certificate, Relay, Stage

PYTHON = shlex.quote(sys.executable)


@pytest.fixture
async def strict() -> AsyncIterator[Relay]:
    """A relay that lets in Ann alone, and knows every way of signing in."""
    async with servers.relay(("PIPELINING", "AUTH PLAIN LOGIN CRAM-MD5 XOAUTH2")) as relay:
        relay.passwords["ann"] = "sésame & co"
        yield relay


@pytest.fixture(autouse=True)
def tokens(monkeypatch: pytest.MonkeyPatch) -> Tokens:
    """A keeper of tokens that holds none, with a clock of its own."""
    kept = Tokens(timeout=5)
    monkeypatch.setattr(relays, "_tokens", kept)
    return kept


def address(relay: Relay, **options: Any) -> Address:
    usual = {"scheme": "smtp", "host": "127.0.0.1", "port": relay.port, "starttls": "off"}
    return Address(**{**usual, "username": "ann", "password": "sésame & co", **options})


async def way_in(at: Address, relay: Relay) -> str:
    """Return how a connection signed in."""
    before = len(relay.commands)
    wire = await connect(at, "us.example", tls_context(at))
    await wire.quit()
    return " ".join(command.split()[1] for command in relay.commands[before:] if command.startswith("AUTH"))


async def reason(at: Address, context: ssl.SSLContext | None = None) -> str:
    with pytest.raises(RelayAway) as caught:
        await connect(at, "us.example", context or tls_context(at))
    return str(caught.value).removeprefix(f"{at.name}: ")


# --- passwords


@pytest.mark.parametrize("way", ["plain", "login", "cram-md5"])
async def test_a_right_password_opens_the_door(strict: Relay, way: str) -> None:
    assert await way_in(address(strict, auth=way), strict) == way.upper()


@pytest.mark.parametrize("way", ["plain", "login", "cram-md5", None])
async def test_a_wrong_password_is_told_without_it_and_tried_once(strict: Relay, way: str | None) -> None:
    sentence = await reason(address(strict, auth=way, password="hush"))
    assert sentence == "it refused our user name, password or token (535)"
    assert sum(command.startswith("AUTH") for command in strict.commands) == 1


async def test_in_the_clear_the_password_is_kept_to_ourselves_where_that_is_possible(strict: Relay) -> None:
    assert await way_in(address(strict), strict) == "CRAM-MD5"
    strict.extensions = ("AUTH LOGIN PLAIN",)
    assert await way_in(address(strict), strict) == "PLAIN"
    strict.extensions = ("AUTH=LOGIN",)
    assert await way_in(address(strict), strict) == "LOGIN"


async def test_inside_of_tls_the_plain_way_is_taken(strict: Relay, certificate: Certificate) -> None:
    strict.tls = certificate.served()
    assert await way_in(address(strict, starttls="required", verify=False), strict) == "PLAIN"


async def test_opportunistic_encryption_that_failed_shows_no_password(strict: Relay) -> None:
    at = address(strict, starttls="opportunistic")
    assert await way_in(at, strict) == "CRAM-MD5"
    strict.extensions = ("AUTH PLAIN LOGIN",)
    sentence = await reason(at)
    assert (
        sentence == "it offers no STARTTLS, and a password is not shown in the clear; see ?starttls= in docs/relays.md"
    )


async def test_a_way_that_the_relay_does_not_know_after_all_is_not_the_last(strict: Relay) -> None:
    strict.at(Stage.AUTH, "504 5.5.4 unrecognized", times=1)
    assert await way_in(address(strict), strict) == "CRAM-MD5 PLAIN"
    strict.at(Stage.AUTH, "504 5.5.4 unrecognized")
    assert "(504)" in await reason(address(strict))


@pytest.mark.parametrize("extensions", [("AUTH GSSAPI",), ()])
async def test_a_relay_that_offers_none_of_our_ways(strict: Relay, extensions: tuple[str, ...]) -> None:
    strict.extensions = extensions
    assert await reason(address(strict)) == (
        "it does not let us sign in by CRAM-MD5, PLAIN, LOGIN; see ?auth= in docs/relays.md, or remove the user name"
    )
    assert await reason(address(strict, auth="login")) == (
        "it does not let us sign in by LOGIN; see ?auth= in docs/relays.md, or remove the user name"
    )


async def test_a_relay_that_cannot_check_now_has_not_refused(strict: Relay) -> None:
    strict.at(Stage.AUTH, "454 4.7.0 later")
    assert await reason(address(strict)) == "it answered 454"


# --- tokens


def counted(folder: Path, first: str, later: str) -> str:
    """Return a command that prints one token the first time and another one later, and counts its runs in a file."""
    script = folder / "token.py"
    script.write_text(
        "import pathlib, sys\n"
        "runs = pathlib.Path(sys.argv[0] + '.runs')\n"
        "runs.open('a').write('x')\n"
        f"print({first!r} if runs.stat().st_size == 1 else {later!r})\n"
    )
    return f"{PYTHON} {shlex.quote(str(script))}"


def runs(folder: Path) -> int:
    return (folder / "token.py.runs").stat().st_size


def with_token(relay: Relay, command: str, **options: Any) -> Address:
    return address(relay, auth="xoauth2", token_command=command, password="", **options)


async def test_a_token_is_asked_for_once_and_kept(strict: Relay, tmp_path: Path) -> None:
    strict.passwords["ann"] = "t0ken"
    at = with_token(strict, counted(tmp_path, "t0ken", "other"))
    wires = await asyncio.gather(*(connect(at, "us.example", tls_context(at)) for _ in range(5)))
    assert await way_in(at, strict) == "XOAUTH2"
    assert runs(tmp_path) == 1
    await asyncio.gather(*(wire.quit() for wire in wires))


async def test_an_expired_token_is_fetched_anew(strict: Relay, tmp_path: Path) -> None:
    strict.passwords["ann"] = "fresh"
    at = with_token(strict, counted(tmp_path, "stale", "fresh"))
    assert await way_in(at, strict) == "XOAUTH2 XOAUTH2"
    assert await way_in(at, strict) == "XOAUTH2"
    assert runs(tmp_path) == 2


async def test_a_token_that_stays_wrong_is_told_without_it(strict: Relay, tmp_path: Path) -> None:
    at = with_token(strict, counted(tmp_path, "bad", "worse"))
    assert await reason(at) == "it refused our user name, password or token (535)"
    assert runs(tmp_path) == 2


async def test_a_relay_that_is_busy_does_not_make_a_token_old(strict: Relay, tmp_path: Path) -> None:
    at = with_token(strict, counted(tmp_path, "t", "t"))
    strict.at(Stage.AUTH, "454 4.7.0 later")
    assert await reason(at) == "it answered 454"
    assert await reason(at) == "it answered 454"
    assert runs(tmp_path) == 1


async def test_a_token_is_kept_for_five_minutes(tmp_path: Path) -> None:
    now = 0.0
    tokens = Tokens(lambda: now)
    command = counted(tmp_path, "one", "two")
    assert (await tokens.get(command)).text == "one"
    now = 299.0
    assert (await tokens.get(command)).text == "one"
    now = 300.0
    assert (await tokens.get(command)).text == "two"


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("/nowhere/get-token", "token_command cannot be run"),
        (f"{PYTHON} -c 'print(\"hush\"); raise SystemExit(3)'", "token_command ended with 3"),
        (f"{PYTHON} -c pass", "token_command printed no access token"),
        (f"{PYTHON} -c 'print(\"hush hush\")'", "token_command printed no access token"),
        (f"{PYTHON} -c 'print(\"hush\\nhush\")'", "token_command printed no access token"),
        ("echo $HOME `id`", "token_command printed no access token"),
    ],
)
async def test_a_command_that_fails_is_one_sentence_without_its_output(
    strict: Relay, command: str, sentence: str
) -> None:
    assert await reason(with_token(strict, command)) == sentence


@pytest.mark.parametrize(
    "command", ["sleep 30", "sh -c 'sleep 30 & sleep 30'", "sh -c 'sleep 30 & echo hush'", "yes hush"]
)
async def test_a_command_that_does_not_end_is_ended(command: str) -> None:
    began = time.monotonic()
    with pytest.raises(NoToken, match=r"token_command (took longer than 0.2 s|printed no)"):
        await Tokens(timeout=0.2).get(command)
    assert time.monotonic() - began < 5


async def test_who_stops_waiting_takes_the_token_from_nobody(tmp_path: Path) -> None:
    tokens = Tokens()
    command = counted(tmp_path, "one", "two")
    first, second = (asyncio.create_task(tokens.get(command)) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    assert (await second).text == "one"
    assert first.cancelled()
