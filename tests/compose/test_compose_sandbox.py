import time
from collections.abc import Callable
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest

from mailer.compose.errors import ContentError
from mailer.compose.skeleton import rehearse
from mailer.compose.templates import Content, Parts, try_in_child
from mailer.compose.variables import Schema
from suppression.rules import Stream

if TYPE_CHECKING:
    from tests.compose.conftest import Make, Read, Wanted

DOUBLING = "{% set a0 = 'x' * 1 %}"
GROWING = "{% set a = 'xxxxxxxxxx' %}" + "{% set a = a ~ a %}" * 40 + "{{ a|length }}"
ADDING = "{% set a = 'xxxxxxxxxx' %}" + "{% set a = a + a %}" * 40 + "{{ a|length }}"
REPLACING = "{% set a = 'xxxxxxxxxx' %}" + "{% set a = a|replace('x', a) %}" * 10
JOINING = "{% set a = 'xxxxxxxxxx' %}" + "{% set a = [a, a, a, a]|join(a) %}" * 20
LISTS = "{% set a = [1, 2, 3, 4] %}" + "{% set a = a + a %}" * 40 + "{{ a|length }}"
BLOCKS = "{% set a %}xxxxxxxxxx{% endset %}" + "{% set a %}{{ a }}{{ a }}{% endset %}" * 40
MACROS = "{% macro m0() %}xxxxxxxxxx{% endmacro %}" + "".join(
    f"{{% macro m{n}() %}}{{{{ m{n - 1}() }}}}{{{{ m{n - 1}() }}}}{{% endmacro %}}" for n in range(1, 40)
)
BIG = "x" * 100_000

CORPUS = [
    "{{ 'a'*100000000 }}",
    "{{ lipsum(n=200000) }}",
    "{{ 9**9999999 % 10 }}",
    "{{ 9 ** 2 }}",
    "{{ '%100000000d' % 1 }}",
    "{{ '%s' % name }}",
    "{{ [0] * 100000000 }}",
    "{{ range(100000000)|list|length }}",
    "{% for i in range(100000) %}x{% endfor %}",
    "{{ cycler(1) }}",
    "{{ joiner() }}",
    "{{ namespace(a=1) }}",
    "{{ dict(a=1) }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ name.__init__.__globals__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ name|attr('__class__') }}",
    "{{ ''|attr('format') }}",
    "{{ '{0:>100000000}'.format(1) }}",
    "{{ '{0.__class__}'.format(name) }}",
    "{{ 'x'.ljust(100000000) }}",
    "{{ 'x'.center(100000000) }}",
    "{{ 'x'.zfill(100000000) }}",
    "{{ '\\t'.expandtabs(100000000) }}",
    "{{ 'x'|center(100000000) }}",
    "{{ 'x'|indent(100000000) }}",
    "{{ 'x'|format(1) }}",
    "{{ 'x'|pprint }}",
    "{{ 'x'|safe }}",
    "{{ [1]|map('upper')|list }}",
    "{{ 1|round(100000000) }}",
    "{{ (1).to_bytes(100000000, 'big') }}",
    "{{ 1|round(1000000000, 'ceil') }}",
    "{{ 10000000000000000000000000000000000000000 * " + "9" * 100 + " * " + "9" * 100 + " }}",
    "{{ words.append(1) }}",
    "{{ words.clear() }}",
    "{% autoescape false %}{{ name }}{% endautoescape %}",
    "{% include '/etc/passwd' %}",
    "{% include '../secret.html' %}",
    "{% extends name %}",
    "{% import 'os' as os %}",
    "{% for a in words recursive %}{{ loop(words) }}{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "{% include 'body.html' %}",
    MACROS + "{{ m39() }}",
    GROWING,
    ADDING,
    REPLACING,
    JOINING,
    LISTS,
    BLOCKS,
    "{% set xs = 'x'|list %}" + "{% for a in 'xxxxxxxxxx' %}" * 6 + "." + "{% endfor %}" * 6,
    "{% for a in 'xxxxxxxxxx' %}{% for b in 'xxxxxxxxxx' %}" + BIG + "{% endfor %}{% endfor %}",
    "{% set y %}{% for a in 'xxxxxxxxxx' %}{% for b in 'xxxxxxxxxx' %}" + BIG + "{% endfor %}{% endfor %}{% endset %}",
    "{{ _slot_0 }}",
    "{{ name|_need }}",
    "{{ nobody }}",
    "{{ name.nothing }}",
    "{{ name() }}",
    "{{ caller() }}",
    "{% if %}",
    "{{ " + "(" * 300 + "1" + ")" * 300 + " }}",
    "{{ " + "9" * 5000 + " }}",
    "{{ name|nosuch }}",
    "{% do 1 %}",
    "{{ 1/0 }}",
]


def content(html: str, **base: str) -> Content:
    return Content(
        name="sample",
        stream=Stream.TRANSACTIONAL,
        parts={"en": Parts("Subject", html)},
        schema=Schema.parse({"name": "string", "words": {"type": "list", "required": False}}),
        base=MappingProxyType(base),
    )


