import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from mailer.compose.errors import ContentError
from mailer.compose.letter import (
    OptOut,
    PostalAddress,
    Promotional,
    Recipient,
    Sender,
    TopicInfo,
    Transactional,
)
from mailer.compose.mailing import Mailing
from mailer.compose.markup import body_end
from mailer.compose.mime import Attachment

if TYPE_CHECKING:
    from tests.compose.conftest import Make, Read, Wanted

Reader = Callable[["Wanted"], "Read"]

NASTY = [
    "one\n.\ntwo\n",
    ".begins with a dot\n..and two\n.\n",
    "From here\nFrom there\n",
    "lone\rcarriage\r\nreturn\n\r",
    "x" * 5000,
    ". " * 2500,
    "nul\x00and\x01bell\x07",
    "👩‍👩‍👧‍👦 emoji 🎉 " * 100,
    "trailing space \nand tab\t\n",
    "=3D =\n==",
    "--=_0123\n--",
    "",
    "Кирилиця та ще трохи тексту\n" * 40,
]


def assert_wire(raw: bytes) -> None:
    assert re.search(rb"(?<!\r)\n|\r(?!\n)", raw) is None
    assert raw.isascii()
    assert raw.endswith(b"\r\n")
    assert b"\x00" not in raw
    body = raw.partition(b"\r\n\r\n")[2]
    assert max(map(len, body.split(b"\r\n"))) <= 76
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    for line in body.split(b"\r\n"):
        assert not line.startswith((b".", b"From "))


def assert_no_defects(message: EmailMessage) -> None:
    for part in message.walk():
        assert part.defects == []


def plain(body: str) -> str:
    """Return a body as it may travel: \\n at the end of lines, no control characters."""
    return re.sub("[\x00-\x08\x0b-\x1f\x7f]", "", body.replace("\r\n", "\n").replace("\r", "\n"))


@pytest.mark.parametrize("body", NASTY)
@pytest.mark.parametrize("literal", [True, False])
def test_every_body_survives_the_wire(make: "Make", read: Reader, body: str, literal: bool) -> None:
    if literal:
        letter = read(make(html=None, text=body, literal=True))
    else:
        values = {"body": plain(body)}
        letter = read(make(html=None, text="{{ body }}", variables={"body": "text"}, values=values))
    assert_wire(letter.raw)
    assert_no_defects(letter.message)
    assert letter.text.strip() == (plain(body).strip() or "Hello")


@given(st.text(max_size=400))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_literal_text_comes_back(make: "Make", read: Reader, body: str) -> None:
    letter = read(make(html=None, text=body, literal=True))
    expected = plain(body)
    assert letter.text.strip("\n") == (expected.strip("\n") if expected.strip() else "Hello")
    assert_wire(letter.raw)


def test_text_comes_first_and_html_after_it(make: "Make", read: Reader) -> None:
    letter = read(make(html="<p>Hello <b>you</b></p>"))
    assert [part.get_content_type() for part in letter.message.walk()] == [
        "multipart/alternative", "text/plain", "text/html",
    ]  # fmt: skip
    assert letter.text == "Hello you\n"
    assert_no_defects(letter.message)


def test_files_stand_outside_and_shown_images_beside_the_html(make: "Make", read: Reader) -> None:
    files = (
        Attachment("звіт за березень та ще довга назва файлу.pdf", b"%PDF" * 100, "application/pdf"),
        Attachment("logo.png", b"\x89PNG", "image/png", "logo@x.example"),
    )
    letter = read(make(html='<img src="cid:logo@x.example" alt="Logo">', attachments=files))
    assert [part.get_content_type() for part in letter.message.walk()] == [
        "multipart/mixed", "multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png",
        "application/pdf",
    ]  # fmt: skip
    attached = list(letter.message.iter_attachments())
    assert attached[0].get_filename() == files[0].filename
    assert attached[0].get_content() == files[0].content
    assert b"Content-ID: <logo@x.example>" in letter.raw
    assert_no_defects(letter.message)
    assert_wire(letter.raw)


@pytest.mark.parametrize(
    ("filename", "kind"),
    [("a\r\nb", "image/png"), ("", "image/png"), ("a", "image/png\r\nX: y"), ("a", "message/rfc822"), ("a", "png")],
)
def test_a_file_that_would_break_its_headers_is_refused(filename: str, kind: str) -> None:
    with pytest.raises(ContentError):
        Attachment(filename, b"", kind)


