"""Other people's servers: where we go, where we do not, and that one look in the DNS decides."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from mailer.outside import Answer, Guard, Outside, Refused, Unreachable, public
from tests import hooks
from tests.hooks import Asked, Reply, Server
from tests.servers import Certificate

INSIDE = [
    *("127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.31.0.1", "192.168.1.1", "100.100.100.200"),
    *("169.254.169.254", "168.63.129.16", "192.0.0.192", "192.0.2.7", "198.18.0.1", "198.51.100.1", "203.0.113.9"),
    *("192.88.99.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "fc00::1", "fec0::1", "ff02::1"),
    # IPv4 in IPv6's clothes: mapped, compatible, translated (also of a site's own), NAT64, 6to4, Teredo.
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:8.8.8.8", "::127.0.0.1", "::ffff:0:127.0.0.1"),
    *(
        "64:ff9b::7f00:1",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::a00:1",
        "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:3f57:fefe",
    ),
    *("2001:db8::1", "3fff::1", "100::1", "5f00::1", "not an address", ""),
]


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_that_not_everybody_may_reach_is_not_public(address: str) -> None:
    assert not public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450::1"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert public(address)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://hooks.example.org/", "must begin with https"),
        ("http://127.0.0.1/", "must begin with https"),
        ("ftp://hooks.example.org/", "must begin with https"),
        ("file:///etc/passwd", "names no host"),
        ("//hooks.example.org/", "must begin with https"),
        ("", "names no host"),
        ("https://", "names no host"),
        ("https:///path", "names no host"),
        ("https://hooks.example.org:22/", "port must be one of 443, 8443"),
        ("https://hooks.example.org:0/", "port must be one of"),
        ("https://hooks.example.org:99999/", "cannot be read"),
        ("https://hooks.example.org:x/", "cannot be read"),
        ("https://[::1/", "cannot be read"),
        ("https://user@hooks.example.org/", "user name"),
        ("https://user:pass@hooks.example.org/", "user name"),
        ("https://hooks.example.org@127.0.0.1/", "user name"),
        ("https://hooks.example.org/#there", "#fragment"),
        ("https://hooks.example.org\\@127.0.0.1/", "user name"),
        ("https://hooks.example.org/\\evil", "ASCII"),
        ("https://hooks.example.org/a b", "ASCII"),
        ("https://hooks.example.org/ü", "ASCII"),
        ("https://-bad-.example.org/", "names no host"),
        ("https://a..b/", "names no host"),
        ("https://ho st/", "names no host"),
        ("https://xn--\u0430.example/", "names no host"),
        ("https://hooks.example.org/" + "a" * 2000, "at most 2000"),
    ],
    ids=lambda text: text[:32].encode("ascii", "replace").decode(),
)
def test_an_address_that_is_not_for_us_is_a_sentence(url: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        Guard().place(url)


def test_what_stands_in_an_address_is_kept() -> None:
    place = Guard().place("https://Hooks.Example.org:8443/a%20b?c=d&e")
    assert place == ("https", "hooks.example.org", 8443, "/a%20b?c=d&e")
    assert place.header == "hooks.example.org:8443"
    assert Guard().place("https://пошта.example").host == "xn--80a1acn3a.example"
    assert Guard().place("https://[2606:4700::1]/").header == "[2606:4700::1]"
    assert Guard(ports=[9443]).place("https://hooks.example.org:9443/").port == 9443


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1", "017700000001", "localhost"])
async def test_another_spelling_of_this_machine_is_this_machine(host: str) -> None:
    with pytest.raises((Refused, Unreachable)):
        await Guard().check(f"https://{host}/")


@pytest.mark.parametrize("address", INSIDE[:-2])
async def test_a_name_that_leads_inside_is_refused(address: str) -> None:
    guard = Guard(resolve=names(["8.8.8.8", address]))
    with pytest.raises(Refused, match=r"hooks.example.org leads to an address that is not public$"):
        await guard.check("https://hooks.example.org/")


async def test_loopback_has_to_be_allowed_and_then_nothing_else_inside_is() -> None:
    await Guard(loopback=True, resolve=names(["127.0.0.1"])).check("https://hooks.example.org/")
    with pytest.raises(Refused, match="not public"):
        await Guard(loopback=True, resolve=names(["10.0.0.1"])).check("https://hooks.example.org/")
    with pytest.raises(Refused, match="https"):
        await Guard(loopback=True).check("http://hooks.example.org/")


def names(*answers: Sequence[str]) -> "Names":
    return Names(list(answers))


class Names:
    """A DNS whose answers change; the last one stays."""

    def __init__(self, answers: list[Sequence[str]]) -> None:
        self.answers = answers
        self.looks = 0

    async def __call__(self, _host: str, _port: int) -> Sequence[str]:
        self.looks += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
async def server(certificate: Certificate) -> AsyncIterator[Server]:
    tls = certificate.served()

    def remember(made: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        made.asked_for = name  # type: ignore[attr-defined]

    tls.sni_callback = remember
    async with hooks.server(tls) as made:
        yield made


@pytest.fixture
def trust(certificate: Certificate) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate.certificate)


async def test_one_look_in_the_dns_is_judged_and_connected_to(server: Server, trust: ssl.SSLContext) -> None:
    # A rebinding name: what is judged first is loopback (allowed here), what a second look would find is refused.
    dns = names(["127.0.0.1"], ["10.0.0.1"])
    outside = Outside(Guard(ports=[server.port], loopback=True, resolve=dns), context=trust)
    url = f"https://hooks.example.org:{server.port}/here?x=1"
    for body in (b"one", b"two"):
        assert await outside.post(url, body, {"X-Own": "yes"}) == Answer(204, {"content-length": "0"}, b"")
    first, second = server.asked
    assert (first.method, first.target, first.body, second.body) == ("POST", "/here?x=1", b"one", b"two")
    assert first.headers["host"] == f"hooks.example.org:{server.port}"
    assert first.headers["x-own"] == "yes"
    # The name that the certificate was checked for, and one connection for both.
    assert first.name == "hooks.example.org"
    assert (dns.looks, server.connections) == (1, 1)
    await server.stop()
    await server.start()
    with pytest.raises(Refused, match="not public"):
        await outside.post(url, b"three", {})
    assert len(server.asked) == 2
    await outside.close()


async def test_a_certificate_for_another_name_is_not_trusted(server: Server, trust: ssl.SSLContext) -> None:
    guard = Guard(ports=[server.port], loopback=True, resolve=names(["127.0.0.1"]))
    outside = Outside(guard, context=trust)
    with pytest.raises(Unreachable, match="certificate is not trusted: Hostname mismatch"):
        await outside.get(f"https://other.example.org:{server.port}/")
    with pytest.raises(Unreachable, match="certificate is not trusted"):
        await Outside(guard).get(f"https://hooks.example.org:{server.port}/")
    assert server.asked == []
    await outside.close()


async def test_a_server_that_is_not_public_is_never_connected_to(server: Server, trust: ssl.SSLContext) -> None:
    outside = Outside(Guard(ports=[server.port]), context=trust)
    with pytest.raises(Refused, match="not public"):
        await outside.get(f"https://127.0.0.1:{server.port}/")
    assert server.connections == 0
    await outside.close()


@pytest.fixture
async def plain() -> AsyncIterator[Server]:
    async with hooks.server() as made:
        yield made


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    made = Outside(Guard(loopback=True), patience=0.5)
    yield made
    await made.close()


async def test_a_redirect_is_an_answer_and_not_followed(plain: Server, outside: Outside) -> None:
    plain.answer = lambda _asked: Reply(302, {"Location": "http://169.254.169.254/latest/meta-data/"})
    answer = await outside.get(plain.url)
    assert (answer.status, answer.headers["location"]) == (302, "http://169.254.169.254/latest/meta-data/")
    assert len(plain.asked) == 1


async def test_of_a_long_answer_only_the_beginning_is_read(plain: Server, outside: Outside) -> None:
    plain.answer = lambda _asked: Reply(200, body=b"x" * 5_000_000)
    answer = await outside.get(plain.url, most=1024)
    assert (answer.body, answer.cut) == (b"x" * 1024, True)
    plain.answer = lambda _asked: Reply(200, body=b"short")
    assert (await outside.get(plain.url, most=5))[2:] == (b"short", False)
    # What is left of the long one is not waited for: its connection is not used again.
    assert plain.connections == 2


async def test_patience_is_for_the_whole_answer(plain: Server, outside: Outside) -> None:
    plain.answer = lambda _asked: Reply(wait=3)
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"no answer within 0\.5 seconds"):
        await outside.get(plain.url)
    assert time.monotonic() - began < 2
    plain.answer = lambda _asked: Reply(200, {"Content-Length": "100"}, b"one byte at a time is not enough")
    with pytest.raises(Unreachable, match="no answer within"):
        await outside.get(plain.url)


async def test_a_name_that_is_never_found_is_waited_for_no_longer_than_patience() -> None:
    async def never(_host: str, _port: int) -> Sequence[str]:
        await asyncio.sleep(30)
        return []

    outside = Outside(Guard(resolve=never), patience=0.2)
    with pytest.raises(Unreachable, match="no answer within"):
        await outside.get("https://hooks.example.org/")
    await outside.close()


async def test_what_goes_wrong_on_the_way_is_one_sentence(plain: Server, outside: Outside) -> None:
    plain.answer = lambda _asked: Reply(hang_up=True)
    with pytest.raises(Unreachable, match="broke, or what came was not HTTP"):
        await outside.get(plain.url)
    plain.answer = lambda _asked: Reply(200, {"Bad header\x00": "1"})
    with pytest.raises(Unreachable, match="broke, or what came was not HTTP"):
        await outside.get(plain.url)
    plain.answer = lambda _asked: Reply(200, {"Long": "x" * 300_000})
    with pytest.raises(Unreachable, match="broke, or what came was not HTTP"):
        await outside.get(plain.url)
    await plain.stop()
    with pytest.raises(Unreachable, match="no connection could be made"):
        await outside.get(plain.url)


async def test_the_environments_proxy_is_not_asked(
    plain: Server, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hooks.server() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        await outside.get(plain.url)
        assert (len(plain.asked), proxy.asked) == (1, [])


async def test_many_at_once_each_have_their_own_answer(plain: Server, outside: Outside) -> None:
    def twice(asked: Asked) -> Reply:
        return Reply(200, body=asked.body * 2)

    plain.answer = twice
    answers = await asyncio.gather(*(outside.post(plain.url, str(each).encode(), {}) for each in range(40)))
    assert [answer.body for answer in answers] == [str(each).encode() * 2 for each in range(40)]
