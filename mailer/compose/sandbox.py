"""Where templates run: plain data, few filters, and a bound on everything that can grow (R10.4)."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar

from jinja2 import nodes, pass_eval_context
from jinja2.environment import Environment, Template
from jinja2.exceptions import SecurityError, TemplateError, TemplateNotFound, TemplateSyntaxError
from jinja2.loaders import BaseLoader
from jinja2.runtime import Context, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from mailer.compose import filters, slots
from mailer.compose.errors import ContentError
from mailer.compose.markers import Marker, Needed, Printer, need, printed
from mailer.targets import Ours

LONGEST_SOURCE = 512 * 1024
_MOST_STEPS = 10_000
_MOST_CHARACTERS = 4 * filters.LONGEST
_LONGEST_NUMBER = 256  # bits
_DEEPEST = 150

_STRING_METHODS = frozenset(
    {"upper", "lower", "title", "capitalize", "strip", "lstrip", "rstrip", "startswith", "endswith", "split"}
)
_DATA_METHODS: dict[type, frozenset[str]] = {
    str: _STRING_METHODS,
    Markup: _STRING_METHODS,
    Ours: _STRING_METHODS,
    dict: frozenset({"keys", "values", "items", "get"}),
    list: frozenset({"index", "count"}),
    tuple: frozenset({"index", "count"}),
}
_PLAIN = (str, dict, list, tuple, int, float, bool, type(None))
_OWN_NAMES = re.compile(r"'_(?:steer|slot)_\d+'")


class Budget:
    """What one rendering may still spend."""

    __slots__ = ("characters", "depth", "printer", "steps")

    def __init__(self, printer: Printer | None) -> None:
        """Begin with the whole budget; the printer makes the stand-ins of this rendering."""
        self.steps = _MOST_STEPS
        self.characters = _MOST_CHARACTERS
        self.depth = 0
        self.printer = printer

    def step(self, characters: int = 0) -> None:
        """Pay for one turn of a loop, one call, one include."""
        self.steps -= 1
        self.spend(characters)
        if self.steps < 0:
            raise SecurityError(f"the template takes more than {_MOST_STEPS:,} steps")

    def spend(self, characters: int) -> None:
        """Pay for characters that were printed."""
        self.characters -= characters
        if self.characters < 0:
            raise SecurityError("the template prints too much")


_budget: ContextVar[Budget] = ContextVar("budget")


@pass_eval_context
def _finalize(context: nodes.EvalContext, value: object) -> object:
    """Print a stand-in as its sentinel, and nothing for what is absent."""
    if isinstance(value, Marker):
        return Markup(printed(value)) if context.autoescape else printed(value)  # noqa: S704  (letters and digits)
    if value is None:
        return ""
    if isinstance(value, str):
        budget = _budget.get(None)
        if budget is not None:
            budget.spend(len(value))
    return value


def _counted(values: Iterable[object] | None, characters: int = 0) -> Iterator[object]:
    """Pay for each turn of a loop."""
    budget = _budget.get()
    for value in () if values is None else values:
        budget.step(characters)
        yield value


class _Sources(BaseLoader):
    """The sources of one content, and no file."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._sources = sources

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, None]:
        """Return one source; its name stands for its file in tracebacks."""
        if template not in self._sources:
            raise TemplateNotFound(template)
        return self._sources[template], template, None


