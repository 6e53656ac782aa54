"""Rewriting links: nothing of the mail changes but the values of href attributes, and each leads where it led."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from time import process_time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from mailer import targets
from mailer.compose import hrefs
from mailer.compose.clicks import UNNAMED, Clicking, Written
from mailer.compose.letter import OptOut, Promotional
from mailer.targets import Link, Ours
from tests.compose.pieces import PIECES

if TYPE_CHECKING:
    from tests.compose.conftest import Make, Read, Wanted

Reader = Callable[["Wanted"], "Read"]

BASE = "https://mail.example"
CLICKING = Clicking((f"{BASE}/u/", f"{BASE}/c/"))
OURS = re.compile(re.escape(BASE) + r"/c/link[0-9]+")


class Signer:
    """Hands out addresses and remembers what stands behind them."""

    def __init__(self) -> None:
        """Begin with none."""
        self.links: list[Link] = []

    def __call__(self, wanted: Sequence[Link]) -> list[str | None]:
        """Return an address each."""
        self.links += wanted
        return [f"{BASE}/c/link{len(self.links) - len(wanted) + place}" for place in range(len(wanted))]


def anchors(html: str) -> list[str]:
    """Return the addresses of links as another parser reads them."""
    nodes = LexborHTMLParser(html).css("a[href], area[href]")
    return [node.attributes["href"] or "" for node in nodes]


def led(address: str, links: Sequence[Link]) -> str | None:
    """Return where an address of ours leads, None where it is not ours."""
    return links[int(address.rpartition("link")[2])].target if OURS.fullmatch(address) else None


@pytest.mark.parametrize("number", range(len(PIECES)))
def test_nothing_changes_but_the_values_of_href(make: "Make", read: Reader, number: int) -> None:
    sign, piece = Signer(), PIECES[number]
    before = read(make(html=piece, literal=True)).html
    after = read(make(html=piece, literal=True, clicking=CLICKING, sign=sign)).html
    old, new = hrefs.hrefs(before), hrefs.hrefs(after)
    restored: list[str] = []
    position = 0
    for was, now in zip(old, new, strict=True):
        assert now.value == was.value or led(now.value, sign.links) == targets.reached(was.value)
        restored += (after[position : now.start], before[was.start : was.end])
        position = now.end
    assert "".join([*restored, after[position:]]) == before
    # Another parser sees the same links, in the same places.
    for was_seen, seen in zip(anchors(before), anchors(after), strict=True):
        assert seen == was_seen or led(seen, sign.links) == targets.reached(was_seen)


@pytest.mark.parametrize("number", range(len(PIECES)))
def test_what_looks_like_a_link_and_is_none_stays(make: "Make", number: int) -> None:
    sign = Signer()
    make(html=PIECES[number], literal=True, clicking=CLICKING, sign=sign).compose()
    assert not [link.target for link in sign.links if "/no" in link.target]
    assert ("/yes" in PIECES[number]) <= any("/yes" in link.target for link in sign.links)


@pytest.mark.parametrize("number", range(len(PIECES)))
def test_a_second_pass_finds_nothing_to_do(make: "Make", read: Reader, number: int) -> None:
    first, second = Signer(), Signer()
    once = read(make(html=PIECES[number], literal=True, clicking=CLICKING, sign=first)).html
    twice = read(make(html=once, literal=True, clicking=CLICKING, sign=second)).html
    assert (twice.rstrip("\n"), second.links) == (once.rstrip("\n"), [])


_ADDRESSES = (
    *("/", "/a/b", "/a?x=1", "/a?x=1&y=2", "/a#part", "/a?x=1#part", "/?", "/#", "/a?b=%20c", "/%E2%82%AC", "/a;b=1"),
    *(
        "/a?x=1&copy=2",
        "/a?x&lt=1",
        "/a?next=https://b.example/?c=d",
        "/" + "x" * 900,
        "/a,b",
        "/a(b)",
        "/a'b",
        "/~ann",
    ),
    *(
        "/a?utm_source=x",
        "/a?q=a+b",
        "/a?q=%26",
        "/a?&&",
        "/a//b",
        "/../a",
        "/a?x[]=1",
        "/a|b",
        "/a?x={y}",
        "/a@b",
        "/:x",
    ),
)
_HOSTS = ("https://shop.example", "http://shop.example:8080", "https://[2001:db8::1]", "HTTPS://Shop.Example")


@pytest.mark.parametrize("place", range(len(_ADDRESSES)))
@pytest.mark.parametrize("quote", ['"', "'", ""], ids=["double", "single", "bare"])
def test_every_address_leads_where_it_led(make: "Make", place: int, quote: str) -> None:
    for host in _HOSTS:
        address, sign = host + _ADDRESSES[place], Signer()
        written = address.replace("&", "&amp;").replace("'", "&#39;")
        make(html=f"<a href={quote}{written}{quote}>Go</a>", literal=True, clicking=CLICKING, sign=sign).compose()
        assert [link.target for link in sign.links] == [address]


_MARKUP = st.lists(
    st.sampled_from(
        [
            *(
                "<a ",
                "href",
                "=",
                '"',
                "'",
                ">",
                "<",
                "/",
                "</a>",
                " ",
                "\n",
                "<!--",
                "-->",
                "--!>",
                "<style>",
                "</style>",
            ),
            *(
                "https://shop.example/x",
                "&amp;",
                "&copy",
                "&copy=",
                "&#x41",
                "<area ",
                "data-no-track",
                "<p>",
                "text",
                "<!",
            ),
            *(
                "<script>",
                "</script>",
                "<title>",
                "</title>",
                "<![CDATA[",
                "]]>",
                "<?",
                "</",
                "é",
                "mailto:a@b.example",
            ),
        ]
    ),
    max_size=24,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(_MARKUP)
def test_whatever_it_is_fed_another_parser_sees_the_same_addresses(html: str) -> None:
    seen = anchors(html)
    for href in hrefs.hrefs(html):
        assert html[href.start : href.end] or not href.value
        if href.value.startswith("https://"):
            # What another parser takes for part of raw text or a table it dropped is left out by it, never added by us.
            assert href.value in seen or "<a" not in html
    changed: list[str] = []
    position = 0
    for href in hrefs.hrefs(html):
        changed += (html[position : href.start], html[href.start : href.end])
        position = href.end
    assert "".join([*changed, html[position:]]) == html


@pytest.mark.parametrize("piece", ["<a href=", '<a href="', "<!--", "<a ", "<", "<a href='x'>", "<style>", "&"])
def test_two_megabytes_of_anything_are_read_in_a_moment(piece: str) -> None:
    html = piece * (2_000_000 // len(piece))
    start = process_time()
    hrefs.hrefs(html)
    # A quadratic walk would take hours.
    assert process_time() - start < 60


@pytest.mark.parametrize(
    ("href", "target"),
    [
        (" https://a.example/x ", "https://a.example/x"),
        ("https://a.ex\nample/\tx", "https://a.example/x"),
        ("https://bücher.example/ß?ü#é", "https://xn--bcher-kva.example/%C3%9F?%C3%BC#%C3%A9"),
        ('https://a.example/"<x> y', "https://a.example/%22%3Cx%3E%20y"),
        ("javascript:alert(1)", None),
        (" java\nscript:alert(1)", None),
        ("https://user@a.example/", None),
        ("https://user:pass@a.example", None),
        ("https://a.example\\@b.example/", None),
        ("https:\\\\a.example", None),
        ("https:///a.example", None),
        ("//a.example/", None),
        ("https://a.example/\x00x", None),
        ("https://a%2eexample/", None),
        ("https://a.example:99999999/", None),
        ("ftp://a.example/", None),
        ("https://", None),
        ("", None),
    ],
)
def test_only_plain_addresses_of_the_web_are_rewritten(href: str, target: str | None) -> None:
    assert targets.reached(href) == target


@pytest.mark.parametrize(
    ("url", "tagged"),
    [
        ("https://a.example/", "https://a.example/?utm_source=news&utm_campaign=may%20%26%20june"),
        ("https://a.example/?z=1&a=2#x", "https://a.example/?z=1&a=2&utm_source=news&utm_campaign=may%20%26%20june#x"),
        ("https://a.example/?utm_source=own", "https://a.example/?utm_source=own&utm_campaign=may%20%26%20june"),
        ("https://a.example/?", "https://a.example/?utm_source=news&utm_campaign=may%20%26%20june"),
        ("https://s3.example/f?X-Amz-Signature=ab", "https://s3.example/f?X-Amz-Signature=ab"),
        ("https://a.example/in?token=ab#x", "https://a.example/in?token=ab#x"),
        ("https://blob.example/f?sv=1&sig=ab", "https://blob.example/f?sv=1&sig=ab"),
    ],
)
def test_parameters_stand_before_the_fragment_and_spoil_no_signature(url: str, tagged: str) -> None:
    utm = targets.utm_of({"source": "tenant", "campaign": "may & june"}, {"source": "news"})
    assert targets.tagged(url, utm) == tagged


@given(st.builds(Link, st.integers(0, 9999), st.text(max_size=300), st.text(max_size=300)))
def test_a_link_comes_back_as_it_was_packed(link: Link) -> None:
    assert Link.unpack(link.pack()) == link


def test_a_label_never_holds_what_a_recipient_is(make: "Make") -> None:
    sign = Signer()
    html = (
        '<a href="https://a.example/fixed">1</a><a href="https://a.example/{{ code }}?x=1">2</a>'
        '<a href="{{ url }}">3</a>'
        '{% if code == "s3cret" %}<a href="https://a.example/if/{{ code }}">4</a>{% endif %}'
        '{% set where = "https://b.example/" ~ code %}<a href="{{ where }}">5</a>'
    )
    make(
        html=html,
        variables={"code": "string", "url": "url"},
        values={"code": "s3cret", "url": "https://u.example/s3cret"},
        clicking=CLICKING,
        sign=sign,
    ).compose()
    assert [link.target for link in sign.links if "s3cret" in link.target]
    assert [(link.place, link.label) for link in sign.links] == [
        (1, "https://a.example/fixed"),
        (2, "https://a.example/{{ code }}?x=1"),
        (3, "{{ url }}"),
        (4, "https://a.example/if/{{ code }}"),
        # Which of the two open ones it was, nobody can tell: it has the number behind the six addresses of the source.
        (7, f"https://b.example/{UNNAMED}"),
    ]


def test_a_link_keeps_its_number_whatever_stands_before_it(make: "Make") -> None:
    html = '{% if vip %}<a href="https://a.example/vip">V</a>{% endif %}<a href="https://a.example/all">A</a>'
    for vip in (True, False):
        sign = Signer()
        make(html=html, variables={"vip": "boolean"}, values={"vip": vip}, clicking=CLICKING, sign=sign).compose()
        assert sign.links[-1] == Link(2, "https://a.example/all", "https://a.example/all")


def test_what_one_person_alone_was_sent_names_no_more_than_its_host(make: "Make") -> None:
    sign = Signer()
    own = Clicking(CLICKING.ours, shared=False)
    make(html='<a href="https://a.example/reset/s3cret">Go</a>', literal=True, clicking=own, sign=sign).compose()
    assert sign.links == [Link(1, "https://a.example/reset/s3cret", f"https://a.example/{UNNAMED}")]


def test_words_that_are_an_address_once_they_are_filled_leave_the_link_alone(make: "Make", read: Reader) -> None:
    html, sign = '<a href="https://a.example/x">{{ word }}</a>', Signer()
    for word, tracked in (("Read on", True), ("https://a.example/x", False), ("a.example", False)):
        shown = read(
            make(html=html, variables={"word": "text"}, values={"word": word}, clicking=CLICKING, sign=sign)
        ).html
        assert (f"{BASE}/c/link" in shown) is tracked
        assert ("https://a.example/x" in shown) is not tracked


def test_hosts_that_are_spared_and_addresses_that_are_too_long_stay(make: "Make", read: Reader) -> None:
    spared = Clicking(CLICKING.ours, spared=frozenset({"a.example"}))
    html = '<a href="https://app.a.example/">1</a><a href="https://b.example/">2</a>'
    shown = read(make(html=html, literal=True, clicking=spared, sign=lambda wanted: [None for _ in wanted]))
    assert (shown.html.rstrip(), shown.letter.clicked) == (html, False)


def test_the_text_part_has_links_as_they_were_written(make: "Make", read: Reader) -> None:
    for name in ("Ann", "  odd \n spaces "):
        html = '<p>{{ name }} <a href="https://a.example/x">Go</a></p>'
        letter = read(
            make(html=html, variables={"name": "text"}, values={"name": name}, clicking=CLICKING, sign=Signer())
        )
        assert "Go (https://a.example/x)" in letter.text
        assert f"{BASE}/c/link0" in letter.html


def test_a_mail_that_tracking_would_make_too_long_goes_without(
    make: "Make", read: Reader, promotional: Promotional
) -> None:
    html = f"<p>{'x ' * 50_000}</p>" + '<a href="https://a.example/x">Go</a>' * 20
    letter = read(
        make(
            html=html,
            literal=True,
            purpose=promotional,
            clicking=CLICKING,
            sign=lambda wanted: [f"{BASE}/c/" + "x" * 900 for _ in wanted],
        )
    )
    assert (letter.letter.clicked, letter.html.count("https://a.example/x")) == (False, 20)


def test_ways_out_are_never_tracked(make: "Make", promotional: Promotional) -> None:
    sign = Signer()
    html = '<a href="{{ links.unsubscribe }}">Leave</a><a href="{{ links.view|e }}">View</a><a href="https://a.example">A</a>'
    ours = Clicking(("https://x.example/u/", "https://x.example/p/", "https://x.example/v/"))
    make(html=html, purpose=promotional, clicking=ours, sign=sign).compose()
    assert [link.target for link in sign.links] == ["https://a.example"]


def test_a_row_of_a_loop_is_counted_where_the_template_has_it() -> None:
    written = Written(['{% for x in y %}<a href="https://a.example/p/{{ x }}">P</a>{% endfor %}'], literal=False)
    from_rows = [written.find(f"https://a.example/p/{row}", f"https://a.example/p/{row}", Counter()) for row in "ab"]
    assert from_rows == [(1, "https://a.example/p/{{ x }}")] * 2


def test_templates_see_an_address_of_ours_as_any_text(make: "Make", promotional: Promotional) -> None:
    html = (
        "<p>{% if links.unsubscribe.startswith('https') %}{{ links.view|upper }} {{ links.preferences.upper() }}"
        "{% endif %}</p>"
    )

    def shown(kind: type[str]) -> bytes:
        one, two, three = (kind(f"https://mail.example/{name}") for name in ("u/a", "p/a", "v/a"))
        return make(html=html, purpose=promotional, opt_out=OptOut(one, two, view_url=three)).compose().to_bytes()

    assert shown(Ours) == shown(str)
    assert b"MAIL.EXAMPLE/V/A" in shown(Ours)
