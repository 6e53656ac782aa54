"""A campaign in a real browser that runs no script: made, filled by a file, started, watched until it is done."""

from pathlib import Path

from playwright.async_api import async_playwright, expect

from tests.stories.browsing import CHROMIUM, PASSWORD, check, needs_chromium  # noqa: F401
from tests.stories.served import serving

#: A browser knows when it is done; a slow machine may take its time.
PATIENCE = 60_000


async def test_a_marketer_makes_fills_starts_and_watches_a_campaign(tmp_path: Path) -> None:
    people = tmp_path / "people.csv"
    people.write_text("email;name\n" + "".join(f"p{number}@example.org;P\n" for number in range(40)) + "nobody;N\n")
    with serving(tmp_path / "data") as served:
        link = served.run("user", "create", "mia@ringwise.example", "--role", "marketer", "--url", served.url).strip()
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            try:
                context = await browser.new_context(
                    viewport={"width": 375, "height": 800}, locale="en", java_script_enabled=False
                )
                page = await context.new_page()
                page.set_default_timeout(PATIENCE)
                await page.goto(link)
                await page.fill("#password", PASSWORD)
                await page.fill("#again", PASSWORD)
                await page.get_by_role("button", name="Set the password").click()
                await page.fill("#email", "mia@ringwise.example")
                await page.fill("#password", PASSWORD)
                await page.get_by_role("button", name="Sign in").click()
                await page.goto(f"{served.url}/app/t/default/campaigns")
                await page.get_by_role("link", name="New campaign").first.click()
                await page.get_by_label("Name").fill("March")
                await page.get_by_label("Subject").fill("News")
                await page.get_by_label("Plain text").fill("It is here.")
                await page.get_by_label("Topic").select_option("newsletter")
                await page.get_by_role("button", name="Make the campaign").click()
                await page.get_by_role("link", name="Add recipients").click()
                await page.get_by_label("File").set_input_files(people)
                await page.get_by_role("button", name="Add them").click()
                assert "42" in await page.locator("tbody").inner_text(), "the line that was refused"
                await page.get_by_role("link", name="To the campaign").click()
                await page.locator("summary", has_text="Start").click()
                await page.get_by_role("button", name="Start").click()
                # The page asks for itself again: nobody presses anything.
                await expect(page.locator(".lead .badge")).to_have_text("Completed", timeout=PATIENCE)
                await expect(page.locator(".progress small")).to_have_text("40 of 40 settled")
                state = await context.storage_state()
                # axe comes in as a script, which the pages' own policy forbids.
                context = await browser.new_context(
                    viewport={"width": 1440, "height": 900}, locale="uk", bypass_csp=True, storage_state=state
                )
                page, here = await context.new_page(), page.url.partition("?")[0]
                for name, path in (
                    ("campaigns", f"{served.url}/app/t/default/campaigns"),
                    ("campaign-new", f"{served.url}/app/t/default/campaigns/new?template=newsletter"),
                    ("campaign", here),
                    ("campaign-recipients", f"{here}/recipients"),
                    ("campaign-report", f"{here}/report"),
                    ("campaign-compare", f"{here}/compare"),
                    ("campaign-who", f"{here}/who?did=bounced"),
                    ("reports", f"{served.url}/app/t/default/reports"),
                ):
                    answer = await page.goto(path)
                    assert answer is not None
                    assert answer.status == 200, name
                    await check(page, name)
            finally:
                await browser.close()
