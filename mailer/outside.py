"""Other people's servers, asked with care: public addresses only, one look in the DNS, no redirects (R10.6)."""

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

import httpcore2
import idna

from mailer.errors import MailerError

#: A host name and a port -> every address that it has; raises `OSError` where it has none.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

#: Seconds from the look in the DNS to the end of the answer.
PATIENCE = 15.0
#: Where https is usually spoken.
PORTS = frozenset({443, 8443})
#: What is read of an answer, in bytes, unless the caller asks for more or less.
MOST = 65536

_LONGEST_URL = 2000
_USER_AGENT = "mailer"
#: Many servers close a connection that was idle for five seconds: one that we use must not be about to go.
_IDLE = 4.0
#: Of the addresses of a name, how many are tried, and for how many seconds each: the first may lead nowhere.
_TRIED, _CONNECT = 3, 5.0
#: How many names are looked up at once: one whose servers are slow occupies a thread for long.
_LOOKS = 32
#: In the clear we speak with nobody but ourselves, and only where that is allowed.
_OURSELVES = frozenset({"localhost", "127.0.0.1", "::1"})
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?)*\Z")
_PRINTABLE = re.compile(r"[!-~]*\Z")

#: IANA's special-purpose registry for IPv4, multicast, the reserved rest, and what only insiders of a cloud reach.
#: It is written out since `ipaddress` judges differently from one version of Python to the next.
_NOT_PUBLIC_4 = tuple(
    map(
        ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
            *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
            # Azure's servers of its own machines.
            "168.63.129.16/32",
        ),
    )
)
#: Everything that IANA gives out for use lies here: loopback, link-local, ULA, multicast, IPv4-mapped, NAT64 do not.
_PUBLIC_6 = ip_network("2000::/3")
#: Of it: protocol assignments (Teredo, ORCHID, benchmarks), documentation, and 6to4, which carries any IPv4 address.
_NOT_PUBLIC_6 = tuple(map(ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))


class Refused(MailerError):
    """We do not go there, whoever asks; the text says why, and never what an internal name leads to."""


class Unreachable(MailerError):
    """There was no answer, or none in time; later there may be one."""


class Answer(NamedTuple):
    """What a server said."""

    status: int
    #: By lower-case names; of several with one name the last.
    headers: Mapping[str, str]
    body: bytes
    #: There was more to the body than we wanted.
    cut: bool = False


class Place(NamedTuple):
    """An address that may be asked, as far as can be told without the DNS."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def header(self) -> str:
        """Return the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == (443 if self.scheme == "https" else 80)
        return host if usual else f"{host}:{self.port}"


def public(address: str) -> bool:
    """Return whether an IP address is one that anybody on the internet may reach."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv4Address):
        return not any(found in network for network in _NOT_PUBLIC_4)
    return found in _PUBLIC_6 and not any(found in network for network in _NOT_PUBLIC_6)


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """Return every address of a name, as the system finds them."""
    found = await asyncio.get_running_loop().run_in_executor(
        _lookers, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    )
    return list(dict.fromkeys(str(each[4][0]) for each in found))


#: Of their own: a name that takes a minute must not hold up what else runs in threads.
_lookers = ThreadPoolExecutor(_LOOKS, thread_name_prefix="resolver")


class Guard:
    """Where we may go."""

    def __init__(self, *, ports: Iterable[int] = (), loopback: bool = False, resolve: Resolve = system_resolve) -> None:
        """Allow these ports beside the usual ones; with `loopback` this machine too, on any port and by http."""
        self._ports = PORTS | frozenset(ports)
        self._loopback = loopback
        self._resolve = resolve

    def place(self, url: str) -> Place:
        """Return what an URL names, or raise `Refused`; the DNS is not asked."""
        if len(url) > _LONGEST_URL:
            raise Refused(f"the address must have at most {_LONGEST_URL} characters")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise Refused("the address cannot be read: write it as https://hooks.example.org/path") from None
        host = _host(parts)
        ourselves = self._loopback and host in _OURSELVES
        if parts.scheme != "https" and not (ourselves and parts.scheme == "http"):
            raise Refused("the address must begin with https://")
        port = port if port is not None else (443 if parts.scheme == "https" else 80)
        if port not in self._ports and not ourselves:
            known = ", ".join(map(str, sorted(self._ports)))
            raise Refused(f"the port must be one of {known}: an operator may add to MAILER_OUTSIDE_PORTS")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not _PRINTABLE.match(target) or "\\" in url:
            raise Refused("the address must be written in ASCII: percent-encode everything else")
        return Place(parts.scheme, host, port, target)

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Return where a host may be reached, from one look in the DNS; raises `Refused` or `Unreachable`.

        One address among them that is not public refuses them all: whoever publishes such a set means no good.
        """
        try:
            found = [host] if _is_address(host) else await self._resolve(host, port)
        except (OSError, UnicodeError):
            raise Unreachable(f"the name {host} is not found") from None
        if not found:
            raise Unreachable(f"the name {host} has no address")
        if not all(public(each) or (self._loopback and ip_address(each).is_loopback) for each in found):
            raise Refused(f"{host} leads to an address that is not public")
        return found

    async def check(self, url: str) -> None:
        """Raise `Refused` or `Unreachable` where a URL cannot be asked now; nothing is connected."""
        place = self.place(url)
        try:
            async with asyncio.timeout(PATIENCE):
                await self.addresses(place.host, place.port)
        except TimeoutError:
            raise Unreachable(f"the name {place.host} was not found in {PATIENCE:.0f} seconds") from None