class Sandbox(ImmutableSandboxedEnvironment):
    """One content's templates in one locale, with everything they may reach."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self, sources: Mapping[str, str], locale: str, variables: frozenset[str]) -> None:
        """Compile every source, or raise ContentError with the line that is wrong."""
        super().__init__(
            loader=_Sources(sources),
            undefined=StrictUndefined,
            autoescape=lambda name: name is not None and name.endswith(".html"),
            finalize=_finalize,
            keep_trailing_newline=True,
            auto_reload=False,
            cache_size=-1,
        )
        self.locale = locale
        self.globals.clear()
        self.filters.clear()
        self.filters.update(filters.ALLOWED)
        self.filters.update({"_counted": _counted, "_need": need, "_join": filters.concatenate})
        for name in ("callable", "filter", "test", "sameas", "escaped"):
            self.tests.pop(name, None)
        self.known = slots.Known(variables)
        self._sources_by_name = sources
        self._load(sources)

    def _load(self, sources: Mapping[str, str]) -> None:
        for name, source in sources.items():
            if len(source) > LONGEST_SOURCE:
                raise ContentError(f"{name} is longer than {LONGEST_SOURCE // 1024} KB.")
            with Explained(name):
                slots.note_names(super()._parse(source, name, name), self.known)
        for name in sources:
            with Explained(name):
                self.get_template(name)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """Parse, refuse what cannot be bounded, and put slots where values are only printed."""
        tree = super()._parse(source, name, filename)
        html = name is not None and name.endswith(".html")
        tree = slots.transform(tree, self.known, html=html)
        tree.set_environment(self)
        return tree

    def render(self, name: str, values: Mapping[str, object], printer: Printer | None = None) -> str:
        """Render one source within the budget, or raise ContentError; Needed passes through."""
        token = _budget.set(Budget(printer))
        pieces: list[str] = []
        total = 0
        try:
            with Explained(name):
                for piece in self.get_template(name).generate(values):
                    total += len(piece)
                    if total > filters.LONGEST:
                        raise SecurityError(f"the template prints more than {filters.LONGEST // 1024} KB")
                    pieces.append(piece)
        finally:
            _budget.reset(token)
        return "".join(pieces)

    def evaluate(self, expressions: Iterable["Expression"], values: Mapping[str, object]) -> list[object]:
        """Work out expressions over the values of one recipient."""
        token = _budget.set(Budget(None))
        try:
            with Explained("an expression"):
                return [expression(values) for expression in expressions]
        finally:
            _budget.reset(token)

    def expression(self, number: int) -> "Expression":
        """Compile the expression of a slot."""
        slot = self.known.slots[number]
        assign = nodes.Assign(nodes.Name("result", "store", lineno=1), slot.expression, lineno=1)
        tree = nodes.Template([assign], lineno=1)
        tree.set_environment(self)
        name = "slot.html" if slot.html else "slot.txt"
        with Explained("an expression"):
            code = self.compile(tree, name=name, filename=name)
            return Expression(Template.from_code(self, code, {}))

    def get_template(
        self,
        name: str | Template,
        parent: str | None = None,
        globals: Mapping[str, object] | None = None,  # noqa: A002
    ) -> Template:
        """Load a source of this content; each include is paid for."""
        budget = _budget.get(None)
        if budget is not None:
            budget.step(len(self._sources_by_name.get(name, "")) if isinstance(name, str) else 0)
        return super().get_template(name, parent, dict(globals) if globals else None)

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        """Calculate with numbers of ordinary size; join short texts and lists; nothing else (R10.4)."""
        if operator == "**":
            raise SecurityError("** is not available in templates")
        if isinstance(left, int | float) and isinstance(right, int | float):
            for number in (left, right):
                if isinstance(number, int) and number.bit_length() > _LONGEST_NUMBER:
                    raise SecurityError("a number grows too large")
        elif operator != "+" or not isinstance(left, str | list) or not isinstance(right, str | list):
            if isinstance(left, Marker) or isinstance(right, Marker):
                need(left)
                need(right)
            raise SecurityError(f"{operator} takes numbers")
        elif len(left) + len(right) > filters.LONGEST:
            raise SecurityError("a text grows too long")
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: object, attr: str, value: object) -> bool:
        """Data has few methods, none of which can make much out of little."""
        if isinstance(obj, _PLAIN):
            return attr in _DATA_METHODS.get(type(obj), frozenset())
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: object) -> None:
        """Offer no str.format: a width in it prints without bound."""

    def getattr(self, obj: object, attribute: str) -> object:
        """Read a key before a method: an object's field may be called `items`."""
        if isinstance(obj, Marker):
            return self._below(obj, attribute)
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def getitem(self, obj: object, argument: object) -> object:
        """Read an item; of a stand-in only what is declared."""
        if isinstance(obj, Marker):
            return self._below(obj, argument)
        need(argument)
        return super().getitem(obj, argument)

    def _below(self, marker: Marker, name: object) -> Marker:
        printer = _budget.get().printer
        if printer is None:
            need(marker)
            raise SecurityError("a stand-in outside its rendering")
        return printer.below(marker, name)

    def call(__self, __context: Context, __obj: object, *args: object, **kwargs: object) -> object:  # noqa: N805
        """Call a macro or a method; each call is paid for, and calls do not nest without end."""
        budget = _budget.get(None)
        if budget is None:
            raise SecurityError("nothing can be called here")
        budget.step()
        budget.depth += 1
        if budget.depth > _DEEPEST:
            raise SecurityError("calls are nested too deeply")
        try:
            need(__obj)
            return super().call(__context, __obj, *args, **kwargs)
        finally:
            budget.depth -= 1


class Expression:
    """A compiled expression, worked out per recipient."""

    __slots__ = ("_template",)

    def __init__(self, template: Template) -> None:
        """Keep the compiled code."""
        self._template = template

    def __call__(self, values: Mapping[str, object]) -> object:
        """Return what the expression comes to for these values."""
        context = self._template.new_context(values)  # type: ignore[arg-type]  # a read-only mapping will do
        for _ in self._template.root_render_func(context):
            pass
        return context.vars["result"]


class Explained:
    """Turns whatever a template can do wrong into a ContentError of one sentence with its line."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        """Explain errors of this source."""
        self._name = name

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        """Say what went wrong and where."""
        if error is None or isinstance(error, Needed | ContentError) or not isinstance(error, Exception):
            return
        if isinstance(error, TemplateSyntaxError):
            raise ContentError(f"{error.name or self._name}, line {error.lineno}: {_sentence(error)}") from None
        raise ContentError(f"{self._where(error)}: {_sentence(error)}") from None

    def _where(self, error: BaseException) -> str:
        where = self._name
        trace = error.__traceback__
        while trace is not None:
            name = trace.tb_frame.f_code.co_filename
            if name.endswith((".html", ".txt")) and not name.startswith("slot."):
                where = f"{name}, line {trace.tb_lineno}"
            trace = trace.tb_next
        return where


def _sentence(error: Exception) -> str:
    if isinstance(error, TemplateNotFound):
        return f"there is no template {error.name!r} to extend or include."
    if isinstance(error, MemoryError):
        return "the template takes too much memory or is nested too deeply."
    if isinstance(error, RecursionError):
        return "the template is nested too deeply."
    if isinstance(error, TemplateSyntaxError):
        text = str(error.message)
    elif isinstance(error, TemplateError):
        text = str(error.message or error)
    else:
        text = str(error) or type(error).__name__
    return _OWN_NAMES.sub("a variable", text.partition("\n")[0])[:300].rstrip(".") + "."
