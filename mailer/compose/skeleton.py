"""Content worked out once: frames with open slots, which are filled per recipient.

A frame is rendered with stand-ins for the values (`markers`). Where it turns out to depend on a value (`Needed`), the
skeleton learns that this value, or its truth, steers, and keeps one frame for each of its values. What everything
depends on is rendered for each recipient: the same code, with nothing left open. The frames kept are a memory of pure
results, nothing else.
"""

import hashlib
import marshal
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

from mailer.compose import clicks, markup, text
from mailer.compose.clicks import Written
from mailer.compose.constants import Constants
from mailer.compose.encoding import Body, clean, one_line
from mailer.compose.errors import ContentError
from mailer.compose.filled import Frame, FramedHtml, FramedText, Opening
from mailer.compose.markers import Needed, Path, Printer, Tree
from mailer.compose.sandbox import Expression, Sandbox
from mailer.compose.slots import PER_RECIPIENT
from mailer.compose.templates import Content
from mailer.compose.variables import Variable

_MOST_FRAMES = 32
_SYSTEM_TREE: Tree = {
    "links": {"unsubscribe": {}, "preferences": {}, "view": {}},
    "recipient": {"email": {}, "name": {}},
    "subject": {},
}
_UNSUBSCRIBE: Path = ("links", "unsubscribe")
_PREFERENCES: Path = ("links", "preferences")
_VIEW: Path = ("links", "view")
#: The name of the pixel's address among the values: no variable can be called so.
PIXEL = "_pixel"
_PIXEL: Path = (PIXEL,)
_WHITE = re.compile(r"\s+")

F = TypeVar("F")


def _tree(variables: Mapping[str, Variable]) -> Tree:
    trees: dict[str, Tree] = {}
    for name, variable in variables.items():
        money: Tree = {"amount": {}, "currency": {}}
        trees[name] = money if variable.type == "money" else _tree(variable.fields)
    return trees


def look_up(values: Mapping[str, object], path: Path) -> object:
    """Return the value at the end of a path, None where there is none."""
    value: object = values
    for name in path:
        value = value.get(name) if type(value) is dict or isinstance(value, Mapping) else None
    return value


class Skeleton(Generic[F]):
    """One source of a content: the frames that were made of it, by what steers them."""

    def __init__(self, render: "Render", finish: "Callable[[Rendered], F]", *, whole: bool) -> None:
        """Begin with no frame; `whole` leaves nothing open, ever."""
        self._render = render
        self._finish = finish
        self._names: frozenset[str] = render.all_names if whole else frozenset()
        self._truths: tuple[Path, ...] = ()
        self._frames: dict[object, F] = {}

    def frame(self, constants: Constants, values: Mapping[str, object]) -> F:
        """Return the frame for these values, made now or before."""
        while True:
            truths = tuple([bool(look_up(values, path)) for path in self._truths])
            steering = _frozen([values.get(name) for name in sorted(self._names)]) if self._names else b""
            key = (constants, truths, steering)
            frame = self._frames.get(key)
            if frame is not None:
                return frame
            try:
                frame = self._make(constants, values, repr((constants, truths)).encode() + steering)
            except Needed as needed:
                self._learn(needed)
                continue
            if len(self._frames) >= _MOST_FRAMES:
                self._frames.pop(next(iter(self._frames)), None)
            self._frames[key] = frame
            return frame

    def _make(self, constants: Constants, values: Mapping[str, object], seed: bytes) -> F:
        # Whoever writes values cannot foresee the prefix: it hashes them.
        prefix = "q" + hashlib.blake2b(self._render.digest + seed, digest_size=6).hexdigest() + "x"
        printer = Printer(prefix, {path: bool(look_up(values, path)) for path in self._truths})
        body = self._render(printer, values, self._names)
        return self._finish(Rendered(clean(body), printer, constants, values, self._names, self._render))

    def _learn(self, needed: Needed) -> None:
        if needed.truth is not None and needed.truth not in self._truths:
            self._truths += (needed.truth,)
        elif needed.names <= self._names:
            raise ContentError(f"The template cannot be rendered with {', '.join(sorted(needed.names))}.")
        else:
            self._names |= needed.names
        self._frames.clear()


