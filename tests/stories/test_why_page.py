"""An operator asks the page why somebody did not get a mail, in a real browser, by keys alone."""

from pathlib import Path

import httpx2
import pytest
from playwright.async_api import Browser, async_playwright

from tests.stories.browsing import CHROMIUM, check, needs_chromium  # noqa: F401
from tests.stories.served import Served, serving
from tests.stories.test_opt_out import NEWSLETTER, send
from tests.stories.test_preference_page import SIZES, press

TO = "ann@example.org"
WORDS = {
    "en": ("Show me why", "This mail goes", "This mail does not go"),
    "uk": ("Показати чому", "Цей лист надсилається", "Цей лист не надсилається"),
}


async def ask(browser: Browser, served: Served, key: str, size: tuple[int, int], language: str) -> str:
    """Fill in the form, look at the page before and after, and return its title."""
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]}, locale=language, bypass_csp=True
    )
    page = await context.new_page()
    await page.goto(f"{served.url}/why")
    await check(page, f"why-{language}")
    await page.fill("#email", TO)
    await page.check("input[value=promotional]")
    await page.fill("#key", key)
    await press(page, WORDS[language][0])
    title = await page.get_by_role("heading", level=1).inner_text()
    await check(page, f"why-{title}")
    assert page.url == f"{served.url}/why"
    assert await context.cookies() == []
    await context.close()
    return title


@pytest.mark.parametrize("language", WORDS)
async def test_an_operator_sees_why_ann_gets_no_mail(tmp_path: Path, language: str) -> None:
    with (
        serving(tmp_path) as served,
        served.client("send:promotional", "read") as client,
        served.client("suppressions") as asking,
    ):
        served.settled(client, send(client, TO, NEWSLETTER))
        key = served.keys["suppressions"]
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            try:
                assert await ask(browser, served, key, SIZES[0], language) == WORDS[language][1]
                leave(asking)
                for size in SIZES:
                    assert await ask(browser, served, key, size, language) == WORDS[language][2]
            finally:
                await browser.close()


def leave(client: httpx2.Client) -> None:
    entry = {"email": TO, "reason": "unsubscribe", "scope": "stream:promotional"}
    assert client.post("/v1/suppressions", json=entry).status_code == 200
