"""From which network address a request came, behind proxies of ours too."""

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.requests import Request

from mailer.settings import Settings

_HEADER = "x-forwarded-for"
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
