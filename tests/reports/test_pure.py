"""Formulas, intervals, estimates, comparisons and sheets: what needs no database."""

import csv
import io
from collections import Counter
from pathlib import Path

import pytest

from mailer.reports import compared, estimated, figures, sheet
from mailer.reports.figures import COUNTS, FIGURES, NAMES, RATES
from mailer.reports.statistics import chance, newcombe, wilson


def numbers(**sums: int) -> dict[str, float | None]:
    """Return the figures of these sums; `opens__human` is the metric `opens:human`."""
    counted = Counter({name.replace("__", ":"): amount for name, amount in sums.items()})
    return {figure.name: figure.value for figure in figures(counted)}


def test_every_figure_has_one_name_and_a_formula_of_figures_above_it() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert all(figure.formula for figure in figures(Counter()))
    for name, parts in RATES.items():
        assert all(part in COUNTS and NAMES.index(part) < NAMES.index(name) for part in parts), name


def test_a_rate_is_none_where_there_is_nothing_to_divide_by_and_never_more_than_all() -> None:
    empty = numbers()
    assert {empty[name] for name in RATES} == {None}
    assert {empty[name] for name in COUNTS} == {0}
    # Who follows a link of a mail whose picture was not loaded read it all the same.
    many = numbers(sent=2, tracked=1, read=2, tracked_links=1, clicked=2)
    assert (many["open_rate"], many["click_rate"], many["click_to_open_rate"]) == (1, 1, 1)


def test_rates_divide_by_what_the_specification_says() -> None:
    found = numbers(
        requested=1000, sent=900, bounced=50, returned=40, hard_bounced=60, soft_bounced=30, tracked=800, read=200,
        opens__machine=500, tracked_links=400, clicked=50, unsubscribed=12, resubscribed=4, complained=2, delivered=860
    )  # fmt: skip
    assert found["bounce_rate"] == round(90 / 950, 4)
    assert found["coverage"] == round(800 / 860, 4)
    assert (found["open_rate"], found["opens_machine"]) == (0.25, 500)
    assert (found["click_rate"], found["click_to_open_rate"]) == (0.125, 0.25)
    assert (found["left"], found["unsubscribe_rate"]) == (8, round(8 / 860, 4))
    assert (found["complaint_rate"], found["delivery_rate"]) == (round(2 / 860, 4), round(860 / 900, 4))


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    # E. B. Wilson's interval as R's prop.test(x, n, correct = FALSE) prints it.
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)],
    ids=["nobody", "everybody", "81 of 263", "15 of 148"],
)
def test_an_interval_of_a_share_is_wilsons(part: int, whole: int, low: float, high: float) -> None:
    assert wilson(part, whole) == pytest.approx((low, high), abs=0.0001)


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    # R. G. Newcombe 1998, table II, method 10.
    [((48, 80), (56, 70), -0.3339, -0.0524), ((3, 10), (9, 10), -0.8091, -0.1705), ((0, 20), (10, 10), -1.0, -0.6791)],
    ids=["56/70 - 48/80", "9/10 - 3/10", "10/10 - 0/20"],
)
def test_an_interval_of_a_difference_is_newcombes(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    assert newcombe(second, first) == pytest.approx((low, high), abs=0.0002)


def test_a_chance_is_that_of_the_pooled_test_of_two_shares() -> None:
    # z = (0.45 - 0.53) / sqrt(0.49 * 0.51 * 2 / 400) = -2.2632; both tails of it.
    assert chance((180, 400), (212, 400)) == pytest.approx(0.02362, abs=0.0001)
    assert chance((20, 100), (20, 100)) == 1
    assert chance((1, 100), (3, 100)) is None
    assert chance((100, 100), (99, 100)) is None


def test_a_comparison_says_what_can_be_seen_and_what_cannot() -> None:
    first = Counter(
        {"sent": 1000, "tracked": 1000, "read": 200, "unsubscribed": 1, "tracked_links": 900, "clicked": 90}
    )
    second = Counter(
        {"sent": 1000, "tracked": 1000, "read": 260, "unsubscribed": 3, "tracked_links": 900, "clicked": 95}
    )
    told = {each.name: each for each in compared(first, second).differences}
    assert told["open_rate"].words.startswith("the second is higher: by +2.")
    assert (told["open_rate"].first, told["open_rate"].second, told["open_rate"].difference) == (0.2, 0.26, 0.06)
    assert told["click_rate"].words.startswith("no difference can be seen")
    assert told["unsubscribe_rate"].words.startswith("too few to tell")
    assert "lower" in {each.name: each for each in compared(second, first).differences}["open_rate"].words
    nothing = {each.name: each for each in compared(first, Counter()).differences}["open_rate"]
    assert (nothing.words, nothing.difference) == ("nothing to compare: one of them has no tracked", None)


def followed(number: int, opened: int, machines: int = 0) -> Counter[str]:
    return Counter({"sent": number, "tracked:individual": number, "read": opened, "opens:machine": machines})


def test_an_estimate_leaves_out_whose_opens_cannot_be_told_and_says_how_many_are_left() -> None:
    told = estimated(
        {"gmail": followed(300, 75, 10), "apple": followed(500, 20, 490), "yahoo": followed(100, 4, 60),
         "other": followed(100, 25)}
    )  # fmt: skip
    assert (told.rate, told.of, told.share) == (0.25, 400, 0.4)
    assert told.interval is not None
    assert told.interval.low < 0.25 < told.interval.high
    left_out = {each.provider for each in told.providers if each.left_out}
    assert left_out == {"apple", "yahoo"}
    assert "40% of the audience" in told.words


def test_an_estimate_of_too_few_or_of_nobodys_is_none() -> None:
    few = estimated({"gmail": followed(29, 10), "apple": followed(500, 20)})
    assert (few.rate, few.interval) == (None, None)
    assert "only 29 mails" in few.words
    aggregate = estimated({"gmail": Counter({"sent": 500, "tracked": 500})})
    assert aggregate.rate is None
    assert "individual" in aggregate.words


def test_a_sheet_is_csv_that_no_spreadsheet_runs() -> None:
    bad = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "＝1"]
    text = sheet(("name", "number"), [*((each, -1.5) for each in bad), ('a "quoted", text\nof two lines', None)])
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == ["name", "number"]
    assert [row[0] for row in rows[1:8]] == [f"'{each}" for each in bad]
    assert {row[1] for row in rows[1:8]} == {"-1.5"}
    assert rows[8] == ['a "quoted", text\nof two lines', ""]
    assert text.endswith("\r\n")


def test_figures_are_shown_in_one_order() -> None:
    assert [figure.name for figure in figures(Counter())] == [each.name for each in FIGURES]


def test_the_page_names_every_figure_with_its_formula() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reports.md").read_text("utf-8")
    for figure in figures(Counter()):
        assert f"| `{figure.name}` | {figure.formula} |" in page
