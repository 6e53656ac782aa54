"""Templates as screens: seen as their readers see them, framed and shut off; written, tried, kept, tested."""

import json
import zlib
from base64 import urlsafe_b64encode

import pytest
from sqlmodel import select

from mailer import catalogue
from mailer.catalogue import Version
from mailer.compose.remarks import Kind, Remark, remarks
from mailer.models import Email
from mailer.status import Status
from mailer.web.dashboard.framing import Scheme, coloured
from mailer.web.dashboard.templating import packed, unpacked
from tests.dashboard.house import MARKETER, VIEWER, Browser, House

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(1)</script>'
RAW = ("<img src=x", "<script>alert")
SPRING = {
    "description": "A sale",
    "stream": "promotional",
    "topic": "promotions",
    "urgency": "bulk",
    "written_by": "machine",
    "default_locale": "en",
    "variables": '{"first_name": {"type": "string", "example": "Ann"}}',
    "subject_en": "Spring for {{ first_name }}",
    "html_en": "<p>Hello {{ first_name }}</p>\r\n<p>All of it.</p>",
    "subject_uk": "Весна для {{ first_name }}",
    "text_uk": "Вітаю, {{ first_name }}!",
}


@pytest.fixture
def settings() -> dict[str, str]:
    return {"postal_address": "1 High Street, Ringwood"}


async def current(house: House, name: str, tenant_id: int = 1) -> Version:
    return await house.service.database.read(lambda session: catalogue.current(session, tenant_id, name))


async def frames(person: Browser) -> list[str]:
    """Return what stands in the frames of the page."""
    found = []
    for node in person.page.css("iframe"):
        assert "sandbox" in node.attributes
        assert node.attributes["sandbox"] in (None, "")
        answer = await person.client.get(str(node.attributes["src"]))
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "; sandbox;" in policy, "without any permission"
        assert "frame-ancestors 'self'" in policy
        found.append(answer.text)
    return found


async def test_every_template_is_listed_and_seen_at_both_widths_in_every_language_and_colour(house: House) -> None:
    async with house.browser() as person:
        await person.sign_in(VIEWER)
        await person.get("@/templates")
        links = [str(node.attributes["href"]) for node in person.page.css("tbody a")]
        assert len(links) == len(catalogue.shipped())
        await person.get("@/templates/newsletter")
        assert "How to answer the call nobody wants to take" in person.text
        assert "1 High Street, Ringwood" in person.page.css_first("pre").text()  # type: ignore[union-attr]
        assert len(await frames(person)) == 2
        assert "Write a new version" not in person.text
        await person.get("@/templates/newsletter", scheme="dark", locale="uk")
        for html in await frames(person):
            assert '<html lang="uk"' in html
            assert "prefers-color-scheme" not in html
            assert "(min-width: 0px)" in html
        assert (await person.get("@/templates/no-such")).status_code == 404
        assert (await person.get("@/templates/newsletter", version="7")).status_code == 404
        assert (await person.get("@/templates/newsletter/frame", version="x")).status_code == 404
        for odd in ({"values": "%%%"}, {"locale": HOSTILE}, {"scheme": HOSTILE}, {"values": "A" * 9000}):
            page = await person.get("@/templates/newsletter", **odd)
            assert page.status_code == 200
            assert not any(raw in page.text for raw in RAW)


async def test_a_preview_is_filled_with_what_was_typed_and_keeps_nothing(house: House) -> None:
    async with house.browser() as person:
        await person.sign_in(VIEWER)
        await person.get("@/templates/password-reset")
        values = json.loads(person.page.css_first("textarea[name=variables]").text())  # type: ignore[union-attr]
        name = next(key for key, value in values.items() if isinstance(value, str) and "://" not in value)
        there = await person.post(
            "@/templates/password-reset", do="preview", variables=json.dumps({**values, name: HOSTILE})
        )
        assert there.status_code == 303
        page = await person.get(there.headers["location"].removeprefix("/app"))
        assert page.status_code == 200
        assert not any(raw in page.text for raw in RAW)
        for html in await frames(person):
            assert "<script>alert" not in html, "escaped by the template itself"
        for typed, said in (
            ("{", "are not JSON: line 1"),
            ("[1]", "must be an object"),
            (json.dumps({"x": "y" * 40_000}), "are too long"),
            ("[" * 15_000, "are not JSON"),
        ):
            answer = await person.post("@/templates/password-reset", do="preview", variables=typed)
            assert answer.status_code == 422, said
            assert said in person.text
        wrong = await person.get("@/templates/password-reset", values=packed({"no_such": HOSTILE}))
        assert "This mail cannot be made" in person.text
        assert "is not declared here" in person.text
        assert not any(raw in wrong.text for raw in RAW)
        assert person.page.css("iframe") == []
        for do in ("test", "retire"):
            await person.get("@/templates/password-reset")
            assert (await person.post("@/templates/password-reset", do=do, to="ann@example.org")).status_code == 403