def test_promotional_mail_carries_the_way_out(make: "Make", read: Reader, promotional: Promotional) -> None:
    letter = read(make(purpose=promotional))
    assert letter.header("List-Unsubscribe") == [
        b"List-Unsubscribe: <https://x.example/u/token23>, <mailto:u+t@x.example>"
    ]
    assert letter.header("List-Unsubscribe-Post") == [b"List-Unsubscribe-Post: List-Unsubscribe=One-Click"]
    assert letter.header("List-Id") == [b'List-Id: "The letter" <newsletter.x.example>']
    assert letter.header("Precedence") == [b"Precedence: bulk"]
    for shown in (letter.html, letter.text):
        assert "https://x.example/u/token23" in shown
        assert "1 High Street, Testville" in shown
    for name in ("From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Feedback-ID"):
        assert len(letter.header(name)) == 1, name


def test_transactional_mail_has_no_way_out_unless_its_topic_may_be_left(make: "Make", read: Reader) -> None:
    letter = read(make(html="<p>Your invoice</p>"))
    assert not [name for name in letter.message.keys() if name.lower().startswith("list-")]  # noqa: SIM118
    assert "Precedence" not in letter.message
    assert letter.text == "Your invoice\n"
    out = OptOut("https://x.example/u/t", "https://x.example/p/t")
    letter = read(make(purpose=Transactional(TopicInfo("new-lead"), "x.example"), opt_out=out))
    assert letter.header("List-Id") == [b'List-Id: "new-lead" <new-lead.x.example>']
    assert "https://x.example/u/t" in letter.text
    assert "https://x.example/u/t" in letter.html
    assert "Precedence" not in letter.message


def test_no_header_but_subject_and_names_holds_an_encoded_word(
    make: "Make", read: Reader, promotional: Promotional
) -> None:
    purpose = Promotional(TopicInfo("news", {"en": "Новини"}), promotional.postal_address, "bücher.example")
    letter = read(
        make(
            subject="Привіт",
            purpose=purpose,
            recipient=Recipient("ann@bücher.example", "Зоя"),
            sender=Sender("news@bücher.example", "Новини"),
        )
    )
    for name in letter.message.keys():  # noqa: SIM118
        for line in letter.header(name):
            if b"=?" in line:
                assert name in ("Subject", "From", "To")
                assert name == "Subject" or b"=?" not in line.rpartition(b"<")[2]
    assert letter.message["To"].addresses[0].display_name == "Зоя"


def test_mail_by_a_person_is_not_marked_automatic(make: "Make", read: Reader) -> None:
    assert read(make()).message["Auto-Submitted"] == "auto-generated"
    assert "Auto-Submitted" not in read(make(written_by="person")).message


def test_an_address_beyond_ascii_asks_for_smtputf8(make: "Make") -> None:
    assert make(recipient=Recipient("пошта@приклад.укр")).compose().needs_smtputf8
    assert not make(recipient=Recipient("ann@приклад.укр")).compose().needs_smtputf8


def test_several_recipients_share_the_to_header(make: "Make", read: Reader) -> None:
    people = tuple(Recipient(f"person{number}@example.com", f"Person, {number}") for number in range(40))
    letter = read(make(to=people, cc=(Recipient("cc@example.com"),), reply_to=(Recipient("help@x.example"),)))
    assert [address.addr_spec for address in letter.message["To"].addresses] == [person.email for person in people]
    assert letter.message["Cc"] == "cc@example.com"
    assert max(map(len, letter.header("To")[0].split(b"\r\n"))) <= 78


def test_a_value_cannot_inject_a_header(make: "Make", read: Reader) -> None:
    order = make(subject="Hi {{ name }}", variables={"name": "text"}, values={"name": "Ann\r\nBcc: evil@example.com"})
    assert read(order).message["Subject"] == "Hi Ann Bcc: evil@example.com"
    assert "Bcc" not in read(order).message
    with pytest.raises(ContentError):
        make(recipient=Recipient("ann@example.com", "Ann\r\nBcc: evil@example.com")).compose()
    with pytest.raises(ContentError):
        make(recipient=Recipient("ann@example.com>\r\nBcc: <evil@example.com")).compose()


PIXEL = "https://x.example/o/t.gif?a=1&b=2"


