"""The house: who may import whom, and what stands where. Read by `ast`; nothing is run."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for name in ("mailer", "suppression") for path in (ROOT / name).rglob("*.py"))
SOURCES = [path for path in SOURCES if "versions" not in path.parts]

#: Lower floors first. A folder named here is one place; inside it, files may import each other but in no circle.
FLOORS = (
    ("suppression.keys", "suppression.lines", "suppression.rules"),
    ("suppression.address", "suppression.token"),
    ("suppression.entries",),
    (
        *("mailer.barrier", "mailer.errors", "mailer.ids", "mailer.interpreter", "mailer.pacing", "mailer.providers"),
        *("mailer.resources", "mailer.signals", "mailer.storable", "mailer.causes", "mailer.targets"),
        "suppression.exchange",
    ),
    ("mailer.relays", "mailer.outside"),
    ("mailer.settings", "mailer.status", "mailer.sealing"),
    ("mailer.links", "mailer.secrets", "mailer.models", "mailer.compose"),
    ("mailer.database", "mailer.events", "mailer.sizes", "mailer.smtpd", "mailer.published"),
    ("mailer.counters", "mailer.migrate", "mailer.drafts", "mailer.inbox"),
    ("mailer.tenancy", "mailer.people", "mailer.answers", "mailer.halts", "mailer.postmaster", "mailer.audit"),
    (
        *("mailer.catalogue", "mailer.feedback", "mailer.reports", "mailer.emails", "mailer.uncertain"),
        *("mailer.keyring", "mailer.rekeying", "mailer.webhooks", "mailer.users"),
    ),
    ("mailer.submission", "mailer.delivery", "mailer.alarms"),
    (
        "mailer.campaigns",
        "mailer.erasure",
        "mailer.exchanging",
        "mailer.moving",
        "mailer.profiles",
        "mailer.subscribing",
    ),
    ("mailer.tasks", "mailer.clock", "mailer.streams", "mailer.receiving"),
    ("mailer.service",),
    ("mailer.web",),
    ("mailer.demo", "mailer.bench", "mailer.doctor"),
    ("mailer.cli",),
)
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
BAD_NAMES = {"utils", "helpers", "common", "base", "core", "manager"}
#: Library -> where it may be imported.
KEPT_TO = {
    "jinja2": ("mailer.compose", "mailer.web"),
    "imap_tools": ("mailer.feedback.inbound.imap",),
    "aiosmtplib": ("mailer.delivery.relay",),
    "dramatiq": ("mailer.tasks",),
    "starlette": ("mailer.web",),
    "uvicorn": ("mailer.web",),
    "typer": ("mailer.cli",),
    "dns": ("mailer.published",),
    "argon2": ("mailer.users.passwords",),
    "segno": ("mailer.web.dashboard",),
    "httpcore2": ("mailer.outside",),
    "flufl": ("mailer.feedback.inbound.parsing.last_resort",),
    "cryptography": (
        *("mailer.compose.dkim", "mailer.sealing", "mailer.published", "mailer.keyring"),
        "mailer.feedback.inbound.providers.signatures",
        "mailer.feedback.inbound.providers.sendgrid",
    ),
}
PURE = (
    *(
        "mailer.compose",
        "mailer.links",
        "mailer.targets",
        "suppression.rules",
        "suppression.address",
        "suppression.token",
    ),
    *("mailer.causes", "mailer.feedback.inbound.parsing", "mailer.feedback.inbound.providers"),
    *("mailer.users.totp", "mailer.users.permissions"),
)
#: The trial runs a tenant's template in a child process: the one place of `compose` that has a clock and a process.
#: Of what providers tell only the tokens that were heard lie in the database.
NOT_PURE = {"mailer.compose.trial", "mailer.compose.templates", "mailer.feedback.inbound.providers.tokens"}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def place(module: str) -> str | None:
    while module:
        if module in FLOOR:
            return module
        module = module.rpartition(".")[0]
    return None


KNOWN = {module_of(source): source for source in SOURCES}


class Source(NamedTuple):
    """What the rules ask of a file: its whole tree is walked once."""

    text: str
    #: Modules, and the names from elsewhere as their modules.
    imports: tuple[str, ...]
    #: Lines of imports inside functions, and of calls of a method `commit`.
    late: tuple[int, ...]
    commits: tuple[int, ...]
    #: Functions' lines, names and numbers of lines.
    functions: tuple[tuple[int, str, int], ...]
    #: What is public and has no docstring.
    silent: tuple[str, ...]


@cache
def source(module: str) -> Source:
    path = KNOWN[module]
    text = path.read_text()
    tree = ast.parse(text)
    found: list[str] = []
    late, commits, functions = [], [], []
    # Each node, and whether it stands in a function.
    waiting: list[tuple[ast.AST, bool]] = [(tree, False)]
    while waiting:
        node, inside = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            if inside:
                late.append(node.lineno)
            if isinstance(node, ast.Import):
                found += [alias.name for alias in node.names]
            elif node.module:
                wholes = [f"{node.module}.{alias.name}" for alias in node.names]
                found += [whole if whole in KNOWN else node.module for whole in wholes]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "commit":
            commits.append(node.lineno)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions.append((node.lineno, node.name, (node.end_lineno or node.lineno) - node.lineno + 1))
            inside = True
        waiting += [(child, inside) for child in ast.iter_child_nodes(node)]
    return Source(text, tuple(found), tuple(late), tuple(commits), tuple(functions), tuple(_silent(tree, path)))


def _silent(tree: ast.Module, path: Path) -> Iterator[str]:
    if tree.body and not ast.get_docstring(tree):
        yield str(path)
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield f"{path}:{node.lineno} {node.name}"


# A rule looks at all files in one test and names every breach: a test a file and rule were a quarter of all tests.
def test_a_module_imports_only_from_floors_below() -> None:
    wrong = []
    for module in KNOWN:
        own = place(module)
        if own is None:
            if module not in {"mailer", "suppression", "mailer.__main__", "mailer.migrations.env"}:
                wrong.append(f"{module} has no floor")
            continue
        for name in source(module).imports:
            other = place(name)
            if other is not None and other != own and FLOOR[other] >= FLOOR[own]:
                wrong.append(f"{module} imports {name}, which is not below it")
    assert not wrong, "\n".join(wrong)


def test_no_circle_of_imports() -> None:
    done: set[str] = set()

    def walk(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module in done:
            return
        for name in sorted(set(source(module).imports)):
            if name in KNOWN and name != module:
                walk(name, (*way, module))
        done.add(module)

    for module in sorted(KNOWN):
        walk(module, ())


def test_suppression_stands_alone() -> None:
    third_party = {"sqlmodel", "sqlalchemy", "idna", "suppression"}
    foreign = [
        f"{module} imports {name}, not in {third_party}"
        for module in KNOWN
        if module.startswith("suppression")
        for name in source(module).imports
        if name.partition(".")[0] in {"mailer", "starlette", "pydantic", "jinja2"}
    ]
    assert not foreign, "\n".join(foreign)


def test_imports_stand_at_the_top() -> None:
    late = {module: source(module).late for module in KNOWN if source(module).late}
    assert not late, f"imports inside functions, at lines: {late}"


def test_libraries_stand_where_they_belong() -> None:
    wrong = [
        f"{module} imports {name}"
        for module in KNOWN
        for name in source(module).imports
        if not module.startswith(KEPT_TO.get(name.partition(".")[0], ""))
    ]
    assert not wrong, "\n".join(wrong)


def test_what_is_pure_stays_pure() -> None:
    wrong = []
    for module in KNOWN:
        if not module.startswith(PURE) or module in NOT_PURE:
            continue
        names = {name.partition(".")[0] for name in source(module).imports}
        edges = sorted(names & {"asyncio", "sqlalchemy", "sqlmodel", "socket", "time", "subprocess"})
        wrong += [f"{module} imports {name}" for name in edges]
        wrong += [f"{module} asks for the time"] * ("datetime.now(" in source(module).text)
    assert not wrong, "\n".join(wrong)


def test_only_edges_commit() -> None:
    edges = ("mailer.web", "mailer.cli", "mailer.delivery", "mailer.database", "mailer.demo")
    wrong = {name: source(name).commits for name in KNOWN if not name.startswith(edges) and source(name).commits}
    assert not wrong, f"commits at lines: {wrong}"


def test_events_are_written_in_one_place() -> None:
    """Whoever wrote one elsewhere would forget the messages to webhooks."""
    table = re.compile(r"\b_?event\.insert\(|insert\(_?event\b|\bEvent\((?!Enum)", re.IGNORECASE)
    for module in KNOWN:
        text = source(module).text.replace("asyncio.Event(", "").replace("class Event(", "")
        assert module == "mailer.events" or not table.search(text), f"{module}: call mailer.events.write"


def test_files_and_functions_stay_small_and_well_named() -> None:
    for module, path in KNOWN.items():
        assert path.stem not in BAD_NAMES, f"{path}: find the thing's own name"
        lines = source(module).text.count("\n")
        assert lines <= 420, f"{path} has {lines} lines: make it a folder"
        for line, name, length in source(module).functions:
            assert length <= 60, f"{path}:{line} {name} has {length} lines"


def test_every_public_name_says_what_it_is() -> None:
    missing = [each for module in KNOWN for each in source(module).silent]
    assert not missing, "\n".join(missing)


def test_floors_are_written_down_once() -> None:
    names = [name for floor in FLOORS for name in floor]
    assert len(names) == len(set(names))
    assert all(set(a).isdisjoint(b) for a, b in pairwise(FLOORS))
    for name in names:
        path = ROOT / name.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), f"{name} is on a floor and not in the house"