def _frozen(values: list[object]) -> bytes:
    try:
        # Version 2 has no back references, so that equal values make equal bytes.
        return marshal.dumps(values, 2)
    except ValueError:
        return repr(values).encode("utf-8", "surrogatepass")


class Render:
    """Renders one source with stand-ins for what is left open."""

    def __init__(self, content: Content, sandbox: Sandbox | None, name: str, source: str) -> None:
        """Render this source of the content; without a sandbox it is literal."""
        self._sandbox = sandbox
        self._name = name
        self._source = source
        self._tree: Tree = {**_tree(content.schema.variables), **_SYSTEM_TREE}
        self._expressions: dict[int, Expression] = {}
        self.types = {variable_name: variable.type for variable_name, variable in content.schema.variables.items()}
        self.all_names = frozenset(content.schema.variables) | PER_RECIPIENT
        self.digest = hashlib.blake2b((name + source).encode("utf-8", "surrogatepass")).digest()

    def __call__(self, printer: Printer, values: Mapping[str, object], known: frozenset[str]) -> str:
        """Render with the known names' values and stand-ins for the rest."""
        if self._sandbox is None:
            return self._source
        context = dict(values)
        for name in self.all_names - known:
            context[name] = printer.path((name,), self._tree[name])
        for number, slot in enumerate(self._sandbox.known.slots):
            context[f"_steer_{number}"] = slot.names <= known
            context[f"_slot_{number}"] = printer.expression(number, slot.names)
        return self._sandbox.render(self._name, context, printer)

    def slots(self, printer: Printer) -> Frame:
        """Return the slots that were printed, ready to be worked out."""
        paths = [(index, key[0], key[1:]) for key, index in printer.slots.items() if isinstance(key, tuple)]
        numbers = [(index, key) for key, index in printer.slots.items() if isinstance(key, int)]
        expressions = [(index, self._expression(number)) for index, number in numbers]
        return Frame(len(printer.slots), tuple(paths), tuple(expressions), self._sandbox)

    def _expression(self, number: int) -> Expression:
        if number not in self._expressions and self._sandbox is not None:
            self._expressions[number] = self._sandbox.expression(number)
        return self._expressions[number]

    def names(self, key: Path | int) -> frozenset[str]:
        """Return the names that a printed slot depends on."""
        if isinstance(key, tuple):
            return frozenset(key[:1])
        return self._sandbox.known.slots[key].names if self._sandbox is not None else frozenset()


@dataclass(frozen=True, slots=True)
class Rendered:
    """A source with sentinels where values will stand, and what is needed to finish it."""

    body: str
    printer: Printer
    constants: Constants
    values: Mapping[str, object]
    known: frozenset[str]
    render: Render

    def split(self, body: str) -> list[str | int]:
        """Return fixed pieces and slot numbers in turn."""
        pieces = re.split(rf"{self.printer.prefix}(\d+)z", body)
        return [int(piece) if index % 2 else piece for index, piece in enumerate(pieces) if index % 2 or piece]

    def shown(self, path: Path) -> str:
        """Return what stands for a system value in this frame: the value if it is known, else its sentinel."""
        if path[0] in self.known:
            return str(look_up(self.values, path) or "")
        return self.printer.sentinel(path)

    def footer(self, seen: str) -> markup.Footer | None:
        """Return the footer for what a reader does not see in the mail, but must (spec §3, R1.16)."""
        constants = self.constants
        squeezed = _WHITE.sub(" ", seen)
        address = _WHITE.sub(" ", constants.postal_address.translate(text.UNSEEN)).strip()
        missing = ""
        if constants.promotional and address not in squeezed:
            missing = constants.postal_address
        wanted = constants.opt_out and not any(self._is_in(path, seen) for path in (_UNSUBSCRIBE, _PREFERENCES))
        if not missing and not wanted:
            return None
        links = [self.shown(path) if wanted else "" for path in (_UNSUBSCRIBE, _PREFERENCES)]
        view = self.shown(_VIEW) if wanted and constants.view else ""
        return markup.Footer(constants.locale, links[0], links[1], view, missing)

    def _is_in(self, path: Path, seen: str) -> bool:
        if path[0] in self.known:
            value = str(look_up(self.values, path) or "")
            return bool(value) and value in seen
        return path in self.printer.slots and self.printer.sentinel(path) in seen


