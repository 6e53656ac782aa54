"""Networks whose addresses say who is behind a request, from a file that an operator keeps (`MAILER_NETWORKS`).

A line is `class,rule,network` or `class,rule,network,open|click`: `machine,apple-relay,172.224.226.0/27,open`. Apple's
egress ranges, for one, load pictures that nobody has looked at, and carry the clicks of people.
"""

import ipaddress
import re
import socket
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import orjson

from mailer.errors import ConfigurationError
from mailer.feedback.tracking.sightings import Class

#: Apple's list has some 290,000 lines.
MOST = 2_000_000
_RULE = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_KINDS = frozenset({Class.HUMAN, Class.PROXY, Class.MACHINE})
_OPEN, _CLICK = "open", "click"
#: Google's, Amazon's and Microsoft's lists, by the names that they give their networks.
_PREFIXES = frozenset({"ipv4Prefix", "ipv6Prefix", "ip_prefix", "ipv6_prefix", "addressPrefixes"})


class Listed(NamedTuple):
    """One line: a network, what it says, and of which hits (None: of all)."""

    kind: Class
    rule: str
    network: str
    of: str | None = None

    @property
    def line(self) -> str:
        """Return how it is written."""
        return ",".join([self.kind, self.rule, self.network, *([self.of] if self.of else [])])


class _Ranges(NamedTuple):
    """Ranges of one family that do not overlap, in order, and the rule of each: found by bisection."""

    starts: list[int]
    ends: list[int]
    rules: list[str]

    def find(self, number: int) -> str:
        place = bisect_right(self.starts, number) - 1
        return self.rules[place] if place >= 0 and number <= self.ends[place] else ""


@dataclass(frozen=True, slots=True)
class Networks:
    """A list that was read: the rule of an address, and the class of a rule."""

    #: Rule -> class.
    kinds: Mapping[str, Class] = field(default_factory=dict)
    #: By what is asked about (open, click), then by the octets of an address.
    _ranges: Mapping[tuple[str, int], _Ranges] = field(default_factory=dict)

    def find(self, address: str, *, clicked: bool) -> str:
        """Return the rule of the narrowest network that holds an address, empty where none does or it is none."""
        packed = _packed(address)
        found = self._ranges.get((_CLICK if clicked else _OPEN, len(packed or b"")))
        return found.find(int.from_bytes(packed)) if packed and found else ""

    def __bool__(self) -> bool:
        """Return whether there is anything to find."""
        return bool(self._ranges)


class NetworkFile:
    """The operator's file, which is read again when it has changed."""

    def __init__(self, path: str) -> None:
        """Read nothing yet; an empty path stands for no file."""
        self._path = Path(path) if path else None
        self._known: tuple[int, int] | None = None
        #: What was read last.
        self.lists = Networks()

    def look(self) -> bool:
        """Read the file where it has changed, and return whether it had; what was read before stays on an error.

        Raises `ConfigurationError` where it cannot be read or has a malformed line.
        """
        if self._path is None:
            return False
        try:
            found = self._path.stat()
            if self._known == (now := (found.st_mtime_ns, found.st_size)):
                return False
            with self._path.open(encoding="utf-8", errors="replace") as lines:
                self.lists = build(parse(lines))
        except OSError as error:
            raise ConfigurationError(
                f"MAILER_NETWORKS: {self._path} cannot be read ({error.strerror}): make it, or remove the setting"
            ) from None
        self._known = now
        return True


def _packed(address: str) -> bytes | None:
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except (OSError, ValueError):
        return None


def parse(lines: Iterable[str]) -> Iterator[Listed]:
    """Yield what each line lists; a malformed one raises `ConfigurationError` with its number."""
    for number, text in enumerate(lines, 1):
        if number > MOST:
            raise ConfigurationError(f"MAILER_NETWORKS: the file has more than {MOST:,} lines")
        line = text.strip()
        if not line or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split(",")]
        good = len(parts) in (3, 4) and parts[0] in _KINDS and _RULE.fullmatch(parts[1]) and _span(parts[2])
        if not good or (len(parts) == 4 and parts[3] not in (_OPEN, _CLICK)):
            raise ConfigurationError(
                f"MAILER_NETWORKS: line {number} must be class,rule,network or class,rule,network,open|click, such as "
                "machine,apple-relay,172.224.226.0/27,open, with a class human, proxy or machine"
            )
        yield Listed(Class(parts[0]), *parts[1:])


