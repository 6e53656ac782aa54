from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from mailer.compose.constants import Constants
from mailer.compose.errors import ContentError
from mailer.compose.letter import Promotional, Recipient, Transactional
from mailer.compose.skeleton import compile_content
from mailer.compose.templates import load_folder

if TYPE_CHECKING:
    from tests.compose.conftest import Fields, Make, Read, Wanted

Reader = Callable[["Wanted"], "Read"]

TEMPLATES = sorted(path.parent for path in (Path(__file__).parents[2] / "templates" / "email").glob("*/template.toml"))
LAYOUT = (
    "<html><head><style>p{color:red} .x{color:blue}</style></head><body>"
    "{% block content %}{% endblock %}"
    "{% if features.opt_out %}<a href='{{ links.unsubscribe }}'>Leave</a>{% endif %}</body></html>"
)
PARTS = (
    '{% macro button(url, label) %}<a href="{{ url }}">{{ label }}</a>{% endmacro %}'
    "{% macro maybe(label) %}{% if label %}<b>{{ label }}</b>{% else %}<i>none</i>{% endif %}{% endmacro %}"
)
BASE = {"_base/layout.html": LAYOUT, "_base/parts.html": PARTS}
EXTEND = '{% extends "_base/layout.html" %}'
IMPORT = '{% from "_base/parts.html" import button, maybe %}'

#: Every way in which a variable can be met; `True`: only filled per recipient, nothing steers.
FORMS: list[tuple[str, bool]] = [
    ("<p>{{ name }}</p>", True),
    ("<p>Hello {{ name }}, bye</p>", True),
    ("<p>{{ name|upper }} {{ name|default('x', true) }} {{ name|e }}</p>", True),
    ("<p>{{ 'Dear ' ~ name ~ '!' }}</p>", True),
    ("<p>{{ name if flag else 'friend' }}</p>", True),
    ("<p>{{ story|nl2br }}</p>", True),
    ("<p>{{ story }}</p>", True),
    ("<pre>{{ story }}</pre>", True),
    ("<ul><li>{{ name }}</li><li>{{ story|nl2br }}</li></ul>", True),
    ("<table><tr><th>Name</th><td>{{ name }}</td></tr><tr><td>{{ name }}</td><td>{{ story }}</td></tr></table>", True),
    ('<a href="{{ url }}">{{ name }}</a> <a href="{{ url }}">{{ url }}</a> <a href="{{ url }}?a=1">go</a>', True),
    ('<a href="{{ name }}">{{ name }}</a> <a href="https://x.example/{{ name }}">{{ story }}</a>', True),
    ('<a href="mailto:{{ name }}">{{ name }}</a><img src="{{ url }}" alt="{{ name }}">', True),
    ('<p title="{{ name }}" data-x="{{ story }}">x</p>', True),
    ("<p>{{ thing.label }} {{ thing['label'] }} {{ thing.label|lower }}</p>", True),
    ("<p>{{ price|money }} {{ price.amount }} {{ day|date }} {{ moment|datetime }} {{ count + 1 }}</p>", True),
    ("<p>{{ recipient.name }} {{ recipient.email|upper }} {{ subject }} {{ links.view }} {{ locale }}</p>", True),
    (IMPORT + "{{ button(url, name) }}{{ button(url, name|upper) }}", True),
    ("{% set other = name %}<p>{{ other }}</p>", True),
    ("{% if flag %}<p>{{ name }}</p>{% else %}<h1>{{ story }}</h1>{% endif %}", False),
    ("{% if name %}<p>Hi {{ name }}</p>{% endif %}{% if recipient.name %}{{ recipient.name }}{% endif %}", False),
    ("{% if links.unsubscribe %}<a href='{{ links.unsubscribe }}'>out</a>{% endif %}", False),
    (IMPORT + "{{ maybe(name) }}", False),
    ("{% for item in items %}<p>{{ loop.index }} {{ item.label }} {{ name }}</p>{% else %}none{% endfor %}", False),
    ("{% for name in words %}<p>{{ name|upper }}</p>{% endfor %}{{ name }}", False),
    ("<p>{{ items|length }} {{ words|join(', ') }}</p>{% if words|length > 1 %}many{% endif %}", False),
    ("{% set block %}<b>{{ name }}</b>{% endset %}{{ block|upper }}", False),
    ("{% if name == 'Ann' %}Ann!{% endif %}{% if name is string %}s{% endif %}", False),
    ('<p class="{{ name }}">x</p><p class=x id={{ name }}>y</p>', False),
    ("<style>p { color: {{ word }} }</style><p>x</p>", False),
    ("{% filter upper %}{{ name }}{% endfilter %}", False),
    ("{% for letter in name %}{{ letter }}.{% endfor %}", False),
    ("{% macro button(x) %}[{{ x }}]{% endmacro %}{{ button(name) }}", True),
    (EXTEND + "{% block content %}<p>{{ name }}</p>{% if flag %}{{ super() }}{% endif %}{% endblock %}", False),
]  # fmt: skip

