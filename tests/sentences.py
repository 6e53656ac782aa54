"""Every sentence by which our code may refuse something, read out of its source: HOLE is a value."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from pathlib import Path

#: What a value becomes.
HOLE = "\ufffc"
#: How many ways one expression may be read before its parts stand for values.
_MOST = 64
#: How far what a name stands for is followed.
_DEEPEST = 6
_Function = ast.FunctionDef | ast.AsyncFunctionDef


class Source:
    """A module: what its names stand for, and what it may say."""

    def __init__(self, path: Path) -> None:
        """Read a module."""
        self._tree = ast.parse(path.read_text("utf-8"))
        self._functions = {node.name: node for node in ast.walk(self._tree) if isinstance(node, _Function)}
        self._constants = _assigned(self._tree.body)
        self._names: dict[ast.AST, Mapping[str, Sequence[ast.expr]]] = {}

    def said(self, raised: frozenset[str], sayers: Mapping[str, int], tellers: frozenset[str]) -> Iterator[str]:
        """Return the sentences of errors of these names, of calls (name -> place of the sentence) and of functions.

        A teller is a function whose answer is a sentence, or None.
        """
        functions = [node for node in ast.walk(self._tree) if isinstance(node, _Function)]
        for scope in [self._tree, *functions]:
            for node in _own(scope):
                if isinstance(node, ast.Call):
                    place = 0 if (name := _name(node.func)) in raised else sayers.get(name, len(node.args))
                    if place < len(node.args):
                        yield from self._texts(node.args[place], scope)
                elif isinstance(node, ast.Return) and isinstance(scope, _Function) and scope.name in tellers:
                    yield from self._texts(node.value, scope)

    def _texts(self, node: ast.expr | None, scope: ast.AST, depth: int = 0) -> list[str]:
        """Return what an expression may read; what cannot be told is a hole."""
        if depth > _DEEPEST:
            return [HOLE]
        match node:
            case ast.Constant(value=str(text)):
                return [text]
            case ast.Constant(value=None):
                return []
            case ast.JoinedStr(values=parts):
                return self._joined(parts, scope, depth)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._joined([left, right], scope, depth)
            case _:
                meant = self._meant(node, scope)
                return [text for each, place in meant for text in self._texts(each, place, depth + 1)] or [HOLE]

    def _meant(self, node: ast.expr | None, scope: ast.AST) -> list[tuple[ast.expr | None, ast.AST]]:
        """Return the expressions that one may stand for, each with the function that it stands in."""
        match node:
            case ast.FormattedValue(value=value, format_spec=None, conversion=-1):
                return [(value, scope)]
            case ast.IfExp(body=yes, orelse=no):
                return [(yes, scope), (no, scope)]
            case ast.BoolOp(op=ast.Or(), values=values):
                return [(each, scope) for each in values]
            case ast.Name(id=name):
                return [(each, scope) for each in [*self._given(scope).get(name, []), *self._constants.get(name, [])]]
            case ast.Call(func=ast.Name(id=name)) if name in self._functions:
                function = self._functions[name]
                return [(each.value, function) for each in _own(function) if isinstance(each, ast.Return)]
            case ast.Subscript(value=ast.Name(id=name)) | ast.Call(func=ast.Attribute(value=ast.Name(id=name))):
                # A table that is written out: any of its values.
                tables = [each for each in self._constants.get(name, []) if isinstance(each, ast.Dict)]
                return [(value, scope) for table in tables for value in table.values]
            case _:
                return []

    def _joined(self, parts: Sequence[ast.expr], scope: ast.AST, depth: int) -> list[str]:
        read = [self._texts(part, scope, depth + 1) or [""] for part in parts]
        while prod(map(len, read)) > _MOST:
            read = [[HOLE] if texts is max(read, key=len) else texts for texts in read]
        return ["".join(texts) for texts in product(*read)]

    def _given(self, scope: ast.AST) -> Mapping[str, Sequence[ast.expr]]:
        if scope not in self._names:
            self._names[scope] = _assigned(_own(scope))
        return self._names[scope]


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """Return what stands in a function, or in a module outside of all of them."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, _Function):
            yield child
            yield from _own(child)


def _assigned(nodes: Iterator[ast.AST] | Sequence[ast.AST]) -> dict[str, list[ast.expr]]:
    """Return what names are given, all of it."""
    found: dict[str, list[ast.expr]] = {}
    for node in nodes:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found.setdefault(name, []).append(value)
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                for each, value in zip(names, values, strict=False):
                    if isinstance(each, ast.Name):
                        found.setdefault(each.id, []).append(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                found.setdefault(name, []).append(value)
            case ast.NamedExpr(target=ast.Name(id=name), value=value):
                found.setdefault(name, []).append(value)
    return found


def _name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""
