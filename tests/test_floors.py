"""The house: who may import whom, and what stands where. Read by `ast`; nothing is run."""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for name in ("mailer", "suppression") for path in (ROOT / name).rglob("*.py"))
SOURCES = [path for path in SOURCES if "versions" not in path.parts]

#: Lower floors first. A folder named here is one place; inside it, files may import each other but in no circle.
FLOORS = (
    ("suppression.keys", "suppression.lines", "suppression.rules"),
    ("suppression.address", "suppression.token"),
    ("suppression.entries",),
    (
        *("mailer.barrier", "mailer.errors", "mailer.garbage", "mailer.ids", "mailer.pacing", "mailer.providers"),
        *("mailer.resources", "mailer.signals", "mailer.storable", "mailer.causes", "mailer.targets"),
        "suppression.exchange",
    ),
    ("mailer.relays", "mailer.outside"),
    ("mailer.settings", "mailer.status", "mailer.sealing"),
    ("mailer.links", "mailer.secrets", "mailer.models", "mailer.compose"),
    ("mailer.database", "mailer.events", "mailer.smtpd", "mailer.published"),
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


def imports(path: Path) -> Iterator[tuple[str, ast.stmt]]:
    known = {module_of(source) for source in SOURCES}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole if whole in known else node.module), node


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_a_module_imports_only_from_floors_below(path: Path) -> None:
    module = module_of(path)
    own = place(module)
    if own is None:
        assert module in {"mailer", "suppression", "mailer.__main__", "mailer.migrations.env"}, f"{module} has no floor"
        return
    for name, _node in imports(path):
        other = place(name)
        if other is not None and other != own:
            assert FLOOR[other] < FLOOR[own], f"{module} imports {name}, which is not below it"


def test_no_circle_of_imports() -> None:
    graph = {module_of(path): {name for name, _ in imports(path)} for path in SOURCES}
    done: set[str] = set()

    def walk(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module in done:
            return
        for name in sorted(graph.get(module, ())):
            if name in graph and name != module:
                walk(name, (*way, module))
        done.add(module)

    for module in sorted(graph):
        walk(module, ())


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_suppression_stands_alone(path: Path) -> None:
    if module_of(path).startswith("suppression"):
        third_party = {"sqlmodel", "sqlalchemy", "idna", "suppression"}
        foreign = {name.partition(".")[0] for name, _ in imports(path)} & {"mailer", "starlette", "pydantic", "jinja2"}
        assert not foreign, f"{foreign} not in {third_party}"


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_imports_stand_at_the_top_and_libraries_where_they_belong(path: Path) -> None:
    module = module_of(path)
    tree = ast.parse(path.read_text())
    late = [
        node.lineno
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert not late, f"imports inside functions at lines {late}"
    for name, _node in imports(path):
        allowed = KEPT_TO.get(name.partition(".")[0])
        assert allowed is None or module.startswith(allowed), f"{module} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_what_is_pure_stays_pure(path: Path) -> None:
    module = module_of(path)
    if not module.startswith(PURE) or module in NOT_PURE:
        return
    names = {name.partition(".")[0] for name, _ in imports(path)}
    assert not names & {"asyncio", "sqlalchemy", "sqlmodel", "socket", "time", "subprocess"}, names
    assert "datetime.now(" not in path.read_text()


def test_only_edges_commit() -> None:
    edges = ("mailer.web", "mailer.cli", "mailer.delivery", "mailer.database", "mailer.demo")
    for path in SOURCES:
        if not module_of(path).startswith(edges):
            calls = [
                node.lineno
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "commit"
            ]
            assert not calls, f"{path}: commits at lines {calls}"


def test_events_are_written_in_one_place() -> None:
    """Whoever wrote one elsewhere would forget the messages to webhooks."""
    table = re.compile(r"\b_?event\.insert\(|insert\(_?event\b|\bEvent\((?!Enum)", re.IGNORECASE)
    for path in SOURCES:
        text = path.read_text().replace("asyncio.Event(", "").replace("class Event(", "")
        assert module_of(path) == "mailer.events" or not table.search(text), f"{path}: call mailer.events.write"


def test_files_and_functions_stay_small_and_well_named() -> None:
    for path in SOURCES:
        assert path.stem not in BAD_NAMES, f"{path}: find the thing's own name"
        text = path.read_text()
        assert text.count("\n") <= 420, f"{path} has {text.count(chr(10))} lines: make it a folder"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                assert length <= 60, f"{path}:{node.lineno} {node.name} has {length} lines"


def test_every_public_name_says_what_it_is() -> None:
    missing = []
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        if tree.body and not ast.get_docstring(tree):
            missing.append(str(path))
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            if not node.name.startswith("_") and not ast.get_docstring(node):
                missing.append(f"{path}:{node.lineno} {node.name}")
    assert not missing, "\n".join(missing)


def test_floors_are_written_down_once() -> None:
    names = [name for floor in FLOORS for name in floor]
    assert len(names) == len(set(names))
    assert all(set(a).isdisjoint(b) for a, b in pairwise(FLOORS))
    for name in names:
        path = ROOT / name.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), f"{name} is on a floor and not in the house"
