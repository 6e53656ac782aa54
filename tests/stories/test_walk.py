"""A newcomer's walk in a real browser: read a newsletter, unsubscribe, confirm; the invoice still comes."""

from pathlib import Path

from playwright.async_api import Browser, async_playwright

from tests.stories.browsing import CHROMIUM, needs_chromium  # noqa: F401
from tests.stories.served import serving
from tests.stories.test_opt_out import INVOICE, NEWSLETTER, captured, send


async def test_a_newcomer_unsubscribes_and_the_invoice_still_arrives(tmp_path: Path) -> None:
    with serving(tmp_path) as served, served.client("send:promotional", "send:transactional", "read") as client:
        to = "ann@example.org"
        served.settled(client, send(client, to, NEWSLETTER))
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            try:
                await _unsubscribe(browser, served.url)
            finally:
                await browser.close()
        second = client.post("/v1/emails", json={**NEWSLETTER, "to": to}).json()
        assert second["status"] == "suppressed"
        assert served.settled(client, send(client, to, INVOICE))["status"] == "sent"
        assert [str(mail["Subject"]) for mail in captured(client, to)] == ["Invoice 7", "News of the week"]


async def _unsubscribe(browser: Browser, url: str) -> None:
    page = await browser.new_page(locale="en-GB", viewport={"width": 375, "height": 800})
    await page.goto(url + "/inbox")
    await page.get_by_text("News of the week").first.click()
    mail = page.frame_locator("iframe")
    async with page.expect_popup() as opened:
        await mail.get_by_role("link", name="Unsubscribe", exact=False).first.click()
    leaving = await opened.value
    await leaving.wait_for_load_state()
    assert "/u/" in leaving.url
    assert "a•••@example.org" in await leaving.inner_text("body")
    await leaving.get_by_role("button").first.click()
    await leaving.wait_for_load_state()
    # Nothing on these pages may be wider than the phone.
    assert await leaving.evaluate("document.documentElement.scrollWidth") <= 375
    await leaving.close()
    await page.close()
