"""Stand-ins for values that are not known yet: they may be printed, and nothing else may depend on them."""

from collections.abc import Callable, Mapping
from typing import NoReturn

#: A way into the values: ("recipient", "name").
Path = tuple[str, ...]

#: The names below a path that may be stood in for as well: {"email": {}, "name": {}}.
Tree = Mapping[str, "Tree"]


class Needed(Exception):
    """The frame depends on a value: wholly, or on whether it is empty only."""

    def __init__(self, names: frozenset[str], truth: Path | None = None) -> None:
        """Keep the names of the variables whose values are needed, or the path whose truth is."""
        self.names = names
        self.truth = truth
        super().__init__(", ".join(sorted(names)))


class Marker:
    """Stands for a value while the frame is rendered; printed, it becomes a sentinel."""

    __slots__ = ("_names", "_path", "_print", "_tree", "_truths")

    def __init__(self, names: frozenset[str], printer: Callable[[], str]) -> None:
        """Make the stand-in for an expression over these names."""
        self._names = names
        self._print = printer
        self._path: Path | None = None
        self._tree: Tree = {}
        self._truths: Mapping[Path, bool] = {}

    def _needed(self, *_: object) -> NoReturn:
        raise Needed(self._names)

    def __bool__(self) -> bool:
        """Return the known truth of the value, or ask for it."""
        if self._path is None:
            raise Needed(self._names)
        if self._path not in self._truths:
            raise Needed(self._names, self._path)
        return self._truths[self._path]

    #: Whatever works on the value depends on it.
    __str__ = __html__ = __format__ = __iter__ = __len__ = __index__ = __hash__ = __eq__ = _needed
    __lt__ = __le__ = __gt__ = __ge__ = __ne__ = __contains__ = __call__ = _needed
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __mod__ = __rmod__ = _needed
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __pow__ = __rpow__ = _needed
    __neg__ = __pos__ = __abs__ = __int__ = __float__ = __round__ = __getitem__ = _needed


class Printer:
    """Makes markers for one rendering and hands out the numbers of what they print."""

    def __init__(self, prefix: str, truths: Mapping[Path, bool]) -> None:
        """Print sentinels that begin with the prefix; the truths are known beforehand."""
        self.prefix = prefix
        self._truths = truths
        #: What each number stands for: a path, or the number of an expression.
        self.slots: dict[Path | int, int] = {}

    def sentinel(self, key: Path | int) -> str:
        """Return what stands in the output for this value: ASCII letters and digits, safe in text, HTML and URLs."""
        return f"{self.prefix}{self.slots.setdefault(key, len(self.slots))}z"

    def path(self, path: Path, tree: Tree) -> Marker:
        """Return the stand-in for a plain value."""
        marker = Marker(frozenset(path[:1]), lambda: self.sentinel(path))
        marker._path, marker._tree, marker._truths = path, tree, self._truths
        return marker

    def expression(self, number: int, names: frozenset[str]) -> Marker:
        """Return the stand-in for an expression that is worked out per recipient."""
        return Marker(names, lambda: self.sentinel(number))

    def below(self, marker: Marker, name: object) -> Marker:
        """Return the stand-in for an attribute, where the declaration knows it."""
        if marker._path is None or not isinstance(name, str) or name not in marker._tree:
            raise Needed(marker._names)
        return self.path((*marker._path, name), marker._tree[name])


def printed(marker: Marker) -> str:
    """Return the sentinel that a printed marker leaves in the output."""
    return marker._print()


def need(value: object) -> object:
    """Return the value, or ask for it where only its stand-in is at hand."""
    if isinstance(value, Marker):
        raise Needed(value._names)
    return value
