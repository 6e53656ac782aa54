"""Where the links of a mail lead: which addresses may be rewritten, how they are spelled, what a campaign adds."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

import idna
import orjson

#: utm_source and its like, as (name, value) in the order in which they are appended.
Utm = tuple[tuple[str, str], ...]


class Ours(str):
    """An address of ours: letters, digits and `.:/_-` alone, so that no encoding changes it and nobody need look."""

    __slots__ = ()


def kind_of(base: str) -> type[str]:
    """Return `Ours` where addresses that begin so and go on with a token are such, else plain `str`."""
    return Ours if re.fullmatch(r"https?://[A-Za-z0-9.:/_-]+", base) else str


#: The label of a link is no longer than this.
LONGEST_LABEL = 200
#: Parameters that sign an address, or are the secret in it: one more parameter would spoil it (R7.7).
SIGNING = frozenset(
    {
        *("x-amz-signature", "x-amz-security-token", "awsaccesskeyid", "x-goog-signature", "googleaccessid"),
        *("key-pair-id", "sig", "signature", "sign", "hmac", "mac", "hash", "digest", "checksum", "hdnea", "hdnts"),
        *("token", "access_token", "auth_token", "id_token", "auth", "jwt", "otp", "code", "nonce", "ticket", "key"),
    }
)
# What a browser drops or never sees: the ends of a value (URL standard, basic URL parser), tabs and line ends within.
_EDGES = "".join(map(chr, range(0x21)))
_DROPPED = str.maketrans("", "", "\t\n\r")
_ADDRESS = re.compile(r"(https?)://([^/?#@\\]+)([/?#].*)?", re.IGNORECASE | re.DOTALL)
_HOST = re.compile(r"([\w.~-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.IGNORECASE)
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")
_TO_ESCAPE = re.compile(r"[^\x21-\x7e]|[\"<>]")


class Link(NamedTuple):
    """A link of a mail that is followed by way of us."""

    #: The how-manieth of the template, from 1; 0 is one that no person sees.
    place: int
    #: Where it leads: an http or https address in ASCII.
    target: str
    #: How reports name it: the href as the template wrote it, so that it holds nothing of the person.
    label: str

    def pack(self) -> bytes:
        """Return the form that a signed link carries."""
        return _packed(self)

    @classmethod
    def unpack(cls, data: bytes) -> "Link":
        """Read what `pack` wrote; data comes from a token that verified."""
        place, target, *cut = orjson.loads(data)
        if not cut:
            return cls(place, target, target)
        start, end, between = cut
        return cls(place, target, target[:start] + between + target[end:])


@lru_cache(maxsize=4096)
def _packed(link: Link) -> bytes:
    place, target, label = link
    if target == label:
        return orjson.dumps([place, target])
    start = _common(target, label)
    behind = min(_common(target[::-1], label[::-1]), len(label) - start, len(target) - start)
    return orjson.dumps([place, target, start, len(target) - behind, label[start : len(label) - behind]])


def _common(one: str, other: str) -> int:
    """Return how many characters both begin with."""
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(map(len, (one, other)))
    )


def reached(href: str) -> str | None:
    """Return the http or https address to which a browser would go, in ASCII; None where it must not be rewritten.

    Refused are other schemes, user names and passwords, backslashes and control characters (R7.1).
    """
    url = href.strip(_EDGES).translate(_DROPPED)
    found = _ADDRESS.fullmatch(url)
    if found is None or _UNSAFE.search(url):
        return None
    scheme, place, rest = found[1], found[2], found[3] or ""
    host = _HOST.fullmatch(place)
    if host is None:
        return None
    name = host[1]
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode()
        except idna.IDNAError:
            return None
    return f"{scheme}://{name}{host[2] or ''}{_TO_ESCAPE.sub(_escaped, rest)}"


def _escaped(found: re.Match[str]) -> str:
    return quote(found[0], safe="", errors="replace")


def host_of(url: str) -> str:
    """Return the host of an http address in lower case, without its port."""
    found = _ADDRESS.match(url)
    return re.sub(r":[0-9]*$", "", found[2]).lower() if found else ""


def origin(url: str) -> str:
    """Return scheme and host of an http address: what is surely nobody's secret."""
    found = _ADDRESS.match(url)
    return f"{found[1]}://{found[2]}" if found else ""


def tagged(url: str, utm: Utm) -> str:
    """Return the address with a campaign's parameters before its fragment, unless it is signed (R7.7).

    What the address says already stays as it is, in its order.
    """
    if not utm:
        return url
    before, hash_mark, fragment = url.partition("#")
    address, mark, query = before.partition("?")
    present = {part.partition("=")[0].lower() for part in re.split("[&;]", query)}
    if present & SIGNING:
        return url
    added = "&".join([f"{name}={quote(value, safe='')}" for name, value in utm if name not in present])
    if not added:
        return url
    joined = "" if not query or query.endswith("&") else "&"
    return f"{address}{mark or '?'}{query}{joined}{added}{hash_mark}{fragment}"


def utm_of(*rules: dict[str, str] | None) -> Utm:
    """Return the parameters that these rules (`{"source": "newsletter"}`) make together; a later one wins."""
    together: dict[str, str] = {}
    for rule in rules:
        together |= rule or {}
    return tuple([(f"utm_{name}", together[name]) for name in UTM_NAMES if together.get(name)])


#: What a campaign may add to its links, in this order.
UTM_NAMES: Sequence[str] = ("source", "medium", "campaign", "term", "content")