VARIABLES: dict[str, object] = {
    "name": "text",
    "story": "text",
    "word": "string",
    "url": "url",
    "flag": "boolean",
    "count": "integer",
    "price": "money",
    "day": "date",
    "moment": "datetime",
    "thing": {"type": "object", "fields": {"label": "text"}},
    "words": {"type": "list", "items": "string"},
    "items": {"type": "list", "items": {"type": "object", "fields": {"label": "text"}}},
}

texts = st.sampled_from(
    ["Ann", "", " ", "  Ann  B ", "a\nb", "a\n\nb", "a\n\n\n\nb", "\n a \n", "<b>&amp;</b>", "\"'<>&=", "Зоя", "🎉",
     "a\xa0b", "\xa0", "\u200b", "https://x.example/?a=1&copy=2", "x" * 200, ".", "From me", "=?utf-8?q?x?=", "a\tb",
     "{{ 7*7 }}", "ann@example.com", "tel:+1", "x.example", "</p><script>", "a\u2028b", "word " * 40]
) | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)  # fmt: skip
urls = st.sampled_from(
    ["https://x.example/a?b=1&copy=2", "HTTP://x.example", "https://приклад.укр/я", "https://x.example/" + "a" * 90]
)
values = st.fixed_dictionaries(
    {
        "name": texts,
        "story": texts,
        "word": st.sampled_from(["red", "blue"]),
        "url": urls,
        "flag": st.booleans(),
        "count": st.integers(-5, 10**6),
        "price": st.fixed_dictionaries(
            {"amount": st.sampled_from(["1234.5", 12, 0.1, "-3"]), "currency": st.just("EUR")}
        ),
        "day": st.just("2027-03-01"),
        "moment": st.just("2027-03-01T09:30:00+02:00"),
        "thing": st.fixed_dictionaries({"label": texts}),
        "words": st.lists(st.sampled_from(["one", "two & three"]), max_size=3),
        "items": st.lists(st.fixed_dictionaries({"label": texts}), max_size=3),
    }
)


def same(html: str) -> str:
    """Return HTML in one spelling: escapes and quotes differ between the modes, what they say does not."""
    return (LexborHTMLParser(html).html or "").strip()


def fields_of(form: str, given_values: Mapping[str, object], purpose: Transactional | Promotional) -> "Fields":
    return {
        "subject": "Hi {{ name }}{% if flag %}!{% endif %}",
        "html": form,
        "variables": VARIABLES,
        "values": given_values,
        "base": BASE,
        "purpose": purpose,
        "pixel_url": "https://x.example/o/t.gif",
    }


@pytest.mark.parametrize("form", [form for form, _ in FORMS])
def test_a_frame_that_is_filled_says_what_a_whole_rendering_says(
    make: "Make", read: Reader, promotional: Promotional, form: str
) -> None:
    pairs = []
    for purpose in (promotional, Transactional()):
        fields = fields_of(form, {}, purpose)
        static = make(**fields)
        fields["whole"] = True
        pairs.append((static, make(**fields)))

    @given(values, st.sampled_from(pairs), st.sampled_from(["", "Ann", " Зоя "]))
    @settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate])
    def compare(given_values: dict[str, object], pair: tuple["Wanted", "Wanted"], name: str) -> None:
        filled, whole = (each.but(values=given_values, recipient=Recipient("ann@example.com", name)) for each in pair)
        left, right = read(filled), read(whole)
        assert left.text == right.text
        assert same(left.html) == same(right.html)
        assert left.letter.subject == right.letter.subject

    compare()


