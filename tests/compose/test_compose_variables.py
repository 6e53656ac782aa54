import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.compose.errors import ContentError
from mailer.compose.variables import Schema

GOOD: dict[str, list[object]] = {
    "string": ["", "Ann", "Зоя 🎉"],
    "text": ["", "a\nb\tc\r\n"],
    "url": ["https://x.example", "http://x.example:8080/a?b=1&c=%20#d", "HTTPS://приклад.укр/я"],
    "email": ["ann@example.com", "пошта@приклад.укр"],
    "integer": [0, -5, 10**12],
    "number": [0, 1.5, -2],
    "boolean": [True, False],
    "money": [
        {"amount": "12.50", "currency": "EUR"},
        {"amount": -3, "currency": "JPY"},
        {"amount": 0.1, "currency": "USD"},
    ],
    "date": ["2027-03-01", "2028-02-29"],
    "datetime": ["2027-03-01T09:30:00Z", "2027-03-01t09:30:00.123456+02:00"],
    "list": [[], [1, "a"]],
    "object": [{}, {"a": 1}],
}
BAD: dict[str, list[object]] = {
    "string": [1, "a\nb", "a\x00", "a\u2028b", ["a"], "\ud800"],
    "text": [1, "a\x00", "a\x1b", "\ud800"],
    "url": ["", "x.example", "javascript:alert(1)", "https://", "https://x.example/a b", "https://x\n", "ftp://x", 1],
    "email": ["", "ann", "ann@", "a b@example.com", "ann@example.com\r\n", 1],
    "integer": [1.0, "1", True],
    "number": ["1", True, float("nan"), float("inf")],
    "boolean": [1, "true", "yes"],
    "money": ["12", {"amount": "12"}, {"amount": "1,5", "currency": "EUR"}, {"amount": 1, "currency": "eur"},
              {"amount": True, "currency": "EUR"},
              {"amount": 1, "currency": "EUR", "x": 1}],
    "date": ["2027-02-30", "1 March", "20270301", "2027-03-01T00:00:00Z", 1],
    "datetime": ["2027-03-01", "2027-03-01T09:30:00", "2027-03-01T25:00:00Z", 1],
    "list": ["a", {}, 1],
    "object": ["a", [], 1],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in GOOD.items() for value in values])
def test_a_value_of_its_type_passes(kind: str, value: object) -> None:
    assert Schema.parse({"it": {"type": kind}}).check({"it": value}) == []


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in BAD.items() for value in values])
def test_a_value_of_another_type_is_one_sentence(kind: str, value: object) -> None:
    problems = Schema.parse({"it": {"type": kind}}).check({"it": value})
    assert [problem.path for problem in problems] == ["it"]
    assert problems[0].message.startswith(
        f"The variable it must be a{'n' if kind[0] in 'eio' else ''}".replace("a money", "money")[:24]
    )
    assert problems[0].message.endswith(".")


def test_what_is_missing_or_unknown_is_named() -> None:
    schema = Schema.parse({"name": "string", "nick": {"type": "string", "required": False}})
    assert [tuple(problem) for problem in schema.check({"nick": None, "other": 1})] == [
        ("name", "The variable name is missing; it must be a string: one line of text without control characters."),
        ("other", "The variable other is not declared here."),
    ]


def test_a_problem_deep_inside_says_where() -> None:
    items = {"type": "object", "fields": {"title": "string", "url": {"type": "url", "required": False}}}
    schema = Schema.parse({"articles": {"type": "list", "items": items}})
    problems = schema.check({"articles": [{"title": "a"}, {"url": "x", "more": 1}]})
    assert [problem.path for problem in problems] == ["articles[1].title", "articles[1].url", "articles[1].more"]
    assert schema.complete({"articles": [{"title": "a"}]}) == {"articles": [{"title": "a", "url": None}]}


def test_defaults_stand_for_what_is_absent() -> None:
    schema = Schema.parse({"a": {"type": "string", "default": "x"}, "b": {"type": "integer", "required": False}})
    assert schema.check({}) == []
    assert schema.complete({}) == {"a": "x", "b": None}
    assert schema.complete({"a": "y", "b": 2}) == {"a": "y", "b": 2}


def test_examples_pass_their_own_check() -> None:
    declared: dict[str, object] = {kind: {"type": kind} for kind in GOOD}
    declared["rows"] = {"type": "list", "items": {"type": "object", "fields": {"when": "date", "price": "money"}}}
    schema = Schema.parse(declared)
    assert schema.check(schema.example()) == []


@pytest.mark.parametrize(
    "declared",
    [
        {"x": {"type": "nonsense"}},
        {"x": {}},
        {"x": 3},
        {"X": "string"},
        {"_x": "string"},
        {"links": "string"},
        {"x": {"type": "string", "examples": "a"}},
        {"x": {"type": "integer", "default": "a"}},
        {"x": {"type": "integer", "example": "a"}},
        {"x": {"type": "string", "required": "yes"}},
        {"x": {"type": "string", "items": {"type": "string"}}},
        {"x": {"type": "list", "fields": {"a": "string"}}},
        {"x": {"type": "object", "fields": 3}},
    ],
)
def test_a_wrong_declaration_is_one_sentence(declared: dict[str, object]) -> None:
    with pytest.raises(ContentError, match=r"^The .*\.$"):
        Schema.parse(declared)


def test_the_json_schema_says_the_same() -> None:
    schema = Schema.parse(
        {"name": {"type": "string", "description": "Who."}, "price": {"type": "money", "required": False}}
    )
    described = schema.json_schema()
    assert described["required"] == ["name"]
    assert described["additionalProperties"] is False


def test_a_check_is_quick() -> None:
    schema = Schema.parse({"a": "string", "b": "text", "c": "url", "d": "integer", "e": "date"})
    values = {"a": "Ann", "b": "x\ny", "c": "https://x.example/a", "d": 3, "e": "2027-03-01"}
    start = time.perf_counter()
    for _ in range(1000):
        schema.check(values)
    assert (time.perf_counter() - start) / 1000 < 200e-6


@given(st.dictionaries(st.sampled_from(["name", "story", "other"]), st.one_of(st.none(), st.integers(), st.text())))
def test_words_alone_are_judged_as_beside_anything_else(values: dict[str, object]) -> None:
    """Where all variables are words a look at all of them tells nearly always: it says what single looks would say."""
    declared = {"name": "string", "story": {"type": "text", "default": "None."}}
    words, mixed = Schema.parse(declared), Schema.parse({**declared, "flag": {"type": "boolean", "required": False}})
    assert words.check(values) == mixed.check(values)
    assert {**words.complete(values), "flag": None} == mixed.complete(values)
