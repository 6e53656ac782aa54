"""What the hits of one mail say together, and what they add up to."""

from collections import Counter as Sums
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.feedback.tracking import counting, judging
from mailer.feedback.tracking.judging import BURSTS, Seen, judge
from mailer.feedback.tracking.sightings import Class, Verdict
from tests.recipients.world import NOON

HUMAN, MACHINE, PROXY = Verdict(Class.HUMAN, "browser"), Verdict(Class.MACHINE, "scanner"), Verdict(Class.PROXY, "x")


def at(seconds: float, place: int | None = None, verdict: Verdict = HUMAN) -> Seen:
    return Seen(NOON + timedelta(seconds=seconds), place, verdict)


def rules(*hits: Seen) -> list[str]:
    return [hit.verdict.rule for hit in judge(hits, NOON)]


def test_who_comes_right_after_the_mail_is_a_machine() -> None:
    assert rules(at(0.5), at(2.9), at(3), at(60)) == ["at-once", "at-once", "browser", "browser"]
    assert rules(at(1, verdict=MACHINE)) == ["scanner"]
    assert judge([at(1)], None) == [at(1)]


def test_nobody_sees_the_hidden_link() -> None:
    assert rules(at(600, 0), at(601, 1)) == ["hidden-link", "browser"]
    assert rules(at(600, 0, MACHINE)) == ["hidden-link"]


def test_three_links_within_two_seconds_are_a_burst_and_so_is_the_picture_beside_it() -> None:
    burst = [at(43, 1), at(43.4, 2), at(44.9, 3)]
    assert rules(at(42.5), *burst, at(200, 1), at(201)) == ["burst"] * 4 + ["browser"] * 2


@pytest.mark.parametrize(
    "hits",
    [
        [at(43, 1), at(43.4, 2), at(45.1, 3)],
        # The same link again and again is a finger that is not sure whether it worked.
        [at(43, 1), at(43.2, 1), at(43.4, 1), at(43.6, 2)],
        [at(43, 1), at(43.1, 2)],
        [at(43, number) for number in (1, 2)] + [at(43 + 31 * number, number) for number in (3, 4, 5, 6, 7, 8)],
    ],
    ids=["too slow", "one link", "two links", "all, in minutes"],
)
def test_a_person_who_follows_some_links_stays_one(hits: list[Seen]) -> None:
    assert rules(*hits) == ["browser"] * len(hits)


def test_who_follows_link_after_link_within_half_a_minute_is_a_machine() -> None:
    assert rules(*(at(43 + 4 * number, number) for number in range(1, 9))) == ["sweep"] * 8
    assert rules(*(at(43 + 4 * number, number) for number in range(1, 8))) == ["browser"] * 7


def test_hits_are_judged_by_when_they_came_not_by_when_they_were_written() -> None:
    assert rules(at(44, 3), at(43, 1), at(300, 5), at(43.5, 2)) == ["burst", "burst", "browser", "burst"]


hits_of_a_mail = st.lists(
    st.builds(
        at,
        st.integers(0, 400).map(lambda tenths: tenths / 10),
        st.one_of(st.none(), st.integers(0, 9)),
        st.sampled_from([HUMAN, MACHINE, PROXY, Verdict(Class.UNKNOWN, "none")]),
    ),
    max_size=30,
)


@given(hits_of_a_mail)
def test_a_burst_is_found_wherever_a_look_from_each_click_finds_one(hits: list[Seen]) -> None:
    """The same rule, worked out the long way."""
    spans = []
    for burst in BURSTS:
        for first in hits:
            inside = [hit for hit in hits if hit.place and first.at <= hit.at <= first.at + burst.within]
            if first.place and len({hit.place for hit in inside}) >= burst.links:
                spans.append((first.at - burst.within, max(hit.at for hit in inside) + burst.within))
    for hit, judged in zip(hits, judge(hits, None), strict=True):
        expected = hit.place == 0 or hit.verdict.kind is Class.MACHINE or any(a <= hit.at <= b for a, b in spans)
        assert (judged.verdict.kind is Class.MACHINE) is expected


@given(hits_of_a_mail, st.integers(0, 30))
def test_what_is_counted_as_hits_come_is_what_all_of_them_count(hits: list[Seen], cut: int) -> None:
    known = judge(hits[:cut], NOON)
    together = judge([*known, *hits[cut:]], NOON)
    sums = counting.of_mail(known)
    change = counting.of_mail(together)
    change.subtract(counting.of_mail(known))
    sums.update(change)
    assert +sums == counting.of_mail(together)


def test_a_mail_counts_every_hit_and_once_in_the_hour_of_the_first() -> None:
    sums = counting.of_mail([at(7200), at(0), at(10), at(20, 2), at(30, 2), at(40, 1, PROXY), at(50, verdict=MACHINE)])
    whole: Sums[counting.Fact] = Sums()
    for (fact, _hour), amount in sums.items():
        whole[fact] += amount
    assert dict(whole) == {
        (None, "opens_total:human"): 3,
        (None, "opens_total:machine"): 1,
        (None, "opens:human"): 1,
        (None, "opens:machine"): 1,
        (None, "clicks_total:human"): 2,
        (None, "clicks_total:proxy"): 1,
        (None, "clicks:human"): 1,
        (None, "clicks:proxy"): 1,
        (2, "clicks_total:human"): 2,
        (2, "clicks:human"): 1,
        (1, "clicks_total:proxy"): 1,
        (1, "clicks:proxy"): 1,
        (None, "read"): 1,
        (None, "touched"): 1,
        (None, "clicked"): 1,
    }
    assert sums[(None, "opens:human"), NOON] == 1
    assert sums[(None, "opens_total:human"), NOON + timedelta(hours=2)] == 1


@pytest.mark.parametrize(
    ("hit", "counts"),
    [
        (at(60), {"read"}),
        (at(60, None, PROXY), {"read"}),
        (at(60, None, MACHINE), set()),
        (at(60, 1), {"read", "clicked"}),
        (at(60, 1, PROXY), {"clicked"}),
        (at(60, 1, MACHINE), set()),
        (at(60, 1, Verdict(Class.UNKNOWN, "none")), set()),
    ],
    ids=["human open", "proxy open", "machine open", "human click", "proxy click", "machine click", "unknown click"],
)
def test_who_has_read_and_who_has_clicked(hit: Seen, counts: set[str]) -> None:
    assert {metric for _, metric in counting.once(hit)} & {"read", "clicked"} == counts


def test_a_long_burst_is_one_span() -> None:
    flood = [at(43 + number / 10, number % 9 + 1) for number in range(1000)]
    assert {hit.verdict.rule for hit in judge(flood, NOON)} == {"burst"}
    assert len(judging._spans(BURSTS[0], flood)) == 1
