"""The table of transitions. That every update obeys it is watched by a trigger in all tests of delivery."""

import pytest

from mailer.status import CLAIMABLE, TRANSITIONS, WAITING, Status, before

FINAL = {Status.FAILED, Status.SUPPRESSED, Status.CANCELLED, Status.EXPIRED}


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
    # A campaign that runs gives its held mail away without a queue in between.
    assert set(before(Status.SENDING)) == {*CLAIMABLE, Status.HELD}