def build(listed: Iterable[Listed]) -> Networks:
    """Return the list as it is asked; a rule has one class, else `ConfigurationError`."""
    kinds: dict[str, Class] = {}
    spans: dict[tuple[str, int], list[tuple[int, int, str]]] = {}
    for each in listed:
        if kinds.setdefault(each.rule, each.kind) is not each.kind:
            raise ConfigurationError(f"MAILER_NETWORKS: the rule {each.rule} must have the same class in every line")
        if (span := _span(each.network)) is not None:
            octets, start, end = span
            for of in (each.of,) if each.of else (_OPEN, _CLICK):
                spans.setdefault((of, octets), []).append((start, end, each.rule))
    return Networks(kinds, {key: _flat(each) for key, each in spans.items()})


def _span(network: str) -> tuple[int, int, int] | None:
    """Return the octets of a network's addresses, its first and its last as numbers; None where it is none."""
    address, slash, length = network.partition("/")
    packed = _packed(address)
    if packed is None:
        return None
    bits = len(packed) * 8
    if slash and not (length.isascii() and length.isdecimal() and len(length) <= 3 and int(length) <= bits):
        return None
    free = bits - (int(length) if slash else bits)
    start = int.from_bytes(packed) >> free << free
    return len(packed), start, start + (1 << free) - 1


def _flat(spans: list[tuple[int, int, str]]) -> _Ranges:
    """Return networks, which lie in each other or apart, as ranges that lie apart; the narrower one wins."""
    ranges = _Ranges([], [], [])
    around: list[tuple[int, str]] = []
    begin = 0

    def put(last: int, rule: str) -> None:
        if begin > last:
            return
        if ranges.ends and ranges.ends[-1] + 1 == begin and ranges.rules[-1] == rule:
            ranges.ends[-1] = last
            return
        ranges.starts.append(begin)
        ranges.ends.append(last)
        ranges.rules.append(rule)

    for start, end, rule in sorted(spans, key=lambda span: (span[0], -span[1])):
        while around and around[-1][0] < start:
            last, outer = around.pop()
            put(last, outer)
            begin = max(begin, last + 1)
        if around:
            put(start - 1, around[-1][1])
        begin = start
        around.append((end, rule))
    while around:
        last, outer = around.pop()
        put(last, outer)
        begin = max(begin, last + 1)
    return ranges


def published(data: bytes) -> list[str]:
    """Return the networks of a list as its owner publishes it.

    Known are JSON with the names of Google, Amazon and Microsoft, and text whose lines begin with a network, as Apple's
    `egress-ip-ranges.csv` has them. Raises `ValueError` for what holds no network.
    """
    if data.lstrip()[:1] in (b"{", b"["):
        found = list(_prefixes(orjson.loads(data)))
    else:
        lines = (line.partition(",")[0].strip() for line in data.decode("utf-8", "replace").splitlines())
        found = [line for line in lines if line and not line.startswith("#")]
    for place, network in enumerate(found, 1):
        if _span(network) is None:
            raise ValueError(f"entry {place} is no network such as 192.0.2.0/24")
    if not found:
        raise ValueError("it holds no network")
    return [str(each) for each in _merged(found)]


def _prefixes(value: object) -> Iterator[str]:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Mapping):
            for name, inner in each.items():
                if name in _PREFIXES:
                    yield from map(str, inner if isinstance(inner, list) else [inner])
                else:
                    waiting.append(inner)
        elif isinstance(each, list):
            waiting += each


def _merged(found: Iterable[str]) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Yield the same addresses in as few networks as there can be: Apple tells cities apart, and we do not."""
    spans: dict[int, list[tuple[int, int, str]]] = {}
    for network in found:
        if (span := _span(network)) is not None:
            spans.setdefault(span[0], []).append((span[1], span[2], ""))
    for octets, each in sorted(spans.items()):
        kind = ipaddress.IPv4Address if octets == 4 else ipaddress.IPv6Address
        ranges = _flat(each)
        for start, end in zip(ranges.starts, ranges.ends, strict=True):
            yield from ipaddress.summarize_address_range(kind(start), kind(end))
