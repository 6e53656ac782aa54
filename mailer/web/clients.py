"""From where a request came, behind proxies of ours too: which address, by TLS or not, from which site."""

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.requests import Request

from mailer.settings import Settings

_HEADER = "x-forwarded-for"
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
#: `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:443`, each perhaps in quotes.
_HOP = re.compile(r'"?(?:\[(?P<bracketed>[^\]]*)\](?::\d+)?|(?P<short>[^:]*):\d+|(?P<bare>.*?))"?')


def client_of(request: Request, settings: Settings) -> str:
    """Return the address of whoever asked, empty where none is known.

    Each proxy writes behind the others whom it was asked by, so what it says is believed from right to left, and only
    of proxies in `MAILER_TRUSTED_PROXIES`: what stands left of the first other address, anybody may have written.
    """
    known = _address(request.client.host) if request.client else None
    for hop in _hops(request):
        if known is None or not any(known in network for network in settings.proxies):
            break
        found = _address(hop)
        if found is None:
            # A proxy of ours that does not say whom it was asked by: what is left of it is not its word.
            break
        known = found
    return str(known) if known else ""


def is_secure(request: Request, settings: Settings) -> bool:
    """Return whether the browser speaks TLS: to us, to a proxy of ours that says so, or by the address that is set.

    On this very machine browsers keep no secure cookie without TLS, whatever the public address is.
    """
    if request.url.scheme == "https":
        return True
    near = _address(request.client.host) if request.client else None
    if near is not None and any(near in network for network in settings.proxies):
        return request.headers.get("x-forwarded-proto", "").lower() == "https"
    set_ones = (settings.public_url, settings.transactional_public_url, settings.promotional_public_url)
    return any(url.startswith("https://") for url in set_ones) and not is_loopback_name(request.headers.get("host", ""))


def is_loopback_name(host: str) -> bool:
    """Return whether a Host header names this very machine, with or without a port."""
    return (host if host.endswith("]") else host.rpartition(":")[0] or host) in _LOOPBACK_NAMES


def is_same_origin(request: Request) -> bool:
    """Return whether our own page asks; who is no browser says neither and may."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host")


def _hops(request: Request) -> Iterator[str]:
    """Yield what proxies wrote, the nearest first."""
    for line in reversed(request.headers.getlist(_HEADER)):
        yield from filter(None, (hop.strip() for hop in reversed(line.split(","))))


def _address(text: str) -> IPv4Address | IPv6Address | None:
    hop = _HOP.fullmatch(text)
    if hop is None:
        return None
    written = next(filter(None, (hop["bracketed"], hop["short"], hop["bare"])), "")
    try:
        # A zone means something on the proxy's machine only (RFC 4007 section 6).
        found = ip_address(written.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