async def test_a_version_is_written_tried_kept_and_taken_back(everywhere: House) -> None:
    house = everywhere
    async with house.browser() as person:
        await person.sign_in(MARKETER)
        await person.get("@/new-template")
        for fields, said in (
            ({"name": "Spring Sale"}, "lower-case letters"),
            ({"name": "newsletter"}, "is taken"),
            ({"html_en": "<p>{{ first_nam }}</p>"}, "HTML in English"),
            ({"html_en": "<p>{% for x in y %}</p>"}, "HTML in English"),
            ({"subject_uk": "{{ first_name"}, "Subject in Ukrainian"),
            ({"variables": "{"}, "are not JSON: line 1"),
            ({"variables": '{"first_name": {"type": "whim"}}'}, "needs a type"),
            ({"topic": HOSTILE}, "Topic: must be"),
            ({"subject_other": "Wiosna", "text_other": "x"}, "say which language"),
            ({"locale": "pl", "subject_other": "Wiosna {{ nope }}", "text_other": "x"}, "Subject in another language:"),
            ({"subject_en": "", "html_en": "", "subject_uk": "", "text_uk": ""}, "Words"),
        ):
            answer = await person.post("@/new-template", {"name": "spring", **SPRING, "do": "save", **fields})
            assert answer.status_code == 422, fields
            assert said in person.text, fields
            assert not any(raw in answer.text for raw in RAW)
            area = person.page.css_first("textarea[name=html_en]")
            assert area is not None
            assert area.text().strip() == fields.get("html_en", SPRING["html_en"]).replace("\r\n", "\n"), "stays"
        checked = await person.post("@/new-template", {"name": "spring", **SPRING, "do": "check"})
        assert checked.status_code == 200
        assert "It renders in every language" in person.text
        assert (await person.get("@/templates/spring")).status_code == 404
        await person.get("@/new-template")
        kept = await person.post("@/new-template", {"name": "spring", **SPRING, "do": "save"})
        assert kept.headers["location"] == "/app/t/default/templates/spring?done=template_saved"
        body = (await current(house, "spring")).body
        assert body.parts["en"].html == "<p>Hello {{ first_name }}</p>\n<p>All of it.</p>"
        assert sorted(body.parts) == ["en", "uk"]
        await person.get("@/templates/spring")
        assert "Spring for Ann" in person.text
        await person.get("@/templates/spring/edit")
        assert person.page.css_first("input[name=name]") is None
        second = {**SPRING, "do": "save", "locale": "pl", "subject_other": "Wiosna", "html_other": f"<p>{HOSTILE}</p>"}
        assert (await person.post("@/templates/spring/edit", second)).status_code == 303
        assert (await current(house, "spring")).version == 2
        page = await person.get("@/templates/spring/edit")
        assert not any(raw in page.text for raw in RAW)
        assert person.page.css_first("textarea[name=html_pl]") is not None
        page = await person.get("@/templates/spring", version="1")
        assert "This is version 1; a new mail gets another one" in person.text
        assert not any(raw in page.text for raw in RAW)
        await person.get("@/templates/spring")
        assert (await person.post("@/templates/spring", do="retire")).headers["location"].endswith("template_retired")
        await person.get("@/templates/spring", version="2")
        assert "retired" in person.text, "what was sent can still be looked at"
    acts = [act for act in await house.acts() if act.startswith("template.")]
    assert acts == ["template.saved", "template.saved", "template.retired"]


async def test_another_tenants_template_is_not_there(house: House) -> None:
    await house.customer()
    async with house.browser() as person:
        await person.sign_in(MARKETER)
        await person.get("@/new-template")
        await person.post("@/new-template", {"name": "spring", **SPRING, "do": "save"})
    await house.user("boss@customer.example", tenant="customer")
    async with house.browser() as boss:
        boss.tenant = "customer"
        await boss.sign_in("boss@customer.example")
        for path in ("", "/frame", "/edit"):
            assert (await boss.get(f"@/templates/spring{path}")).status_code == 404
        await boss.get("@/templates")
        assert "spring" not in boss.text


