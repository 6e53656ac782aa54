"""Which links of a content are rewritten, by which number and name, and what stands there in each mail (R7.3)."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from mailer import targets
from mailer.compose import hrefs
from mailer.compose.encoding import Columns, rows
from mailer.compose.markers import Path
from mailer.targets import Link, Utm

#: Returns our address for each link of each mail, None where that one stays as it is. The bytes are what it says of the
#: mail.
Sign: TypeAlias = Callable[[Sequence[tuple[bytes, Sequence[Link]]]], Sequence[Sequence[str | None]]]


def nothing_signed(mails: Sequence[tuple[bytes, Sequence[Link]]]) -> Sequence[Sequence[str | None]]:
    """Let every link stay as it is."""
    return [[None] * len(links) for _, links in mails]


#: Fixed text and the numbers of slots in turn.
Pieces: TypeAlias = Sequence[str | int]

#: What a template does not say itself is not named.
UNNAMED = "…"
_CONSTRUCT = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_CALLED = re.compile(r"\(\s*([A-Za-z_][\w.]*)\s*[,)]")
_QUOTED = re.compile(r"[\"'](https?://[^\"']+)[\"']", re.IGNORECASE)
# Words that are an address themselves: leading elsewhere than they say, they look like a trick (R7.8).
_ADDRESS = re.compile(r"(?:https?://|www\.)[^\s/]+|^[\w-]+(?:\.[\w-]+)*\.[a-z]{2,18}(?:[/?#:]\S*)?$", re.IGNORECASE)
_SCHEME = re.compile(r"https?://|[/?#:].*", re.IGNORECASE)
#: How many spellings of one link are remembered, and how long what stands in its slots may be: plans and cities come
#: again and again, codes and summaries do not.
_REMEMBERED = 32
_SHORT = 100


@dataclass(frozen=True, slots=True)
class Clicking:
    """How the links of a mailing are rewritten."""

    #: How addresses begin that are ours already: ways out, pages, and links that were rewritten. (Frames are looked up
    #: by their constants several times a mail, so what they hardly differ in is not hashed.)
    ours: tuple[str, ...] = field(hash=False)
    utm: Utm = ()
    #: Hosts whose links stay as they are.
    spared: frozenset[str] = field(default=frozenset(), hash=False)
    #: Many people get this content: what stands in it literally is nobody's own.
    shared: bool = True

    def link(self, href: str, words: str, place: int, label: str) -> Link | None:
        """Return where a link leads, None where it stays as it is."""
        target = targets.reached(href)
        if target is None or target.startswith(self.ours):
            return None
        host = targets.host_of(target)
        if any(host == spared or host.endswith(f".{spared}") for spared in self.spared):
            return None
        said = _ADDRESS.search(words)
        if said and not self._is_ours(_SCHEME.sub("", said[0])):
            return None
        named = label or f"{targets.origin(target)}/{UNNAMED}"
        return Link(place, targets.tagged(target, self.utm), named)

    def _is_ours(self, host: str) -> bool:
        return any(targets.host_of(ours) == host.lower() for ours in self.ours)


@dataclass(frozen=True, slots=True)
class Tracked:
    """A link of a frame that is rewritten, or may be, and what stands there if it is not."""

    written: Pieces
    place: int
    label: str
    #: Words of the link, where they hold slots; else empty.
    words: Pieces
    #: Where it leads, where that is known before there is a recipient.
    link: Link | None
    clicking: Clicking
    #: Where it led, by what stood in its slots.
    known: dict[tuple[str, ...], Link | None] = field(default_factory=dict, compare=False)

    def of(self, values: Columns[str], mails: int) -> Sequence[Link | None]:
        """Return where it leads in each mail, whose values are given as HTML."""
        if self.link is not None and not self.words:
            return [self.link] * mails
        slots = [piece for piece in (*self.written, *self.words) if isinstance(piece, int)]
        stand = zip(*[values[slot] for slot in slots], strict=True)
        return [
            self.known[open_values] if open_values in self.known else self._led(slots, open_values)
            for open_values in stand
        ]

    def _led(self, slots: Sequence[int], open_values: tuple[str, ...]) -> Link | None:
        values = dict(zip(slots, open_values, strict=True))
        words = hrefs.shown(_filled(self.words, values))
        href = hrefs.attribute_value(_filled(self.written, values))
        link = self.clicking.link(href, words, self.place, self.label)
        if sum(map(len, open_values)) <= _SHORT:
            if len(self.known) >= _REMEMBERED:
                self.known.clear()
            self.known[open_values] = link
        return link

    def originals(self, values: Columns[str], mails: int) -> Sequence[str]:
        """Return what stands there in each mail if it is not rewritten."""
        return ["".join(row) for row in rows(self.written, values, mails)]


class Clicked(NamedTuple):
    """How links become ours, and what those of each mail say of it."""

    sign: Sign
    said: Sequence[bytes]


def _filled(pieces: Pieces, values: Mapping[int, str]) -> str:
    return "".join([values[piece] if isinstance(piece, int) else piece for piece in pieces])


class Written:
    """The links of a content's sources as their writer spelled them: each has a number from 1 and a label.

    Frames differ in which links they have, and rows of a loop make many of one: what is counted together is what stands
    at one place of the template. Labels come from here alone, so that none holds what a recipient's values say.
    """

    def __init__(self, sources: Sequence[str], *, literal: bool) -> None:
        """Number the links in order; a literal source has no constructs."""
        self._places: dict[str, list[int]] = {}
        self._open: list[tuple[list[str], int, str]] = []
        number = 0
        for source in sources:
            for written in _spellings(source, literal=literal):
                number += 1
                label = _label("".join(written))
                self._places.setdefault(label, []).append(number)
                if len(written) > 1:
                    self._open.append((list(written[::2]), number, label))
        self._made_up = number + 1
        # The one that says most comes first.
        self._open.sort(key=lambda each: -sum(map(len, each[0])))
        # Of several that say nothing themselves nobody can tell which one was filled.
        bare = [each for each in self._open if not any(each[0])]
        if len({label for _, _, label in bare}) > 1:
            self._open = self._open[: -len(bare)]

    def find(self, spelled: str, value: str, seen: Counter[str]) -> tuple[int, str]:
        """Return number and label of a rendered link; the number behind all others and "" where no source holds it.

        `spelled` has its open values as `{{ name }}`, `value` as they stand in the frame.
        """
        label = _label(spelled)
        if places := self._places.get(label):
            seen[label] += 1
            return places[min(seen[label], len(places)) - 1], label
        for fixed, number, label in self._open:
            if _fits(fixed, value):
                return number, label
        return self._made_up, ""


def _spellings(source: str, *, literal: bool) -> Sequence[Sequence[str]]:
    """Return the links of a source in order, each as fixed pieces and constructs in turn."""
    if literal:
        return [[href.value] for href in hrefs.hrefs(source)]
    constructs: list[str] = []

    def hide(found: re.Match[str]) -> str:
        constructs.append(" ".join([found[0][:2], found[0][2:-2].strip("- \n"), found[0][-2:]]))
        # Letters only, so that what stands in a construct neither ends a value nor begins a tag.
        return f"\ue000{len(constructs) - 1}\ue001"

    hidden = _CONSTRUCT.sub(hide, source)
    placed: list[tuple[int, Sequence[str]]] = []
    for href in hrefs.hrefs(hidden):
        pieces = re.split("\ue000([0-9]+)\ue001", href.value)
        written = [constructs[int(piece)] if index % 2 else piece for index, piece in enumerate(pieces)]
        placed.append((href.start, written))
    for found in re.finditer("\ue000([0-9]+)\ue001", hidden):
        # What macros are called with: {{ button("https://…", "Read on") }}, {{ button(shop_url, "Shop") }}.
        construct = constructs[int(found[1])]
        placed += [(found.start(), [address]) for address in _QUOTED.findall(construct)]
        placed += [(found.start(), [_named((path,))]) for path in _CALLED.findall(construct)]
    return [written for _, written in sorted(placed, key=lambda each: each[0])]


def _label(written: str) -> str:
    return re.sub(r"[\x00-\x20\x7f]+", " ", written).strip()[: targets.LONGEST_LABEL]


def _fits(fixed: Sequence[str], value: str) -> bool:
    """Return whether a value has these pieces in this order, at its ends too."""
    first, *between, last = fixed
    if not value.startswith(first) or not value.endswith(last) or len(value) < len(first) + len(last):
        return False
    position, end = len(first), len(value) - len(last)
    for piece in between:
        position = value.find(piece, position, end)
        if position < 0:
            return False
        position += len(piece)
    return True


class Found(NamedTuple):
    """HTML whose links have slots of their own, and what stands in them."""

    html: str
    links: Sequence[Tracked]


class Frames(NamedTuple):
    """How a frame names its open values: numbers by sentinel, paths by number, and new sentinels."""

    split: Callable[[str], list[str | int]]
    paths: Mapping[int, Path]
    sentinel: Callable[[Path], str]


def rewritten(html: str, written: Written, clicking: Clicking, frame: Frames) -> Found:
    """Put a slot in the place of each address that may be rewritten; nothing else of the HTML changes."""
    pieces: list[str] = []
    links: list[Tracked] = []
    seen: Counter[str] = Counter()
    position = 0
    for href in hrefs.hrefs(html):
        value = frame.split(href.value)
        spelled = "".join([piece if isinstance(piece, str) else _named(frame.paths.get(piece)) for piece in value])
        place, label = written.find(spelled, href.value, seen)
        tracked = _tracked(href, html[href.start : href.end], (place, label), clicking, frame)
        if tracked is None:
            continue
        sentinel = frame.sentinel(("click", str(len(links))))
        links.append(tracked)
        pieces += (html[position : href.start], sentinel)
        position = href.end
    return Found("".join([*pieces, html[position:]]), links)


def _tracked(
    href: hrefs.Href, written: str, named: tuple[int, str], clicking: Clicking, frame: Frames
) -> Tracked | None:
    """Return the link with all that can be known of it here, None where it stays as it is in every mail."""
    if href.free:
        return None
    pieces, words = frame.split(written), frame.split(href.text)
    slots = [piece for piece in pieces if isinstance(piece, int)]
    if any(frame.paths.get(slot, ("",))[0] == "links" for slot in slots):
        return None
    place, label = named if clicking.shared else (named[0], "")
    open_words = words if any(isinstance(piece, int) for piece in words) else ()
    link = None
    if not slots:
        link = clicking.link(href.value, "" if open_words else hrefs.shown(href.text), place, label)
        if link is None:
            return None
    elif isinstance(pieces[0], str) and not pieces[0].strip().lower().startswith(("http://", "https://")):
        return None
    # Words that are fixed were looked at, unless the address is open.
    looked_at = open_words if link is not None else words
    return Tracked(tuple(pieces), place, label, tuple(looked_at), link, clicking)


def _named(path: Path | None) -> str:
    return "{{ " + ".".join(path) + " }}" if path else "{{ … }}"
