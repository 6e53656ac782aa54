"""The pages of the inbox: they show every mail as it is, and hostile mail does nothing but be shown."""

import tomllib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from pathlib import Path

import httpx2
import pytest
from selectolax.lexbor import LexborHTMLParser as HTMLParser
from starlette.applications import Starlette

from mailer import resources
from mailer.inbox import Store, capture, read
from mailer.web import inbox as pages

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOSTILE = """"><script>alert(1)</script><img src=x onerror=alert(1)>'{{ 7*7 }}"""
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; frame-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def letter(subject: str = "Hello", html: str | None = "<p>Good morning</p>") -> EmailMessage:
    message = EmailMessage(policy=policy.SMTP)
    message["From"] = "Acme <news@acme.example>"
    message["To"] = "Ann <ann@example.org>"
    message["Subject"] = subject
    message["Date"] = "Sun, 01 Mar 2026 14:00:00 +0200"
    message["Message-ID"] = "<1@acme.example>"
    message.set_content("Good morning, plain")
    if html is not None:
        message.add_alternative(html, subtype="html")
    return message


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "inbox.db")
    yield store
    store.close()


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=Starlette(routes=pages.routes(store)))
    async with httpx2.AsyncClient(transport=transport, base_url="http://inbox.test") as client:
        yield client


def keep(store: Store, message: EmailMessage | bytes, to: str = "ann@example.org") -> int:
    raw = message if isinstance(message, bytes) else message.as_bytes()
    return store.add(capture("b+1@acme.example", [to], raw, NOW))


# --- the list


async def test_an_empty_inbox_says_what_to_do_and_looks_for_mail(client: httpx2.AsyncClient) -> None:
    page = await client.get("/inbox")
    assert page.status_code == 200
    assert "Nothing sent yet" in page.text
    assert "mailer send" in page.text
    assert HTMLParser(page.text).css_first("meta[http-equiv=refresh]") is not None


async def test_the_list_shows_the_newest_first(client: httpx2.AsyncClient, store: Store) -> None:
    for subject in ("first", "second"):
        keep(store, letter(subject))
    page = HTMLParser((await client.get("/inbox")).text)
    assert [node.text() for node in page.css(".mail-subject")] == ["second", "first"]
    assert [node.attributes["href"] for node in page.css(".mails a")] == ["/inbox/2", "/inbox/1"]
    assert page.css_first("meta[http-equiv=refresh]") is None


async def test_the_list_refreshes_where_asked_to_and_stays_in_the_search(
    client: httpx2.AsyncClient, store: Store
) -> None:
    keep(store, letter("a & b"))
    page = HTMLParser((await client.get("/inbox", params={"q": "a & b"})).text)
    toggle = page.css_first("a.live")
    assert toggle is not None
    assert toggle.attributes["href"] == "/inbox?q=a+%26+b&live=1"
    live = HTMLParser((await client.get(str(toggle.attributes["href"]))).text)
    assert live.css_first("meta[http-equiv=refresh]") is not None
    assert len(live.css(".mails li")) == 1


async def test_the_list_goes_on_page_by_page(client: httpx2.AsyncClient, store: Store) -> None:
    for number in range(120):
        keep(store, letter(f"mail {number}"))
    seen: list[str] = []
    url: str | None = "/inbox?q=mail"
    while url:
        page = HTMLParser((await client.get(url)).text)
        seen += [node.text() for node in page.css(".mail-subject")]
        older = page.css_first(".older a")
        url = older.attributes["href"] if older else None
    assert seen == [f"mail {number}" for number in range(119, -1, -1)]


async def test_a_search_without_result_says_so(client: httpx2.AsyncClient, store: Store) -> None:
    keep(store, letter())
    page = await client.get("/inbox", params={"q": HOSTILE})
    assert "No recipient and no subject contains" in page.text
    assert "<script" not in page.text


@pytest.mark.parametrize("query", ["before=abc", "before=-1", "before=" + "9" * 400, "live=x", "q=%00%ff", "before="])
async def test_a_strange_query_is_no_error(client: httpx2.AsyncClient, store: Store, query: str) -> None:
    keep(store, letter())
    assert (await client.get(f"/inbox?{query}")).status_code == 200


# --- one mail


async def test_a_mail_opens_with_its_html_in_a_sandbox(client: httpx2.AsyncClient, store: Store) -> None:
    number = keep(store, letter("Hello"))
    page = HTMLParser((await client.get(f"/inbox/{number}")).text)
    frame = page.css_first("iframe")
    assert frame is not None
    assert frame.attributes["src"] == f"/inbox/{number}/html"
    assert frame.attributes["sandbox"] == "allow-popups allow-popups-to-escape-sandbox"
    assert [tab.text() for tab in page.css(".tabs nav:first-child a")] == ["HTML", "Text", "Headers", "Source"]