async def test_a_test_goes_to_one_address_outside_of_every_report_unless_it_is_suppressed(house: House) -> None:
    async with house.browser() as person:
        await person.sign_in(MARKETER)
        await person.get("@/templates/newsletter")
        typed = {"do": "test", "locale": "uk", "variables": person.page.css_first("textarea").text()}  # type: ignore[union-attr]
        for to, said in (("nobody", "has no @"), ("", "Send it to")):
            assert (await person.post("@/templates/newsletter", {**typed, "to": to})).status_code == 422
            assert said in person.text
        sent = await person.post("@/templates/newsletter", {**typed, "to": "ann@example.org"})
        assert "done=template_tested" in sent.headers["location"]
        (email,) = await house.service.database.read(lambda session: session.exec(select(Email)).all())
        assert (email.address, email.template, email.tags) == ("ann@example.org", "newsletter", {"test": "true"})
        assert (email.opens, email.clicks, email.locale) == ("off", "off", "uk")
        page = await person.get(sent.headers["location"].removeprefix("/app"))
        assert "ann@example.org" not in page.text
        await house.user("help@ringwise.example")
    async with house.browser() as owner:
        await owner.sign_in("help@ringwise.example")
        await owner.get("@/suppressions/add")
        await owner.post("@/suppressions/add", email="bob@example.org", reason="manual", note="no")
        await owner.get("@/templates/newsletter")
        none = await owner.post("@/templates/newsletter", {**typed, "to": "bob@example.org"})
        assert "done=template_not_tested" in none.headers["location"]
    found = await house.service.database.read(lambda session: session.exec(select(Email)).all())
    assert {each.address: each.status for each in found}["bob@example.org"] is Status.SUPPRESSED
    assert (await house.acts()).count("template.tested") == 2


@pytest.mark.parametrize("scheme", list(Scheme))
def test_a_mail_is_shown_in_the_colours_that_are_asked_for_and_nothing_else_of_it_changes(scheme: Scheme) -> None:
    html = (
        '<meta name="color-scheme" content="light dark"><style>:root { color-scheme: light dark; }'
        "@media (prefers-color-scheme: dark) { p { color: white } }"
        "@media ( PREFERS-color-scheme :light ) { p { color: black } }</style>"
        "<p>(prefers-color-scheme: dark) color-scheme: light dark</p>"
    )
    dark, light = (
        ("(min-width: 0px)", "(max-width: 0px)") if scheme is Scheme.DARK else ("(max-width: 0px)", "(min-width: 0px)")
    )
    assert coloured(html, scheme) == (
        f'<meta name="color-scheme" content="{scheme}"><style>:root {{ color-scheme: {scheme}; }}'
        f"@media {dark} {{ p {{ color: white }} }}"
        f"@media {light} {{ p {{ color: black }} }}</style>"
        "<p>(prefers-color-scheme: dark) color-scheme: light dark</p>"
    )


def test_what_a_mail_could_do_better_is_remarked() -> None:
    html = '<a href="http://a.example">a</a><a href="https://b.example">b</a><img src="https://c.example/c.png">'
    assert remarks("Hi", html + '<img alt="" src="x">', written_text=False) == [
        Remark(Kind.NO_ALT, 1),
        Remark(Kind.PLAIN_HTTP, 1),
        Remark(Kind.MADE_TEXT),
    ]
    assert remarks("x" * 79, "<p>" + "y" * 103 * 1024, written_text=True) == [
        Remark(Kind.LONG_SUBJECT, 79),
        Remark(Kind.CLIPPED, 103),
    ]
    assert remarks("Hi", None, written_text=True) == [Remark(Kind.NO_HTML)]
    assert remarks("Hi", "<p>Hello</p>", written_text=True) == []


def test_variables_survive_an_address_and_a_bomb_stays_small() -> None:
    values: dict[str, object] = {"name": "Зоя", "list": [1, {"a": None}]}
    assert unpacked(packed(values)) == values
    bomb = urlsafe_b64encode(zlib.compress(b'{"x": "' + b"y" * 50_000_000 + b'"}', 9)[:4500]).decode()
    assert unpacked(bomb) is None
    for text in ("", "é", "AAAA", urlsafe_b64encode(zlib.compress(b"[1]")).decode()):
        assert unpacked(text) is None
