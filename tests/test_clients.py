"""Who asked: the peer, or whom our own proxies name."""

import pytest
from starlette.requests import Request

from mailer.settings import Settings
from mailer.web.clients import client_of

OURS = "10.0.0.0/8, 2001:db8:1::/48,192.0.2.1"
ANN, EVIL = "203.0.113.9", "198.51.100.66"


def asked(peer: str | None, *forwarded: str, trusted: str = OURS) -> str:
    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in forwarded]
    client = (peer, 4321) if peer is not None else None
    return client_of(Request({"type": "http", "client": client, "headers": headers}), Settings(trusted_proxies=trusted))


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        # Nobody is between us.
        (ANN, [], ANN),
        ("2001:db8::5", [], "2001:db8::5"),
        # Whoever is no proxy of ours may write what they like.
        (ANN, ["192.0.2.77"], ANN),
        (EVIL, [f"{ANN}, 10.0.0.1"], EVIL),
        # One proxy, several, and one line a proxy.
        ("10.0.0.1", [ANN], ANN),
        ("10.0.0.1", [f"{ANN}, 10.1.1.1, 192.0.2.1"], ANN),
        ("10.0.0.1", [ANN, "10.1.1.1", "192.0.2.1"], ANN),
        ("2001:db8:1::7", ["2001:db8:2::9"], "2001:db8:2::9"),
        # What the person wrote themselves stands left of what our proxy saw.
        ("10.0.0.1", [f"10.9.9.9, 192.0.2.1, {ANN}"], ANN),
        ("10.0.0.1", ["10.9.9.9", ANN], ANN),
        ("10.0.0.1", [f"{EVIL}, {ANN}, 10.1.1.1"], ANN),
        # Everything is ours: the farthest.
        ("10.0.0.1", ["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        ("10.0.0.1", [], "10.0.0.1"),
        # Ports, brackets, quotes, zones, IPv4 in IPv6, blanks.
        ("10.0.0.1", [f"{ANN}:4711"], ANN),
        ("10.0.0.1", ["[2001:db8:2::9]:443"], "2001:db8:2::9"),
        ("10.0.0.1", ["[2001:DB8:2:0::9]"], "2001:db8:2::9"),
        ("10.0.0.1", [f'"{ANN}:80"'], ANN),
        ("10.0.0.1", ["fe80::1%eth0"], "fe80::1"),
        ("10.0.0.1", [f"::ffff:{ANN}"], ANN),
        ("::ffff:10.0.0.1", [ANN], ANN),
        ("10.0.0.1", [f" ,, {ANN} ,"], ANN),
        # What is no address ends the way, so that nobody slips one in behind it.
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", [f"{EVIL}, unknown"], "10.0.0.1"),
        ("10.0.0.1", [f"{EVIL}, <script>, 10.1.1.1"], "10.1.1.1"),
        ("10.0.0.1", ["999.1.1.1"], "10.0.0.1"),
        ("10.0.0.1", ["[2001:db8:2::9]x"], "10.0.0.1"),
        ("10.0.0.1", [f"{ANN}:port"], "10.0.0.1"),
        ("10.0.0.1", ["\xef\xbf"], "10.0.0.1"),
        ("10.0.0.1", [","], "10.0.0.1"),
        # No address at all: a socket in the file system, a test.
        (None, [ANN], ""),
        ("", [ANN], ""),
        ("testclient", [ANN], ""),
    ],
)
def test_the_way_is_followed_only_through_proxies_of_ours(peer: str | None, forwarded: list[str], found: str) -> None:
    assert asked(peer, *forwarded) == found


def test_without_the_setting_nobody_is_believed() -> None:
    assert asked("10.0.0.1", ANN, trusted="") == "10.0.0.1"


def test_a_long_list_is_read_to_its_end_and_no_further() -> None:
    assert asked("10.0.0.1", ", ".join([ANN, *["10.1.1.1"] * 4000])) == ANN