async def test_the_envelope_is_shown(client: httpx2.AsyncClient, store: Store) -> None:
    number = keep(store, letter(), to="hidden@example.net")
    text = (await client.get(f"/inbox/{number}")).text
    assert "b+1@acme.example" in text
    assert "hidden@example.net" in text


@pytest.mark.parametrize("width", ["desktop", "phone"])
async def test_the_frame_has_two_widths(client: httpx2.AsyncClient, store: Store, width: str) -> None:
    number = keep(store, letter())
    page = HTMLParser((await client.get(f"/inbox/{number}?show=html&width={width}")).text)
    assert page.css_first(f".stage.{width}") is not None


async def test_every_tab_is_a_page(client: httpx2.AsyncClient, store: Store) -> None:
    number = keep(store, letter("Привіт"))
    assert "Good morning, plain" in (await client.get(f"/inbox/{number}?show=text")).text
    headers = (await client.get(f"/inbox/{number}?show=headers")).text
    assert "Привіт" in headers
    assert "=?utf-8?" in headers
    assert "Content-Type: multipart/alternative" in (await client.get(f"/inbox/{number}?show=source")).text


async def test_a_mail_without_html_opens_with_its_text(client: httpx2.AsyncClient, store: Store) -> None:
    number = keep(store, letter(html=None))
    page = await client.get(f"/inbox/{number}?show=html")
    assert "<iframe" not in page.text
    assert "Good morning, plain" in page.text
    assert (await client.get(f"/inbox/{number}/html")).status_code == 404


async def test_a_mail_that_cannot_be_read_shows_headers_defects_and_source(
    client: httpx2.AsyncClient, store: Store
) -> None:
    deep = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(3000))
    number = keep(store, b"Subject: deep\r\n" + deep)
    page = await client.get(f"/inbox/{number}?show=source")
    assert page.status_code == 200
    assert "cannot be taken apart" in page.text
    assert "--b1" in page.text


async def test_a_long_source_is_cut_in_the_page_but_not_behind_it(client: httpx2.AsyncClient, store: Store) -> None:
    raw = b"Subject: long\r\n\r\n" + b"0123456789\r\n" * 50_000
    number = keep(store, raw)
    page = await client.get(f"/inbox/{number}?show=source")
    assert len(page.text) < 400_000
    assert "Only the beginning" in page.text
    assert (await client.get(f"/inbox/{number}/raw")).content == raw


@pytest.mark.parametrize(
    "path",
    ["/inbox/9", "/inbox/0", "/inbox/x", "/inbox/" + "9" * 5000, "/inbox/9/html", "/inbox/9/raw", "/inbox/9.eml",
     "/inbox/1/attachments/0", "/inbox/1/attachments/x", "/inbox/9.json"],
)  # fmt: skip
async def test_what_is_not_there_is_404(client: httpx2.AsyncClient, store: Store, path: str) -> None:
    keep(store, letter())
    assert (await client.get(path)).status_code == 404


# --- files


async def test_source_and_files_are_never_shown_as_pages(client: httpx2.AsyncClient, store: Store) -> None:
    message = letter()
    message.add_attachment(b"<script>alert(1)</script>", maintype="text", subtype="html", filename='рах"унок\\..html')
    number = keep(store, message)
    raw, eml, file = [await client.get(f"/inbox/{number}{end}") for end in ("/raw", ".eml", "/attachments/0")]
    assert raw.headers["content-type"] == "text/plain; charset=utf-8"
    assert raw.content == eml.content == message.as_bytes()
    assert eml.headers["content-disposition"] == f"attachment; filename*=UTF-8''mail-{number}.eml"
    assert eml.headers["content-type"] == "message/rfc822"
    assert file.content == b"<script>alert(1)</script>"
    assert file.headers["content-disposition"].startswith("attachment; filename*=UTF-8''%D1%80%D0%B0%D1%85%22")
    for answer in (raw, eml, file):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox; frame-ancestors 'none'"


async def test_a_file_name_cannot_write_headers(client: httpx2.AsyncClient, store: Store) -> None:
    number = keep(
        store,
        b"Content-Type: application/x; name*=utf-8''a%0D%0ASet-Cookie:%20x=1\r\n"
        b"Content-Disposition: attachment\r\n\r\nx",
    )
    answer = await client.get(f"/inbox/{number}/attachments/0")
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert "\n" not in answer.headers["content-disposition"]


# --- the framed mail