@pytest.mark.parametrize(
    "html",
    [
        "<html><body><p>x</p></BODY ></html>",
        "<p>no body</p>",
        "<html><body><!-- </body> --><p>x</p></body></html>",
        "<html><body><p>x</p></body><!-- </body> --></html>",
        "<html><body><p>x</p><!--[if mso]></body><![endif]--></body>\n</html>",
        "<html><head><style>/* </body> */</style></head><body>x</body></html>",
        '<body><a title="</body>">x</a></body>',
        "<body>forwarded <body>twice</body></body>",
        "<body>unclosed <!-- </body>",
    ],
)
@pytest.mark.parametrize("literal", [True, False])
def test_the_pixel_stands_once_before_the_last_real_end_of_the_body(
    make: "Make", read: Reader, html: str, literal: bool
) -> None:
    shown = read(make(html=html, literal=literal, pixel_url=PIXEL)).html
    source = 'src="https://x.example/o/t.gif?a=1&amp;b=2" width="1" height="1"'
    image = f'<img {source} alt="" style="border:0;width:1px;height:1px">'
    assert shown.count(image) == 1
    rest = re.sub(r"<!--.*?-->", "", shown[shown.index(image) + len(image) :], flags=re.DOTALL)
    assert re.fullmatch(r"(?:</body\s*>)?\s*(?:</html>)?\s*", rest, re.IGNORECASE)
    plain = read(make(html=html, literal=literal)).html
    assert "<img" not in plain
    assert plain == shown.replace(image, "")


def test_literal_html_is_not_evaluated_and_not_rewritten(make: "Make", read: Reader) -> None:
    html = "<P Class=x>{{ 7*7 }} {% raw %} &copy=1 <a href='https://a.example/?a=1&copy=2'>é</a></p>\n"
    letter = read(make(subject="{{ 1 }}", html=html, literal=True))
    assert letter.html == html
    assert letter.message["Subject"] == "{{ 1 }}"
    assert "{{ 7*7 }}" in letter.text


def test_literal_promotional_html_gets_the_footer_once(make: "Make", read: Reader, promotional: Promotional) -> None:
    letter = read(make(html="<body><p>Offer</p></body>", literal=True, purpose=promotional, pixel_url=PIXEL))
    assert letter.html.count("https://x.example/u/token23") == 1
    assert letter.html.index("token23") < letter.html.index("<img") < letter.html.index("</body>")
    assert letter.text.count("https://x.example/u/token23") == 1
    assert "1 High Street, Testville" in letter.text


