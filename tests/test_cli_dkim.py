"""`mailer key dkim …`: from a pair to a signing key and its end, against a name server of our own."""

import re
from collections.abc import Iterator
from pathlib import Path

import dns.resolver
import pytest

from tests.nameserver import Nameserver, nameserver
from tests.test_cli import Quick


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Quick:
    return Quick(tmp_path, monkeypatch, capsys)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nameserver]:
    """The name server of this machine, as far as dnspython knows."""
    with nameserver() as server:
        monkeypatch.setattr(dns.resolver, "default_resolver", server.resolver)
        yield server


def test_a_key_signs_once_its_record_is_seen(quick: Quick, server: Nameserver) -> None:
    made = quick.json("key", "dkim", "ringwise.example", "--selector", "s1")
    name, record = str(made["name"]), str(made["record"])
    assert (name, made["state"], made["stream"]) == ("s1._domainkey.ringwise.example", "waiting", None)
    assert "private_key" not in made

    words = ("key", "dkim-activate", "ringwise.example", "s1")
    refused = quick.run(*words, code=1).stderr
    assert refused == f"mailer: there is no TXT record at {name}; publish there: {record}\n"
    server.publish(name, "v=DKIM1; k=rsa; p=MIIB")
    refused = quick.run(*words, code=1).stderr
    assert refused.startswith(f"mailer: the TXT record holds another key, or there are several at {name}; publish")
    server.publish(name, record)
    assert quick.run(*words).stdout == f"{name} signs within seconds\n"
    assert [key["state"] for key in listed(quick)] == ["active"]

    retired = quick.run("key", "dkim-retire", "ringwise.example", "s1")
    assert retired.stdout == f"{name} signs no more\n"
    assert 'publish "v=DKIM1; p="' in retired.stderr
    assert [key["state"] for key in listed(quick)] == ["retired"]
    assert "is retired" in quick.run(*words, code=1).stderr


def listed(quick: Quick) -> list[dict[str, object]]:
    data = quick.json("key", "dkim-list")["data"]
    assert isinstance(data, list)
    return data


def test_the_record_is_printed_as_a_zone_file_holds_it(quick: Quick) -> None:
    made = quick.run("key", "dkim", "ringwise.example", "--stream", "promotional", "--selector", "p1")
    lines = made.stdout.splitlines()
    assert lines[0] == "p1._domainkey.ringwise.example. IN TXT ("
    assert lines[-1].endswith(" )")
    assert "".join(re.findall(r'"([^"]*)"', made.stdout)).startswith("v=DKIM1; k=rsa; p=MIIB")
    assert made.stderr == "Publish this record, then: mailer key dkim-activate ringwise.example p1\n"
    assert "promotional" in quick.run("key", "dkim-list").stdout


def test_the_operator_may_vouch_for_a_record(quick: Quick, server: Nameserver) -> None:
    server.silent = True
    made = quick.json("key", "dkim", "ringwise.example", "--algorithm", "ed25519")
    words = ("key", "dkim-activate", "ringwise.example", str(made["selector"]), "--without-dns")
    assert quick.json(*words)["state"] == "active"
    assert quick.json("key", "dkim-retire", "ringwise.example", str(made["selector"]))["state"] == "retired"


def test_what_cannot_be_is_a_sentence(quick: Quick) -> None:
    assert "domain: 'ringwise' is not a domain" in quick.run("key", "dkim", "ringwise", code=2).stderr
    nobody = quick.run("key", "dkim-activate", "ringwise.example", "s9", "--without-dns", code=1).stderr
    assert nobody == "mailer: there is no key s9 of ringwise.example\n"
    quick.run("key", "dkim", "ringwise.example", "--selector", "s1")
    twice = quick.run("key", "dkim", "ringwise.example", "--selector", "s1", code=1).stderr
    assert "a selector is used once, choose another one" in twice