async def test_the_framed_mail_is_walled_in_but_pictures_and_links_work(
    client: httpx2.AsyncClient, store: Store
) -> None:
    html = "<!DOCTYPE html>\n<html><head><title>x</title></head><body><a href=https://example.org>x</a></body></html>"
    number = keep(store, letter(html=html))
    answer = await client.get(f"/inbox/{number}/html")
    assert answer.headers["content-security-policy"] == (
        "default-src 'none'; img-src data: http: https:; style-src 'unsafe-inline';"
        " sandbox allow-popups allow-popups-to-escape-sandbox; frame-ancestors 'self'"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.text.startswith('<!DOCTYPE html><base target="_blank">\n<html>')


@pytest.mark.parametrize(
    ("html", "shown"),
    [
        ("<p>x", '<base target="_blank"><p>x'),
        ("", '<base target="_blank">'),
        ("\n<!doctype HTML PUBLIC 'x'><p>x", "\n<!doctype HTML PUBLIC 'x'><base target=\"_blank\"><p>x"),
        ("<!-- <head> --><head>", '<base target="_blank"><!-- <head> --><head>'),
    ],
)
def test_links_of_a_mail_open_beside_it(html: str, shown: str) -> None:
    assert pages.framed(html) == shown


# --- hostile mail


@pytest.mark.parametrize("show", ["html", "text", "headers", "source"])
async def test_hostile_mail_is_only_shown(client: httpx2.AsyncClient, store: Store, show: str) -> None:
    message = letter(HOSTILE, html=HOSTILE)
    message["X-Odd"] = HOSTILE
    message.replace_header("From", f'"{HOSTILE.replace(chr(34), "")}" <a@b.example>')
    message.add_attachment(b"x", maintype="application", subtype="pdf", filename=HOSTILE)
    raw = message.as_bytes().replace(b"X-Odd:", b'X-<script>alert(1)</script>"onclick=:')
    number = store.add(capture(HOSTILE, [HOSTILE], raw + HOSTILE.encode(), NOW))
    for url in ("/inbox", f"/inbox/{number}?show={show}&width={HOSTILE}"):
        text = (await client.get(url)).text
        page = HTMLParser(text)
        assert page.css("script, img, object, embed, [onerror], [onclick], [style], style") == []
        assert "49" not in "".join(node.text() for node in page.css("h1, .mail-subject"))
        assert {str(node.attributes["href"])[:6] for node in page.css("a")} == {"/inbox"}


async def test_control_characters_do_not_reach_the_page(client: httpx2.AsyncClient, store: Store) -> None:
    number = store.add(capture("a\x00\udcff", ["x\r\ny\x1b"], b"Subject: a\x00b\xff\x1b\r\n\r\nx\x00", NOW))
    for url in ("/inbox", f"/inbox/{number}", f"/inbox/{number}?show=headers", f"/inbox/{number}.json"):
        answer = await client.get(url)
        assert answer.status_code == 200
        assert not {"\x00", "\x1b"} & set(answer.text)


async def test_every_page_has_the_strict_policy(client: httpx2.AsyncClient, store: Store) -> None:
    number = keep(store, letter())
    for url in ("/inbox", f"/inbox/{number}", f"/inbox/{number}?show=source", "/inbox/999"):
        answer = await client.get(url)
        assert answer.headers["content-security-policy"] == PAGE_POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-robots-tag"] == "noindex"
        assert answer.headers["cache-control"] == "no-store"
        assert HTMLParser(answer.text).css("script, style, [style]") == []


async def test_the_style_sheet_is_served(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/inbox/style.css")
    assert answer.headers["content-type"].startswith("text/css")
    assert "prefers-color-scheme: dark" in answer.text


# --- one-click


async def test_one_click_posts_as_a_mail_provider_does(client: httpx2.AsyncClient, store: Store) -> None:
    message = letter()
    message["List-Unsubscribe"] = "<https://elsewhere.example/u/v1-abc?l=uk>"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    page = HTMLParser((await client.get(f"/inbox/{keep(store, message)}")).text)
    form = page.css_first("form.one-click")
    assert form is not None
    assert (form.attributes["method"], form.attributes["action"], form.attributes["target"]) == (
        "post",
        "/u/v1-abc?l=uk",
        "_blank",
    )
    field = form.css_first("input")
    assert field is not None
    assert (field.attributes["name"], field.attributes["value"]) == ("List-Unsubscribe", "One-Click")


@pytest.mark.parametrize(
    "url",
    [
        "https://m.example/u/../inbox/clear",
        "https://m.example/u/%2e%2e/inbox/clear",
        "https://m.example/u/./x",
        "https://m.example/u/a/../../inbox/clear",
        "https://m.example/u/..",
        "https://m.example//u/x",
        "https://m.example/u/",
        "https://m.example/p/token",
        "https://m.example/u/x\\..\\y",
        'https://m.example/u/x"onclick=',
        "https://[broken/u/x",
        "https://m.example",
    ],
)
def test_one_click_goes_nowhere_but_to_an_opt_out(url: str) -> None:
    raw = f"List-Unsubscribe: <{url}>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\r\n"
    assert pages.one_click_path(read(raw.encode())) is None


def test_no_button_without_the_post_header() -> None:
    assert pages.one_click_path(read(b"List-Unsubscribe: <https://m.example/u/x>\r\n\r\n")) is None


# --- scripts


async def test_scripts_read_the_list(client: httpx2.AsyncClient, store: Store) -> None:
    ids = [keep(store, letter(f"mail {number}")) for number in range(3)]
    keep(store, letter("other"), to="bob@example.org")
    answer = (await client.get("/inbox.json", params={"to": "Ann@example.org", "limit": "2"})).json()
    assert answer["has_more"] is True
    assert answer["data"][0] == {
        "id": ids[2],
        "received_at": "2026-03-01T12:00:00+00:00",
        "mail_from": "b+1@acme.example",
        "rcpt_to": ["ann@example.org"],
        "subject": "mail 2",
    }
    rest = (await client.get(f"/inbox.json?to=ann@example.org&before={answer['data'][-1]['id']}")).json()
    assert ([each["subject"] for each in rest["data"]], rest["has_more"]) == (["mail 0"], False)


async def test_scripts_read_one_mail(client: httpx2.AsyncClient, store: Store) -> None:
    message = letter("Привіт")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="a.pdf")
    answer = (await client.get(f"/inbox/{keep(store, message)}.json")).json()
    assert (answer["subject"], answer["text"], answer["html"]) == (
        "Привіт",
        "Good morning, plain\n",
        "<p>Good morning</p>\n",
    )
    assert answer["headers"][2] == {"name": "Subject", "value": "Привіт"}
    assert answer["attachments"] == [{"name": "a.pdf", "type": "application/pdf", "size": 4}]
    assert (answer["stream"], answer["date"], answer["defects"]) == ("transactional", "2026-03-01T12:00:00+00:00", [])


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "limit=", "before=x"])
async def test_a_wrong_value_is_answered_with_a_sentence(client: httpx2.AsyncClient, query: str) -> None:
    answer = await client.get(f"/inbox.json?{query}")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["path"] == query.partition("=")[0]