@pytest.mark.parametrize(
    "html",
    [
        "<p>x</p><!-- {{ links.unsubscribe }} {{ sender.postal_address }} -->",
        '<p>x</p><div style="display:none"><a href="{{ links.unsubscribe }}">out</a>{{ sender.postal_address }}</div>',
        '<p>x</p><a href="{{ links.unsubscribe }}"></a>',
        "<p>x</p>",
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_a_way_out_that_nobody_sees_does_not_count(
    make: "Make", read: Reader, promotional: Promotional, html: str, whole: bool
) -> None:
    for locale, label in (("en", ">Unsubscribe<"), ("uk", ">Відписатися<")):
        letter = read(make(html=html, text="Short.", purpose=promotional, whole=whole, locale=locale))
        assert letter.html.count(label) == 1
        assert "https://x.example/u/token23" in letter.text
        assert "1 High Street, Testville" in letter.text


def test_a_template_with_its_own_footer_gets_no_second_one(
    make: "Make", read: Reader, promotional: Promotional
) -> None:
    html = '<a href="{{ links.unsubscribe }}">Leave</a><p>{{ sender.postal_address }}</p>'
    letter = read(make(html=html, purpose=promotional))
    assert letter.html.count("token23") == 1
    assert letter.text.count("Ringwise Ltd") == 1


OPEN_ENDED = [
    "<p>hi<!-- unclosed",
    '<div style="display:none"><p>hi',
    "<style>.x{display:none}</style><div class=x><p>hi",
    "<!DOCTYPE html><html><body><p>hi</p><!-- <body> --><div hidden></body></html>",
    *(
        f"<p>hi</p><{tag}>"
        for tag in ["textarea", "title", "select", "script", "style", "xmp", "template", "details", "plaintext"]
    ),
]


@pytest.mark.parametrize("html", OPEN_ENDED)
@pytest.mark.parametrize("literal", [True, False])
@pytest.mark.parametrize("leavable", [True, False])
def test_what_the_html_leaves_open_cannot_hide_the_footer(
    make: "Make", read: Reader, promotional: Promotional, html: str, literal: bool, leavable: bool
) -> None:
    purpose: Promotional | Transactional = promotional
    if leavable:
        purpose = Transactional(promotional.topic, "x.example")
    letter = read(make(html=html, literal=literal, purpose=purpose, pixel_url=PIXEL))
    body = LexborHTMLParser(letter.html).body
    assert body is not None
    hidden = "[hidden], [style*='display:none'], [style*='display: none'], .x, template, details"
    for node in body.css(hidden):
        node.decompose()
    assert [link.attributes["href"] for link in body.css("a")][:1] == ["https://x.example/u/token23"]
    assert "https://x.example/u/token23" in letter.text
    if not leavable:
        assert "1 High Street, Testville" in body.text()
        assert "1 High Street, Testville" in letter.text


@pytest.mark.parametrize("piece", ["<a ", "<a '", '<a b="', "</body ", "<!--", "<style "])
def test_tags_without_an_end_cost_no_more_than_others(piece: str) -> None:
    html = piece * (90_000 // len(piece))
    began = time.perf_counter()
    body_end(html)
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize("html", ["<body hidden><p>hi</p></body>", '<html style="display:none"><p>hi'])
@pytest.mark.parametrize("literal", [True, False])
def test_html_that_hides_all_of_itself_is_refused(
    make: "Make", promotional: Promotional, html: str, literal: bool
) -> None:
    with pytest.raises(ContentError, match="hides what stands at its end: close its comments and elements"):
        make(html=html, literal=literal, purpose=promotional).compose()
    make(html=html, literal=literal).compose()


def test_promotional_html_that_would_be_clipped_is_refused(
    make: "Make", read: Reader, promotional: Promotional
) -> None:
    long = "<p>" + "long " * 25_000 + "</p>"
    assert len(read(make(purpose=promotional)).html.encode()) < 102 * 1024
    assert len(read(make(html=long)).html.encode()) > 102 * 1024
    with pytest.raises(ContentError, match="102 KB"):
        make(purpose=promotional, html=long).compose()


def test_the_same_order_makes_the_same_bytes(make: "Make", promotional: Promotional) -> None:
    wanted = make(purpose=promotional)
    assert wanted.compose().to_bytes() == wanted.compose().to_bytes() == make(purpose=promotional).compose().to_bytes()


def test_the_text_is_never_empty(make: "Make", read: Reader) -> None:
    assert read(make(subject="A picture", html='<img src="https://x.example/a.png">')).text == "A picture\n"


def test_the_page_in_the_browser_is_the_mail(make: "Make", promotional: Promotional) -> None:
    page = make(html="<p>Hi {{ recipient.name }}</p>", purpose=promotional).view()
    assert "<p>Hi Ann</p>" in page
    assert "<img" not in page


def test_promotional_mail_cannot_be_made_without_its_parts(promotional: Promotional) -> None:
    parts = (promotional.topic, promotional.postal_address)
    for count in range(2):
        with pytest.raises(TypeError):
            cast("Callable[..., Promotional]", Promotional)(*parts[:count])
    for make_empty in (lambda: PostalAddress(" "), lambda: OptOut("", "https://x.example/p")):
        with pytest.raises(ContentError):
            make_empty()


def test_a_content_cannot_slip_through_the_other_stream(make: "Make", promotional: Promotional) -> None:
    wanted = make(purpose=promotional)
    with pytest.raises(ContentError, match="promotional"):
        Mailing(wanted.mailing.compiled, Sender("mail@x.example"), Transactional())


def test_mail_carries_a_way_out_where_it_can_be_left_and_only_there(make: "Make", promotional: Promotional) -> None:
    leavable, strict = make(purpose=promotional), make()
    without_view = replace(leavable.order, opt_out=OptOut("https://x.example/u/t", "https://x.example/p/t"))
    for mailing, order in (
        (leavable.mailing, strict.order),
        (strict.mailing, leavable.order),
        (leavable.mailing, without_view),
    ):
        with pytest.raises(ContentError, match="a way out where it can be left"):
            mailing.compose(order)


def test_the_type_checker_refuses_promotional_mail_without_its_parts(tmp_path: Path) -> None:
    sample = tmp_path / "sample.py"
    sample.write_text(
        "from mailer.compose.letter import PostalAddress, Promotional, TopicInfo\n"
        'Promotional(TopicInfo("news"), PostalAddress("1 Street"), "x.example")\n'
        'Promotional(TopicInfo("news"), None, "x.example")\n'
        'Promotional(None, PostalAddress("1 Street"), "x.example")\n'
        'Promotional(TopicInfo("news"), PostalAddress("1 Street"))\n'
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(sample)],
        capture_output=True, text=True, cwd=root, check=False,
    )  # fmt: skip
    lines = [int(line.split(":")[1]) for line in done.stdout.splitlines() if "error:" in line and "sample.py" in line]
    assert sorted(set(lines)) == [3, 4, 5], done.stdout
