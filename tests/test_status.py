"""The table of transitions: complete, reachable, and obeyed by every guarded update in the code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailer.status import CLAIMABLE, TRANSITIONS, WAITING, Status, before

FINAL = {Status.FAILED, Status.SUPPRESSED, Status.CANCELLED, Status.EXPIRED}
ROOT = Path(__file__).parent.parent / "mailer"


def test_every_status_has_a_row() -> None:
    assert set(TRANSITIONS) == set(Status)


def test_what_is_over_stays_over() -> None:
    assert {status for status, targets in TRANSITIONS.items() if not targets} == FINAL


def test_nothing_becomes_what_it_is() -> None:
    assert not [status for status, targets in TRANSITIONS.items() if status in targets]


def test_every_status_can_be_reached_from_the_start() -> None:
    reached = {Status.QUEUED, Status.SCHEDULED, Status.HELD, Status.SUPPRESSED}
    while grown := {target for status in reached for target in TRANSITIONS[status]} - reached:
        reached |= grown
    assert reached == set(Status)


def test_what_was_handed_over_never_waits_again_but_for_a_doubt_that_is_resolved() -> None:
    after_relay = [Status.SENT, Status.DELIVERED, Status.BOUNCED]
    assert not [s for s in after_relay if TRANSITIONS[s] & {*WAITING, Status.SENDING}]


@pytest.mark.parametrize("status", WAITING)
def test_whatever_waits_can_be_suppressed_cancelled_and_expire(status: Status) -> None:
    assert {Status.SUPPRESSED, Status.CANCELLED, Status.EXPIRED} <= TRANSITIONS[status]


def test_before_reads_the_table_backwards() -> None:
    for after in Status:
        assert set(before(after)) == {status for status, targets in TRANSITIONS.items() if after in targets}


def test_only_what_is_due_is_claimed_and_all_of_it_may_be() -> None:
    assert set(CLAIMABLE) < set(WAITING)
    assert set(before(Status.SENDING)) == set(CLAIMABLE)


def status_values(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield each `values(status=Status.X)` of an update, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "values":
            for keyword in node.keywords:
                value = keyword.value
                if keyword.arg == "status" and isinstance(value, ast.Attribute):
                    yield node.lineno, value.attr


def test_every_update_of_a_status_names_the_statuses_it_starts_from() -> None:
    found = 0
    for path in sorted(ROOT.rglob("*.py")):
        source = path.read_text()
        for line, name in status_values(ast.parse(source)):
            statement = "\n".join(source.splitlines()[max(0, line - 16) : line])
            assert Status[name]
            assert "status" in statement.lower().replace("status=status", ""), f"{path.name}:{line} is not guarded"
            found += 1
    assert found >= 3