# --- clearing


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "same-origin", "Origin": "null"}, {"Origin": "http://inbox.test"}, {}],
)
async def test_our_own_page_clears_the_inbox(client: httpx2.AsyncClient, store: Store, headers: dict[str, str]) -> None:
    keep(store, letter())
    answer = await client.post("/inbox/clear", headers=headers)
    assert (answer.status_code, answer.headers["location"]) == (303, "/inbox")
    assert store.count() == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://inbox.test"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://inbox.test.evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[broken"},
    ],
)
async def test_no_other_page_clears_the_inbox(
    client: httpx2.AsyncClient, store: Store, headers: dict[str, str]
) -> None:
    keep(store, letter())
    assert (await client.post("/inbox/clear", headers=headers)).status_code == 403
    assert store.count() == 1


async def test_looking_clears_nothing(client: httpx2.AsyncClient, store: Store) -> None:
    keep(store, letter())
    await client.get("/inbox/clear")
    assert store.count() == 1


# --- languages


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("uk", "uk"),
        ("uk-UA,uk;q=0.9,en;q=0.8", "uk"),
        ("en-GB,uk;q=0.5", "en"),
        ("de,uk;q=0.3,en;q=0.7", "en"),
        ("de, uk;q=0.3", "uk"),
        ("uk;q=0, en;q=0.1", "en"),
        ("uk;q=0", "en"),
        ("", "en"),
        (";;;,=,q=", "en"),
    ],
)
async def test_pages_speak_the_readers_language(client: httpx2.AsyncClient, accepted: str, language: str) -> None:
    answer = await client.get("/inbox", headers={"Accept-Language": accepted})
    assert answer.headers["content-language"] == language
    assert f'<html lang="{language}">' in answer.text
    assert answer.headers["vary"] == "Accept-Language"


@pytest.mark.parametrize(
    ("number", "words"), [(1, "1 лист"), (3, "3 листи"), (5, "5 листів"), (12, "12 листів"), (22, "22 листи")]
)
async def test_numbers_have_the_right_noun(client: httpx2.AsyncClient, store: Store, number: int, words: str) -> None:
    store.add_many([capture("", ["a@b.example"], b"Subject: x\r\n\r\n", NOW)] * number)
    page = HTMLParser((await client.get("/inbox", headers={"Accept-Language": "uk"})).text)
    count = page.css_first(".count")
    assert count is not None
    assert count.text() == words


def test_every_language_says_everything() -> None:
    words = tomllib.loads((resources.templates() / "inbox" / "words.toml").read_text("utf-8"))
    assert words["en"].keys() == words["uk"].keys()
    assert all(len(words["uk"][key]) == 3 for key, value in words["en"].items() if isinstance(value, list))
