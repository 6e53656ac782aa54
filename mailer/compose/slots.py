"""Finds in the syntax tree what is only printed, so that the rest is rendered once."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from jinja2 import nodes
from jinja2.exceptions import TemplateAssertionError
from jinja2.visitor import NodeTransformer

#: The variables every template has, apart from its own, whose values differ per recipient.
PER_RECIPIENT = frozenset({"links", "recipient", "subject"})
#: And those that are the same for all.
CONSTANT = frozenset({"sender", "features", "locale", "topic"})

_PURE = (
    nodes.Name,
    nodes.Const,
    nodes.TemplateData,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Filter,
    nodes.Test,
    nodes.Concat,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.BinExpr,
    nodes.UnaryExpr,
    nodes.Tuple,
    nodes.List,
    nodes.Keyword,
)
_CAPTURING = (nodes.AssignBlock, nodes.CallBlock, nodes.FilterBlock)


@dataclass(frozen=True, slots=True)
class Slot:
    """An expression that is worked out per recipient: its tree, its names, whether it stands in HTML."""

    expression: nodes.Expr
    names: frozenset[str]
    html: bool


@dataclass(slots=True)
class Known:
    """What is known of a content's sources while they are compiled."""

    variables: frozenset[str]
    #: Names that some source sets at its top; there they may mean something else than the variable.
    shadowed: set[str] = field(default_factory=set)
    #: Some source works on text that was printed before (set blocks, call blocks, macro results).
    captures: bool = False
    slots: list[Slot] = field(default_factory=list)


def note_names(tree: nodes.Template, known: Known) -> None:
    """Take note of the names a source sets, and of whether it captures what was printed."""
    known.shadowed |= _stored(tree) - _parameters(tree)
    if next(tree.find_all(_CAPTURING), None) is not None:
        known.captures = True


def transform(tree: nodes.Template, known: Known, *, html: bool) -> nodes.Template:
    """Return the tree with slots for what is only printed, and a bound on what can grow."""
    names = (known.variables | PER_RECIPIENT | CONSTANT) - known.shadowed - _stored(tree)
    _refuse(tree)
    return _Transformer(known, names, html).visit(tree)  # type: ignore[no-any-return]  # the visitor is untyped


def _parameters(tree: nodes.Template) -> set[str]:
    macros = [macro.args for macro in tree.find_all(nodes.Macro)]
    calls = [call.args for call in tree.find_all(nodes.CallBlock)]
    return {name.name for args in macros + calls for name in args}


def _stored(tree: nodes.Template) -> set[str]:
    stored = {node.name for node in tree.find_all(nodes.Name) if node.ctx != "load"}
    stored |= {node.name for node in tree.find_all(nodes.Macro)}
    stored |= {node.target for node in tree.find_all(nodes.Import)}
    for node in tree.find_all(nodes.FromImport):
        stored |= {name if isinstance(name, str) else name[1] for name in node.names}
    return stored


def _refuse(tree: nodes.Template) -> None:
    for node in tree.find_all((nodes.EvalContextModifier, nodes.ScopedEvalContextModifier)):
        raise TemplateAssertionError("escaping cannot be switched", node.lineno)
    for loop in tree.find_all(nodes.For):
        if loop.recursive:
            raise TemplateAssertionError("a recursive loop is not available", loop.lineno)
    for other in tree.find_all((nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)):
        name_of = getattr(other, "template", None)
        if not isinstance(name_of, nodes.Const) or not isinstance(name_of.value, str):
            raise TemplateAssertionError("the name of a template must be written out", other.lineno)
    for name in tree.find_all(nodes.Name):
        if name.name.startswith("_"):
            raise TemplateAssertionError("a name cannot begin with an underscore", name.lineno)
    for used in tree.find_all((nodes.Filter, nodes.Test)):
        if used.name.startswith("_"):
            raise TemplateAssertionError(f"there is no {used.name}", used.lineno)