def _finish_subject(rendered: Rendered) -> FramedText:
    pieces = rendered.split(rendered.body)
    return FramedText(rendered.render.slots(rendered.printer), Body(pieces))


def _finish_text(rendered: Rendered) -> FramedText:
    body = rendered.body.strip("\n")
    if footer := rendered.footer(body):
        body = f"{body.rstrip()}\n\n{footer.text()}"
    pieces = rendered.split(body.rstrip("\n") + "\n")
    return FramedText(rendered.render.slots(rendered.printer), Body(pieces))


def _finish_html(rendered: Rendered, *, literal: bool, written: Callable[[], Written]) -> FramedHtml:
    prefix = rendered.printer.prefix
    html = rendered.body
    if not literal:
        _refuse_decisive(rendered)
        html = markup.inline(html)
    html = _with_footer(rendered, html)
    # What a reader of the HTML surely sees is in its text as well: the footer is never missing there.
    walked = text.walk(html, prefix)
    if rendered.constants.pixel:
        html = markup.insert(html, markup.pixel(rendered.printer.sentinel(_PIXEL)))
    html += "\n"
    frame = rendered.render.slots(rendered.printer)
    derived = rendered.split(walked.text)
    openings = _openings(rendered, walked.open_links)
    if rendered.constants.clicking is None:
        return FramedHtml(frame, Body(rendered.split(html)), Body(derived), tuple(openings))
    paths = {index: key for key, index in rendered.printer.slots.items() if isinstance(key, tuple)}
    frames = clicks.Frames(rendered.split, paths, rendered.printer.sentinel)
    found = clicks.rewritten(html, written(), rendered.constants.clicking, frames)
    original = tuple(rendered.split(html))
    return FramedHtml(
        frame, Body(rendered.split(found.html)), Body(derived), tuple(openings), tuple(found.links), original
    )


def _with_footer(rendered: Rendered, html: str) -> str:
    """Return the HTML with all that its reader must see (spec §3, R1.16), or raise ContentError."""
    constants, prefix = rendered.constants, rendered.printer.prefix
    if not constants.promotional and not constants.opt_out:
        return html
    footer = rendered.footer(text.seen(markup.styled(html), prefix))
    if footer is None:
        return html
    # What is left open swallows what stands at the end; the start is the next best place.
    for place in (markup.insert, markup.insert_first):
        candidate = place(html, footer.html())
        if rendered.footer(text.seen(markup.styled(candidate), prefix)) is None:
            return candidate
    raise ContentError("The HTML hides what stands at its end: close its comments and elements.")


def _refuse_decisive(rendered: Rendered) -> None:
    numbers = {index: key for key, index in rendered.printer.slots.items()}
    for sentinel in markup.decisive(rendered.body, rendered.printer.prefix) if numbers else ():
        raise Needed(rendered.render.names(numbers[int(sentinel[len(rendered.printer.prefix) : -1])]))


def _openings(rendered: Rendered, links: Sequence[tuple[str, str]]) -> list[Opening]:
    """Return the links whose text depends on how their values look."""
    trusted = set()
    for key, index in rendered.printer.slots.items():
        declared = rendered.render.types.get(key[0]) if isinstance(key, tuple) and len(key) == 1 else None
        if declared == "url" or (isinstance(key, tuple) and key[0] == "links"):
            trusted.add(index)
    openings = []
    for label, url in links:
        pieces = rendered.split(url)
        begins_well = pieces and (isinstance(pieces[0], str) or (pieces[0] in trusted and len(pieces) == 1))
        told_apart = label == url or ("." not in label and rendered.printer.prefix not in label) or " " in label
        if not begins_well or not told_apart:
            openings.append(Opening(tuple(rendered.split(label)), tuple(pieces), text.same_link(label, url)))
    return openings


