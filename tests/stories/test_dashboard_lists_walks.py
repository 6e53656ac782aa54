"""More walks through the dashboard in a real browser: people, what stands against mail, topics, streams, templates."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.stories.browsing import check, chromium, needs_chromium, user, walking  # noqa: F401
from tests.stories.served import Served, serving

OWNER, SUPPORT, READER = "zoe@ringwise.example", "sam@ringwise.example", "ann@example.org"
HOSTILE = '"><img src=x onerror=alert(1)>'
NEWS = ("--stream", "promotional", "--topic", "newsletter", "--subject", HOSTILE, "--text", "News.")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("walks")) as running:
        running.run("send", "--to", READER, *NEWS)
        yield running


@pytest.fixture(scope="module")
async def browser(served: Served) -> AsyncIterator[Browser]:
    async with chromium() as browser:
        async with walking(served, browser) as zoe, walking(served, browser) as sam:
            await user(zoe, OWNER, "owner")
            await user(sam, SUPPORT, "support")
        yield browser


async def test_support_finds_a_mail_and_its_person_opts_them_out_and_takes_it_back(
    served: Served, browser: Browser
) -> None:
    async with walking(served, browser, width=375) as sam:
        page = sam.page
        await sam.sign_in(SUPPORT)
        await sam.open("/emails")
        await page.get_by_label("Who or which").fill(READER)
        await sam.press("Search")
        assert READER not in page.url, "no address stands in an address"
        await page.locator("main table a").first.click()
        await sam.sees("sent")
        await check(page, "email")
        await page.get_by_role("link", name="About this person").click()
        assert "Yes: nothing forbids it." in await sam.text()
        await check(page, "person")
        await page.locator("summary", has_text="Opt them out").click()
        await page.locator("#f-note_leave").fill("Ticket 12: asked on the phone")
        await page.get_by_role("button", name="Opt out", exact=True).click()
        await expect(page.get_by_role("status")).to_contain_text("They are opted out.")
        assert "No: the person has unsubscribed." in await sam.text()
        assert "suppressed" in served.run("send", "--to", READER, *NEWS)
        await sam.press("Undo support’s last act")
        await expect(page.get_by_role("status")).to_contain_text("undone")
        assert "Yes: nothing forbids it." in await sam.text()
        assert "queued" in served.run("send", "--to", READER, *NEWS)


async def test_a_list_is_looked_at_brought_in_and_one_entry_of_it_lifted(
    served: Served, browser: Browser, tmp_path: Path
) -> None:
    brought = tmp_path / "left.csv"
    brought.write_text("email,reason\nbob@example.org,hard_bounce\nkim@example.org,unsubscribe\nnobody,unsubscribe\n")
    async with walking(served, browser) as zoe:
        page = zoe.page
        await zoe.sign_in(OWNER)
        await zoe.choose("Suppressions")
        await page.get_by_role("link", name="Import").click()
        await page.get_by_label("File").set_input_files(brought)
        await zoe.press("Look at it first")
        assert "Nothing is written yet." in await zoe.text()
        assert "kim@example.org" not in served.run("suppression", "list", "--json")
        await check(page, "import")
        await zoe.press("Bring in 2")
        assert "The list is brought in" in await zoe.text()
        await page.get_by_role("link", name="See what was imported").click()
        await page.get_by_role("link", name="kim@example.org").click()
        assert "Only the person, by a fresh opt-in." in await zoe.text()
        assert await page.get_by_role("button", name="Lift the entry").count() == 0
        await page.go_back()
        await page.get_by_role("link", name="bob@example.org").click()
        await page.get_by_label("Note").fill("The mailbox exists again")
        await zoe.press("Lift the entry")
        await expect(page.get_by_role("status")).to_contain_text("The entry is lifted.")
        assert "queued" in served.run("send", "--to", "bob@example.org", *NEWS)


async def test_a_topic_is_made_in_two_languages_and_the_promotional_stream_rests_meanwhile(
    served: Served, browser: Browser
) -> None:
    async with walking(served, browser) as zoe:
        page = zoe.page
        await zoe.sign_in(OWNER)
        await zoe.choose("Streams")
        asking = page.locator("details.confirm", has_text="Pause the stream for everybody").last
        await asking.locator("summary").click()
        await asking.get_by_label("Reason").fill("wrong prices")
        await asking.get_by_role("button").click()
        assert "wrong prices" in served.run("stream", "status")
        await check(page, "streams")
        await zoe.choose("Topics")
        await page.get_by_label("Key").fill("recipes")
        await page.locator("[name=name_en]").fill("Recipes")
        await page.locator("[name=name_uk]").fill("Рецепти")
        await zoe.press("Make the topic")
        await expect(page.get_by_role("status")).to_contain_text("The topic is made.")
        assert "Recipes" in served.run("topic", "list")
        await zoe.choose("Streams")
        await zoe.press("Let the stream go on")
        assert "wrong prices" not in served.run("stream", "status")


async def test_a_template_is_written_looked_at_on_a_phone_and_tested(served: Served, browser: Browser) -> None:
    async with walking(served, browser) as zoe:
        page = zoe.page
        await zoe.sign_in(OWNER)
        await zoe.choose("Templates")
        await page.get_by_role("link", name="New template").click()
        await page.get_by_label("Template", exact=True).fill("recipe-of-the-week")
        await page.locator("[name=topic]").select_option("newsletter")
        await page.locator("[name=variables]").fill('{"dish": {"type": "string", "example": "Borscht"}}')
        await page.locator("[name=subject_en]").fill("This week: {{ dish }}")
        await page.locator("[name=html_en]").fill("<h1>{{ dish }}</h1><p>{{ dinner }}</p>")
        await zoe.press("Save the version")
        assert "dinner" in await page.get_by_role("alert").inner_text(), "it names what nobody declared"
        await page.locator("[name=html_en]").fill("<h1>{{ dish }}</h1><p>Enough for four.</p>")
        await zoe.press("Save the version")
        assert "This week: Borscht" in await zoe.text()
        phone = page.locator("figure.phone iframe").content_frame
        await expect(phone.locator("h1")).to_have_text("Borscht")
        await page.get_by_label("What it is filled with (JSON)").fill('{"dish": "<script>alert(1)</script>"}')
        await zoe.press("Look at it with these")
        await expect(page.locator("figure.phone iframe").content_frame.locator("h1")).to_have_text(
            "<script>alert(1)</script>"
        )
        await check(page, "template")
        await page.get_by_label("Send it to").fill(READER)
        await zoe.press("Send it as a test")
        await page.get_by_role("status").wait_for()
        await zoe.choose("Audit log")
        assert "recipe-of-the-week" in await zoe.text()
