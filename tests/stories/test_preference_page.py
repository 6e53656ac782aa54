"""The pages of recipients in a real browser: axe-core finds nothing, keys suffice, a phone is wide enough."""

from pathlib import Path
from typing import cast

import pytest
from playwright.async_api import Browser, Page, async_playwright

from tests.stories.browsing import CHROMIUM, check, needs_chromium  # noqa: F401
from tests.stories.served import serving
from tests.stories.test_opt_out import NEWSLETTER, send

SIZES = ((375, 800), (1440, 900))


async def press(page: Page, button: str) -> None:
    """Reach a button by keys alone, and press it."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        if (
            await page.evaluate("document.activeElement.matches('button') && document.activeElement.textContent")
            == button
        ):
            async with page.expect_navigation():
                await page.keyboard.press("Enter")
            return
    pytest.fail(f"no key leads to {button}")


async def walk(browser: Browser, leave: str, choose: str, size: tuple[int, int], words: dict[str, str]) -> str:
    """Leave, take it back, pause, ask for the link; return nothing but what the last page says."""
    language = words["language"]
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]}, locale=language, bypass_csp=True
    )
    page = await context.new_page()
    await page.goto(leave)
    await check(page, f"ask-{language}")
    await press(page, words["leave"])
    await check(page, f"done-{language}")
    await press(page, words["undo"])
    await page.goto(choose)
    await check(page, f"stop-{language}")
    await page.get_by_role("checkbox").first.focus()
    await page.keyboard.press("Space")
    await press(page, words["stop"])
    await check(page, f"stopped-{language}")
    await press(page, words["undo"])
    await press(page, words["link"])
    await check(page, f"link-{language}")
    told = await page.get_by_role("status").inner_text()
    await context.close()
    return told


WORDS = {
    "en": {
        "language": "en",
        "leave": "Unsubscribe",
        "undo": "Undo",
        "stop": "Stop what I ticked",
        "link": "Mail me the link",
    },
    "uk": {
        "language": "uk",
        "leave": "Відписатися",
        "undo": "Скасувати",
        "stop": "Припинити позначене",
        "link": "Надіслати посилання",
    },
}


@pytest.mark.parametrize("language", WORDS)
async def test_a_person_leaves_chooses_and_edits_by_keys_alone(tmp_path: Path, language: str) -> None:
    with serving(tmp_path) as served, served.client("send:promotional", "read", "admin") as client:
        to = "ann@example.org"
        served.settled(client, send(client, to, {**NEWSLETTER, "locale": language}))
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            try:
                box = await browser.new_page()
                leave, choose = await _links(box, served.url, "/u/", "/p/")
                for size in SIZES:
                    told = await walk(browser, leave, choose, size, WORDS[language])
                    assert "a•••@example.org" in told
                (edit,) = await _links(box, served.url, "/p/")
                for size in SIZES:
                    context = await browser.new_context(
                        viewport={"width": size[0], "height": size[1]}, locale="en", bypass_csp=True
                    )
                    page = await context.new_page()
                    await page.goto(edit)
                    assert await page.get_by_role("radio").count() >= 8, "the link edits"
                    await check(page, f"edit-{language}")
                    await context.close()
            finally:
                await browser.close()


async def _links(page: Page, url: str, *kinds: str) -> list[str]:
    """Return links of the newest mail in the inbox."""
    await page.goto(url + "/inbox")
    await page.wait_for_timeout(1500)
    await page.reload()
    await (
        page.get_by_text("News of the week")
        .or_(page.get_by_text("choose what you get"))
        .or_(page.get_by_text("Посилання, щоб"))
        .first.click(timeout=5000)
    )
    frame = page.frame_locator("iframe").locator("body")
    found = cast(
        "list[str]", await frame.evaluate("body => [...body.querySelectorAll('a[href]')].map(each => each.href)")
    )
    return [next(each for each in found if kind in each) for kind in kinds]
