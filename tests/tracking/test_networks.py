"""Which network an address lies in, from an operator's file."""

import ipaddress
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.errors import ConfigurationError
from mailer.feedback.tracking.classes import classify
from mailer.feedback.tracking.networks import Listed, NetworkFile, build, parse, published
from mailer.feedback.tracking.sightings import Class, Trace, Verdict

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"
LINES = """
# Apple's egress ranges load pictures ahead, and carry the clicks of people.
machine,apple-relay,172.224.226.0/27,open
machine,apple-relay,2a02:26f7:c9c8:4000::/64,open
machine,microsoft,40.94.0.0/16,click
human,office,203.0.113.7
"""


@pytest.mark.parametrize(
    ("address", "opened", "clicked"),
    [
        ("172.224.226.0", "apple-relay", ""),
        ("172.224.226.31", "apple-relay", ""),
        ("172.224.226.32", "", ""),
        ("172.224.225.255", "", ""),
        ("2a02:26f7:c9c8:4000::1", "apple-relay", ""),
        ("2a02:26f7:c9c8:4001::", "", ""),
        ("40.94.20.1", "", "microsoft"),
        ("203.0.113.7", "office", "office"),
        ("203.0.113.8", "", ""),
        ("", "", ""),
        ("no address", "", ""),
        ("::ffff", "", ""),
    ],
)
def test_an_address_has_the_rule_of_its_network(address: str, opened: str, clicked: str) -> None:
    lists = build(parse(LINES.splitlines()))
    assert (lists.find(address, clicked=False), lists.find(address, clicked=True)) == (opened, clicked)


nets = st.lists(
    st.tuples(st.integers(0, 255), st.integers(22, 32)).map(lambda each: f"10.0.{each[0] % 4}.{each[0]}/{each[1]}"),
    max_size=20,
)


@given(nets, st.integers(0, 1023))
def test_the_narrowest_network_decides_as_if_each_were_looked_at(networks: list[str], place: int) -> None:
    listed = [Listed(Class.MACHINE, f"r{number}", network) for number, network in enumerate(networks)]
    address = ipaddress.ip_address("10.0.0.0") + place
    holding = [
        (ipaddress.ip_network(each.network, strict=False).prefixlen, number)
        for number, each in enumerate(listed)
        if address in ipaddress.ip_network(each.network, strict=False)
    ]
    expected = f"r{max(holding)[1]}" if holding else ""
    assert build(listed).find(str(address), clicked=False) == expected


@pytest.mark.parametrize(
    "line",
    [
        "machine,apple",
        "robot,apple,10.0.0.0/8",
        "unknown,apple,10.0.0.0/8",
        "machine,Apple Relay,10.0.0.0/8",
        "machine,apple,10.0.0.0/33",
        "machine,apple,10.0.0.0/-1",
        "machine,apple,10.0.0.0/",
        "machine,apple,10.0.0/8",
        "machine,apple,::/129",
        "machine,apple,10.0.0.0/8,both",
        "machine,apple,10.0.0.0/8,open,click",
        "machine,apple,\x00",
    ],
)
def test_a_malformed_line_is_named(line: str) -> None:
    with pytest.raises(ConfigurationError, match="line 2 must be class,rule,network"):
        list(parse(["", line]))


def test_a_rule_has_one_class() -> None:
    with pytest.raises(ConfigurationError, match="the rule x must have the same class"):
        build(parse(["machine,x,10.0.0.0/8", "human,x,11.0.0.0/8"]))


def test_a_list_says_who_it_is_only_where_the_agent_does_not() -> None:
    kinds = build(parse(LINES.splitlines())).kinds
    assert classify(Trace("GET", FIREFOX, "apple-relay"), kinds) == Verdict(Class.MACHINE, "apple-relay")
    assert classify(Trace("GET", "something else", "office"), kinds) == Verdict(Class.HUMAN, "office")
    assert classify(Trace("GET", "curl/8.5.0", "office"), kinds) == Verdict(Class.MACHINE, "http-library")
    assert classify(Trace("GET", "x (via ggpht.com GoogleImageProxy)", "apple-relay"), kinds).kind is Class.PROXY
    assert classify(Trace("HEAD", FIREFOX, "office"), kinds) == Verdict(Class.MACHINE, "head")
    # Of a list that was taken out since.
    assert classify(Trace("GET", FIREFOX, "gone"), kinds) == Verdict(Class.HUMAN, "browser")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"172.224.226.0/28,GB,GB-EN,London,\n172.224.226.16/28,GB,GB-EN,Leeds,\n", ["172.224.226.0/27"]),
        (b'{"prefixes": [{"ipv4Prefix": "8.8.4.0/24"}, {"ipv6Prefix": "2001:4860::/32"}]}', None),
        (b'{"values": [{"properties": {"addressPrefixes": ["8.8.4.0/24", "2001:4860::/32"]}}]}', None),
        (b"# ours\n\n8.8.4.0/24\n2001:4860::/32\n", None),
    ],
    ids=["apple", "google", "microsoft", "lines"],
)
def test_lists_are_read_as_their_owners_publish_them(data: bytes, expected: list[str] | None) -> None:
    assert published(data) == (expected or ["8.8.4.0/24", "2001:4860::/32"])


@pytest.mark.parametrize("data", [b"", b"{}", b"<html>", b"{", b"\xff\xfe", b'{"ipv4Prefix": null}', b"[1, 2]"])
def test_what_is_no_list_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        published(data)


def test_the_file_is_read_again_when_it_has_changed_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "networks"
    file = NetworkFile(str(path))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        file.look()
    path.write_text("machine,one,10.0.0.0/8\n")
    assert file.look()
    assert not file.look()
    path.write_text("nonsense\n")
    with pytest.raises(ConfigurationError):
        file.look()
    assert file.lists.find("10.1.1.1", clicked=False) == "one"
    path.write_text("machine,two,10.0.0.0/8\n")
    os.utime(path, ns=(0, 0))
    assert file.look()
    assert file.lists.find("10.1.1.1", clicked=False) == "two"


def test_no_file_lists_nothing() -> None:
    file = NetworkFile("")
    assert not file.look()
    assert not file.lists
    assert file.lists.find("10.0.0.1", clicked=False) == ""


@pytest.mark.timeout(60)
def test_a_list_as_long_as_apples_is_read_and_asked() -> None:
    lines = (
        f"machine,apple-relay,{10 + number // 65536}.{number // 256 % 256}.{number % 256}.0/25,open"
        for number in range(290_000)
    )
    lists = build(parse(lines))
    assert lists.find("11.2.3.100", clicked=False) == "apple-relay"
    assert lists.find("11.2.3.200", clicked=False) == ""