@pytest.mark.parametrize("html", CORPUS, ids=range(len(CORPUS)))
def test_a_template_that_reaches_too_far_is_refused_soon(html: str) -> None:
    start = time.perf_counter()
    with pytest.raises(ContentError) as raised:
        rehearse(content(html))
    assert time.perf_counter() - start < 2
    assert str(raised.value).endswith(".")
    assert "\n" not in str(raised.value)
    assert "_slot" not in str(raised.value).replace("{{ _slot_0 }}", "")


@pytest.mark.parametrize("html", [CORPUS[0], CORPUS[2], MACROS + "{{ m39() }}", "{% if %}"])
def test_the_child_refuses_it_too(html: str) -> None:
    with pytest.raises(ContentError):
        try_in_child(content(html))


def test_the_child_lets_a_good_template_pass() -> None:
    try_in_child(content("<p>{{ name }}</p>{% for word in words %}{{ word }}{% endfor %}"))


def test_the_child_is_bound_in_time() -> None:
    with pytest.raises(ContentError, match=r"takes longer|too much time"):
        try_in_child(content("<p>{{ name }}</p>"), timeout=0.01)


def test_the_child_is_bound_in_memory() -> None:
    with pytest.raises(ContentError, match=r"memory"):
        try_in_child(content("<p>" + "{{ name }}" * 40_000 + "</p>"), timeout=20, memory=1024)


def test_an_error_says_the_line() -> None:
    with pytest.raises(ContentError, match=r"body\.html, line 3: "):
        rehearse(content("<p>\n\n{% if name %}"))
    with pytest.raises(ContentError, match=r"body\.html, line 2: 'nobody' is undefined\."):
        rehearse(content("<p>\n{{ nobody }}"))
    with pytest.raises(ContentError, match=r"_base/x\.html, line 2: "):
        rehearse(content("{% include '_base/x.html' %}", **{"_base/x.html": "\n{{ nobody }}"}))


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("{{ 2 + 3 * 4 - 6 // 2 }} {{ 7 % 4 }}", "11 3"),
        ("{{ 'a' + 'b' }} {{ [1] + [2] }}", "ab [1, 2]"),
        ("{{ name.upper() }} {{ name.split()|join('-') }} {{ name|replace('A', '<') }}", "ANN Ann <nn"),
        ("{{ {'items': 3}.items }} {{ {'a': 1}.get('a') }}", "3 1"),
        ("{{ 3.14159|round(2) }} {{ '12'|int + 1 }} {{ 'x'|int }} {{ -2|abs }} {{ '1.5'|float }}", "3.14 13 0 2 1.5"),
        (
            "{{ [3, 1, 2]|sort|first }} {{ [1, 2]|last }} {{ ' a '|trim }} {{ 'ab cd'|title }} {{ 'x'|count }}",
            "1 2 a Ab Cd 1",
        ),
        ("{{ none|default('d') }} {{ ''|d('e', true) }} {{ 'é'|e }}", "d e é"),
        ("{{ {'amount': '1234.5', 'currency': 'EUR'}|money }}", "€1,234.50"),
        ("{{ {'amount': -3, 'currency': 'JPY'}|money }} {{ {'amount': 1, 'currency': 'PLN'}|money }}", "−¥3 1.00 zł"),
        ("{{ '2027-03-01'|date }}; {{ '2027-03-01T10:42:00Z'|datetime }}", "1 March 2027; 1 March 2027, 10:42 UTC"),
        ("{{ '2027-03-01T10:42:00-03:30'|datetime }}", "1 March 2027, 10:42 UTC-03:30"),
    ],
)
def test_what_templates_may_do_works(make: "Make", read: "Callable[[Wanted], Read]", printed: str, shown: str) -> None:
    order = make(html=f"<p>{printed}</p>", variables={"name": "string"}, values={"name": "Ann"})
    assert read(order).text == shown + "\n"


def test_sums_and_dates_speak_ukrainian(make: "Make", read: "Callable[[Wanted], Read]") -> None:
    html = "<p>{{ price|money }}, {{ '2027-03-01'|date }}</p>"
    values = {"price": {"amount": "1234.5", "currency": "EUR"}}
    letter = read(make(html=html, locale="uk", variables={"price": "money"}, values=values))
    assert "1\xa0234,50\xa0€" in letter.html.replace("&nbsp;", "\xa0")
    assert letter.text == "1 234,50 €, 1 березня 2027\n"


def test_a_value_is_never_a_template(make: "Make", read: "Callable[[Wanted], Read]") -> None:
    order = make(html="<p>{{ name }}</p>", variables={"name": "string"}, values={"name": "{{ 7*7 }}"})
    assert read(order).text == "{{ 7*7 }}\n"


def test_a_long_list_is_cut_short(make: "Make") -> None:
    order = make(
        html="{% for word in words %}x{% endfor %}",
        variables={"words": {"type": "list"}},
        values={"words": ["x"] * 10_001},
    )
    with pytest.raises(ContentError, match="10,000 steps"):
        order.compose()