class Compiled:
    """One content in one locale, ready to be filled."""

    def __init__(self, content: Content, locale: str | None, *, whole: bool) -> None:
        """Compile the sources, or raise ContentError."""
        self.content, self.digest = content, content.digest()
        self.locale = content.locale_of(locale)
        self.schema = content.schema
        parts = content.parts[self.locale]
        sources = {"subject.txt": parts.subject}
        if parts.html is not None:
            sources["body.html"] = parts.html.rstrip("\n")
        if parts.text is not None:
            sources["body.txt"] = parts.text
        names = frozenset(content.schema.variables)
        sandbox = None
        if not content.literal:
            sandbox = Sandbox({**sources, **content.base}, self.locale, names)
            whole = whole or sandbox.known.captures

        @cache
        def written() -> Written:
            shapes = () if content.literal else [content.base[name] for name in sorted(content.base)]
            return Written([sources["body.html"], *shapes], literal=content.literal)

        def finish_html(rendered: Rendered) -> FramedHtml:
            return _finish_html(rendered, literal=content.literal, written=written)

        renders = {name: Render(content, sandbox, name, source) for name, source in sources.items()}
        self._subject = Skeleton(renders["subject.txt"], _finish_subject, whole=whole)
        self._html = Skeleton(renders["body.html"], finish_html, whole=whole) if "body.html" in renders else None
        self._text = Skeleton(renders["body.txt"], _finish_text, whole=whole) if "body.txt" in renders else None
        #: Else its text is made from its HTML.
        self.has_text = self._text is not None

    def values(
        self, constants: Constants, own: Mapping[str, object], system: Mapping[str, object]
    ) -> dict[str, object]:
        """Return everything templates may print: variables, and what every template has besides.

        `system` holds `links`, `recipient` and the pixel's address (`PIXEL`) of one mail. Raises ContentError where a
        variable is missing or of another type.
        """
        declared = self.schema.variables
        if not own.keys() <= declared.keys():
            own = {name: value for name, value in own.items() if name in declared}
        for problem in self.schema.check(own):
            raise ContentError(problem.message)
        return {**self.schema.complete(own), **constants.context, **system}

    def subject(self, constants: Constants, values: Mapping[str, object]) -> FramedText:
        """Return the frame of the subject, whose lines and spaces are yet to become one line."""
        return self._subject.frame(constants, values)

    def html(self, constants: Constants, values: Mapping[str, object]) -> FramedHtml | None:
        """Return the frame of the HTML part."""
        return self._html.frame(constants, values) if self._html is not None else None

    def text(self, constants: Constants, values: Mapping[str, object]) -> FramedText | None:
        """Return the frame of the text part, None where it is made from the HTML."""
        return self._text.frame(constants, values) if self._text is not None else None


def compile_content(content: Content, locale: str | None = None, *, whole: bool = False) -> Compiled:
    """Compile a content for one locale; done once per version, `whole` renders every mail anew (for comparison)."""
    return Compiled(content, locale, whole=whole)


def rehearse_literal(content: Content) -> None:
    """Find the place of the footer in a literal body's HTML as promotional mail needs it, or raise ContentError."""
    for locale, parts in content.parts.items():
        address = "1 Example Street, Example"
        constants = Constants(locale, postal_address=address, opt_out=True, view=True, promotional=True)
        render = Render(content, None, "body.html", parts.html or "")
        printer, html = Printer(f"q{render.digest.hex()[:12]}x", {}), clean(parts.html or "")
        try:
            _with_footer(Rendered(html, printer, constants, {}, frozenset(), render), html)
        except RecursionError:
            raise ContentError("The HTML is nested too deeply.") from None


def rehearse(content: Content) -> None:
    """Render every locale with the example values, with and without all that is optional, or raise ContentError."""
    links = {name: f"https://example.com/{name}" for name in ("unsubscribe", "preferences", "view")}
    recipient = {"email": "ann@example.com", "name": "Ann"}
    example = content.schema.example() if not content.literal else {}
    for locale in sorted(content.parts):
        compiled = compile_content(content, locale)
        for everything in (True, False):
            constants = Constants(
                locale=locale,
                sender_name="Example",
                postal_address="1 Example Street, Example" if everything else "",
                topic_name="Example",
                opt_out=everything,
                promotional=everything,
                view=everything,
            )
            system = {"links": links if everything else dict.fromkeys(links, ""), "recipient": recipient, PIXEL: None}
            values = compiled.values(constants, example, system)
            values["subject"] = one_line(compiled.subject(constants, values).texts([values])[0])
            if (html := compiled.html(constants, values)) is not None:
                html.fill([values])
            if (plain := compiled.text(constants, values)) is not None:
                plain.texts([values])