def _host(parts: SplitResult) -> str:
    """Return the host as it goes into the DNS and into SNI, or raise `Refused`."""
    if "@" in parts.netloc:
        raise Refused("the address must not hold a user name or a password")
    if parts.fragment:
        raise Refused("the address must not hold a #fragment: no server would see it")
    host = parts.hostname or ""
    if _is_address(host):
        return host
    try:
        host = idna.encode(host, uts46=True).decode() if not host.isascii() else host.lower()
    except (idna.IDNAError, UnicodeError):
        host = ""
    host = host.removesuffix(".")
    if not _NAME.match(host):
        raise Refused("the address names no host: write it as https://hooks.example.org/path")
    return host


def _is_address(host: str) -> bool:
    try:
        return isinstance(ip_address(host), IPv4Address | IPv6Address)
    except ValueError:
        return False


class _Backend(httpcore2.AsyncNetworkBackend):
    """Connects to the addresses that the guard found, never to a name; TLS then still asks for the name."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        trouble: Exception = Unreachable(f"{host} cannot be reached")
        for address in (await self._guard.addresses(host, port))[:_TRIED]:
            try:
                return await self._network.connect_tcp(address, port, _CONNECT, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                trouble = error
        raise trouble


class Outside:
    """Asks other people's servers; connections are kept for the next request to the same one."""

    def __init__(self, guard: Guard, *, context: ssl.SSLContext | None = None, patience: float = PATIENCE) -> None:
        """Open nothing yet; `context` says whom we trust (the system's authorities), `patience` is in seconds."""
        self.guard = guard
        self._patience = patience
        # No proxy of the environment: who asks through one leaves the choice of the address to it.
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=context or ssl.create_default_context(),
            max_connections=None,
            keepalive_expiry=_IDLE,
            network_backend=_Backend(guard),
        )

    async def get(self, url: str, *, most: int = MOST) -> Answer:
        """Fetch a URL; of the body `most` bytes are read. Raises `Refused` or `Unreachable`."""
        return await self._ask("GET", url, {}, None, most)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], *, most: int = MOST) -> Answer:
        """Post a body; of the answer's `most` bytes are read. Raises `Refused` or `Unreachable`."""
        return await self._ask("POST", url, headers, body, most)

    async def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, most: int) -> Answer:
        place = self.guard.place(url)
        # Compressed answers are not asked for, and not unpacked: a small one could fill the memory.
        sent = {"Host": place.header, "User-Agent": _USER_AGENT, "Accept-Encoding": "identity", **headers}
        if body is not None:
            sent["Content-Length"] = str(len(body))
        # Made of the parts that were judged, so that no other reader of URLs can understand it differently.
        goal = httpcore2.URL(scheme=place.scheme, host=place.host, port=place.port, target=place.target)
        try:
            async with (
                asyncio.timeout(self._patience),
                self._pool.stream(method, goal, headers=list(sent.items()), content=body) as response,
            ):
                return await _read(response, most)
        except TimeoutError:
            raise Unreachable(f"no answer within {self._patience:g} seconds") from None
        except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError, OSError) as error:
            raise Unreachable(_reason(error)) from error

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


async def _read(response: httpcore2.Response, most: int) -> Answer:
    body, cut = b"", False
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) > most:
            # Leaving here closes the connection: the rest is never read.
            body, cut = body[:most], True
            break
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
    return Answer(response.status, headers, body, cut)


def _reason(error: Exception) -> str:
    """Return one sentence; certificates are named, since their owner can mend them."""
    told: BaseException | None = error
    while told is not None:
        if isinstance(told, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {told.verify_message}"
        if isinstance(told, ssl.SSLError):
            return "TLS could not be agreed upon"
        told = told.__cause__ or told.__context__
    if isinstance(error, httpcore2.ConnectError | httpcore2.ConnectTimeout):
        return "no connection could be made"
    return "the connection broke, or what came was not HTTP"