@pytest.mark.parametrize(("form", "printed_only"), FORMS)
def test_what_is_only_printed_is_rendered_once(make: "Make", form: str, printed_only: bool) -> None:
    sample = {
        "name": "Ann", "story": "s", "word": "red", "url": "https://x.example", "flag": True, "count": 1,
        "day": "2027-03-01", "price": {"amount": 1, "currency": "EUR"}, "moment": "2027-03-01T09:30:00Z",
        "thing": {"label": "l"},
        "words": ["w"], "items": [{"label": "i"}],
    }  # fmt: skip
    order = make(html=form, variables=VARIABLES, values=sample, base=BASE)
    order.compose()
    html = order.mailing.compiled._html
    assert html is not None
    assert (not html._names and not html._truths) == printed_only


def test_the_truth_of_a_name_costs_two_frames_not_one_a_person(make: "Make", read: Reader) -> None:
    order = make(html="{% if recipient.name %}Hi {{ recipient.name }}{% else %}Hi{% endif %}")
    for name in ("Ann", "Bob", "", "Zoe"):
        assert read(order.but(recipient=Recipient("ann@example.com", name))).text.strip() == f"Hi {name}".strip()
    assert order.mailing.compiled._html is not None
    assert len(order.mailing.compiled._html._frames) == 2


def test_a_list_that_all_share_is_rendered_once(make: "Make", read: Reader) -> None:
    order = make(
        html="{% for word in words %}<p>{{ word }} {{ name }}</p>{% endfor %}",
        variables={"name": "string", "words": {"type": "list"}},
    )
    for name in ("Ann", "Bob", "Zoe"):
        assert read(order.but(values={"name": name, "words": ["a", "b"]})).text == f"a {name}\n\nb {name}\n"


@pytest.mark.parametrize("folder", TEMPLATES, ids=lambda folder: folder.name)
def test_our_own_templates_say_the_same_in_both_ways(
    make: "Make", read: Reader, promotional: Promotional, folder: Path
) -> None:
    content = load_folder(folder)
    purpose = promotional if content.stream == "promotional" else Transactional()
    for locale in content.parts:
        letters = []
        for whole in (False, True):
            compiled = compile_content(content, locale, whole=whole)
            letters.append(read(make(compiled, purpose=purpose, values=content.schema.example())))
        assert letters[0].text == letters[1].text
        assert same(letters[0].html) == same(letters[1].html)
        assert letters[0].letter.subject == letters[1].letter.subject
        if isinstance(purpose, Promotional):
            assert letters[0].text.count("https://x.example/u/token23") == 1
            assert letters[0].html.count("https://x.example/u/token23") == 1


def test_a_value_cannot_forge_a_slot(make: "Make", read: Reader) -> None:
    html = "{% for word in words %}<p>{{ word }}</p>{% endfor %}<p>{{ name }}</p>"
    order = make(
        html=html, variables={"name": "string", "words": {"type": "list"}}, values={"name": "x", "words": ["q0z"]}
    )
    assert read(order).text == "q0z\n\nx\n"


def test_values_are_escaped_in_html_and_not_in_text(make: "Make", read: Reader) -> None:
    letter = read(make(html="<p>{{ name }}</p>", variables={"name": "string"}, values={"name": "<b>A & B</b>"}))
    assert "&lt;b&gt;A &amp; B&lt;/b&gt;" in letter.html
    assert letter.text == "<b>A & B</b>\n"


def test_a_missing_or_mistyped_value_is_one_sentence(make: "Make") -> None:
    order = make(html="<p>{{ name }}</p>", variables={"name": "string"})
    with pytest.raises(ContentError, match=r"The variable name is missing; it must be a string"):
        order.compose()


def test_an_optional_variable_prints_nothing_when_it_is_absent(make: "Make", read: Reader) -> None:
    variables = {"nick": {"type": "string", "required": False}, "tone": {"type": "string", "default": "kind"}}
    html = "<p>[{{ nick }}] {{ nick|default('you') }} {{ tone }}</p>{% for x in nick %}{% endfor %}"
    assert read(make(html=html, variables=variables)).text == "[] you kind\n"


def test_css_goes_into_attributes_and_media_queries_stay(make: "Make", read: Reader) -> None:
    style = "p{color:red} @media (max-width:1px){p{color:blue}}"
    html = f"<html><head><style>{style}</style></head><body><p>x</p></body></html>"
    shown = read(make(html=html)).html
    assert '<p style="color: red' in shown
    assert "@media" in shown


def test_constants_are_equal_for_equal_senders() -> None:
    assert Constants("en", "A") == Constants("en", "A")
    assert hash(Constants("en", "A")) != hash(Constants("uk", "A"))
