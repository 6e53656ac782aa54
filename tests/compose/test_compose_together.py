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
from mailer.compose.filled import FramedHtml
from mailer.compose.letter import Letter, OptOut, Order, Promotional, Recipient
from mailer.compose.mailing import _Mail
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


def finished(made: Sequence[Letter | ContentError]) -> list[Letter]:
    assert all(isinstance(each, Letter) for each in made), made
    return [each for each in made if isinstance(each, Letter)]


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
        together = finished(mail.mailing.compose_all(asked))
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
    letters = finished(mail.mailing.compose_all(orders(mail.order, drawn)))
    assert said == [(b"one", 3), (b"two", 3)]
    assert not any(letter.clicked for letter in letters)


def test_one_that_cannot_be_made_spoils_no_other(make: "Make", promotional: Promotional) -> None:
    mail = wanted(make, promotional, "Hello", None)
    own: dict[str, object] = {"name": "Ann", "vip": False, "code": "c1"}
    drawn: list[dict[str, object]] = [own, {**own, "vip": "no"}, {**own, "name": "long " * 30_000}, own]
    asked = orders(mail.order, [(values, None, False) for values in drawn])
    first, wrong, clipped, last = mail.mailing.compose_all(asked)
    assert (first, last) == (mail.mailing.compose(asked[0]), mail.mailing.compose(asked[3]))
    assert isinstance(wrong, ContentError)
    assert isinstance(clipped, ContentError)
    assert "vip must be a boolean" in str(wrong)
    assert "102 KB" in str(clipped)
    with pytest.raises(ContentError, match="vip must be a boolean"):
        mail.mailing.compose(asked[1])
    assert mail.mailing.compose_all([]) == []


def test_what_is_too_large_is_composed_once(make: "Make", promotional: Promotional) -> None:
    mail = wanted(make, promotional, "Hello", None)
    own: dict[str, object] = {"name": "long " * 30_000, "vip": False, "code": "c1"}
    calls: list[int] = []
    written = mail.mailing._write_html

    def counted(framed: FramedHtml, mails: Sequence[_Mail]) -> None:
        calls.append(len(mails))
        written(framed, mails)

    mail.mailing._write_html = counted  # type: ignore[method-assign]
    made = mail.mailing.compose_all(orders(mail.order, [(own, None, False)] * 20))
    assert calls == [20]
    assert all(isinstance(each, ContentError) for each in made)


@pytest.mark.parametrize("pixel", [None, f"{BASE}/o/1.gif"])
def test_a_variable_may_be_called_pixel(make: "Make", pixel: str | None) -> None:
    made = make(html="<p>{{ pixel }}</p>", variables={"pixel": "string"}, values={"pixel": "XY-7"}, pixel_url=pixel)
    assert b"<p>XY-7</p>" in made.compose().body.replace(b"=\r\n", b"")


@given(st.text(st.characters(exclude_categories=("Cc", "Cs")) | st.just("\n"), max_size=300))
def test_the_size_before_encoding(text: str) -> None:
    if text.endswith("\n"):
        assert decoded_size("quoted-printable", quoted(text)) == len(text.encode())
    assert decoded_size("base64", base64_lines(text)) == len(text.encode())