class _Transformer(NodeTransformer):
    def __init__(self, known: Known, names: frozenset[str], html: bool) -> None:
        self._known = known
        self._names = names
        self._html = html

    def visit_Output(self, node: nodes.Output) -> nodes.Output:  # noqa: N802
        node.nodes = [self._printed(child) for child in node.nodes]
        return node

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
        size = sum(len(data.data) for child in node.body for data in _within(child))
        self.generic_visit(node)
        cost = nodes.Const(size, lineno=node.lineno)
        node.iter = nodes.Filter(node.iter, "_counted", [cost], [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
        items = nodes.List([self.visit(child) for child in node.nodes], lineno=node.lineno)
        return nodes.Filter(items, "_join", [], [], None, None, lineno=node.lineno)

    def visit_Filter(self, node: nodes.Filter) -> nodes.Filter:  # noqa: N802
        self.generic_visit(node)
        if node.node is not None:
            node.node = _needed(node.node)
        node.args = [_needed(argument) for argument in node.args]
        for keyword in node.kwargs:
            keyword.value = _needed(keyword.value)
        return node

    def visit_Test(self, node: nodes.Test) -> nodes.Test:  # noqa: N802
        self.generic_visit(node)
        if node.name not in ("defined", "undefined"):
            node.node = _needed(node.node)
        node.args = [_needed(argument) for argument in node.args]
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Call:  # noqa: N802
        # The result of a macro that is worked on holds sentinels: nothing can be left open then.
        if not self._is_method(node):
            self._known.captures = True
        return self.generic_visit(node)  # type: ignore[return-value]  # the visitor is loosely typed

    def _printed(self, node: nodes.Expr) -> nodes.Expr:
        """Transform what stands in the output: a call of a macro may print its arguments."""
        if not isinstance(node, nodes.Call) or self._is_method(node):
            return self._argument(node)
        node.args = [self._argument(argument) for argument in node.args]
        for keyword in node.kwargs:
            keyword.value = self._argument(keyword.value)
        return node

    def _argument(self, node: nodes.Expr) -> nodes.Expr:
        if _is_path(node):
            return node
        names = self._slot_names(node)
        expression: nodes.Expr = self.visit(node)
        if names is None:
            return expression
        number = len(self._known.slots)
        self._known.slots.append(Slot(expression, names, self._html))
        # Where all its values are known, the expression itself is rendered; else it is left open.
        steer = nodes.Name(f"_steer_{number}", "load", lineno=node.lineno)
        slot = nodes.Name(f"_slot_{number}", "load", lineno=node.lineno)
        return nodes.CondExpr(steer, expression, slot, lineno=node.lineno)

    def _slot_names(self, node: nodes.Expr) -> frozenset[str] | None:
        """Return the names that the value of a printed expression depends on, or None where it must be rendered."""
        if not all(isinstance(part, _PURE) for part in _parts(node)):
            return None
        names = {part.name for part in _parts(node) if isinstance(part, nodes.Name)}
        changing = frozenset(names - CONSTANT)
        return changing if changing and names <= self._names else None

    def _is_method(self, node: nodes.Call) -> bool:
        root: nodes.Node = node.node
        if not isinstance(root, nodes.Getattr):
            return False
        while isinstance(root, nodes.Getattr | nodes.Getitem):
            root = root.node
        return isinstance(root, nodes.Name | nodes.Const) and (
            not isinstance(root, nodes.Name) or root.name in self._names
        )


def _needed(node: nodes.Expr) -> nodes.Expr:
    """Wrap what a filter or test works on: it needs the value, a stand-in will not do."""
    if isinstance(node, nodes.Const | nodes.TemplateData):
        return node
    return nodes.Filter(node, "_need", [], [], None, None, lineno=node.lineno)


def _is_path(node: nodes.Node) -> bool:
    while isinstance(node, nodes.Getattr):
        node = node.node
    return isinstance(node, nodes.Name | nodes.Const | nodes.TemplateData)


def _parts(node: nodes.Node) -> Iterator[nodes.Node]:
    yield node
    for child in node.iter_child_nodes():
        yield from _parts(child)


def _within(node: nodes.Node) -> Iterator[nodes.TemplateData]:
    return (part for part in _parts(node) if isinstance(part, nodes.TemplateData))
