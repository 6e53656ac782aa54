"""Mails that are composed together are the mails that each would be alone."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailer.compose.clicks import Clicking
from mailer.compose.encoding import base64_lines, decoded_size, quoted
from mailer.compose.errors import ContentError
from mailer.compose.letter import OptOut, Order, Promotional, Recipient
from mailer.targets import Link, Ours

if TYPE_CHECKING:
    from tests.compose.conftest import Make, Wanted

BASE = "https://mail.example"
CLICKING = Clicking((f"{BASE}/u/", f"{BASE}/c/"))
VARIABLES = {"name": "text", "plan": {"type": "string", "required": False}, "vip": "boolean", "code": "string"}
HTML = """<h1>{{ subject }}</h1><p>Dear {{ name }}, <b>{{ code }}</b>{{ plan }}</p>
{% if vip %}<p>{{ name | upper }}</p>{% endif %}{% if plan %}<p>Your plan: {{ plan }}.</p>{% endif %}
<p><a href="https://a.example/fixed">Read</a> <a href="https://a.example/{{ code }}">Yours</a>
<a href="https://b.example/">{{ name }}</a></p>"""
TEXT = "Dear {{ name }},\n\n{% if vip %}{{ name | upper }}{% endif %}\nYour code: {{ code }}\n"

words = st.one_of(
    st.sampled_from(
        ["Ann", "Зоя", "<b>A & B</b>", "two  spaces", " edges ", "", ".", "From me", "www.c.example", "x" * 90]
    ),
    st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=60),
)
values = st.fixed_dictionaries(
    {"name": words, "vip": st.booleans(), "code": st.sampled_from(["c1", "c 2", "c/3?x=1&y", ".c4"])},
    optional={"plan": words},
)
marks = st.sampled_from([None, b"one", b"two"])


def sign(wanted: Sequence[Link]) -> list[str | None]:
    return [None if link.place == 3 else Ours(f"{BASE}/c/{link.place}.{len(link.target)}") for link in wanted]


def wanted(make: "Make", purpose: Promotional, subject: str, text: str | None) -> "Wanted":
    return make(
        subject=subject, html=HTML, text=text, variables=VARIABLES, purpose=purpose, clicking=CLICKING, sign=sign
    )


def orders(base: Order, drawn: Sequence[tuple[dict[str, object], bytes | None, bool]]) -> list[Order]:
    return [
        replace(
            base,
            recipient=Recipient(f"r{number}@example.org", str(own["name"])[:20].strip()),
            message_id=f"m{number}@x.example",
            values=own,
            clicked=mark,
            pixel_url=Ours(f"{BASE}/o/{number}.gif") if pixel else None,
            opt_out=OptOut(kind(f"{BASE}/u/{number}"), kind(f"{BASE}/p/{number}"), view_url=f"{BASE}/v/{number}"),
        )
        for number, (own, mark, pixel) in enumerate(drawn)
        for kind in [Ours if number % 2 else str]
    ]


@pytest.mark.parametrize("text", [None, TEXT])
@pytest.mark.parametrize("subject", ["Hello {{ name }}", "{% if vip %}Hello{% else %}Good day{% endif %}, {{ name }}"])
def test_together_they_are_what_each_is_alone(
    make: "Make", promotional: Promotional, subject: str, text: str | None
) -> None:
    mail = wanted(make, promotional, subject, text)

    @given(st.lists(st.tuples(values, marks, st.booleans()), min_size=1, max_size=8))
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    def compare(drawn: list[tuple[dict[str, object], bytes | None, bool]]) -> None:
        asked = orders(mail.order, drawn)
        together = mail.mailing.compose_all(asked)
        alone = [mail.mailing.compose(order) for order in asked]
        assert [letter.to_bytes() for letter in together] == [letter.to_bytes() for letter in alone]
        assert together == alone

    compare()


def test_each_mail_says_its_own(make: "Make", promotional: Promotional) -> None:
    said: list[tuple[bytes, int]] = []

    def heard(mails: Sequence[tuple[bytes, Sequence[Link]]]) -> list[list[str | None]]:
        said.extend([(mark, len(links)) for mark, links in mails])
        return [[None] * len(links) for _, links in mails]

    mail = wanted(make, promotional, "Hello", None)
    mail.mailing._sign = heard
    drawn = [({"name": "Ann", "vip": False, "code": "c1"}, mark, False) for mark in (b"one", None, b"two")]
    letters = mail.mailing.compose_all(orders(mail.order, drawn))
    assert said == [(b"one", 3), (b"two", 3)]
    assert not any(letter.clicked for letter in letters)


def test_one_that_cannot_be_made_is_told(make: "Make", promotional: Promotional) -> None:
    mail = wanted(make, promotional, "Hello", None)
    own: dict[str, object] = {"name": "Ann", "vip": False, "code": "c1"}
    asked = orders(mail.order, [(own, None, False), ({**own, "vip": "no"}, None, False)])
    with pytest.raises(ContentError, match="vip must be a boolean"):
        mail.mailing.compose_all(asked)
    assert mail.mailing.compose_all([]) == []


@given(st.text(st.characters(exclude_categories=("Cc", "Cs")) | st.just("\n"), max_size=300))
def test_the_size_before_encoding(text: str) -> None:
    if text.endswith("\n"):
        assert decoded_size("quoted-printable", quoted(text)) == len(text.encode())
    assert decoded_size("base64", base64_lines(text)) == len(text.encode())
