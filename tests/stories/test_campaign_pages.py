"""A campaign in a real browser that runs no script: made, filled by a file, started, watched until it is done."""

from pathlib import Path
from urllib.parse import urlsplit

from playwright.async_api import expect

from tests.stories.browsing import check, chromium, needs_chromium, user, walking  # noqa: F401
from tests.stories.served import serving

#: A browser knows when it is done; a slow machine may take its time.
PATIENCE = 60_000
MIA = "mia@ringwise.example"


async def test_a_marketer_makes_fills_starts_and_watches_a_campaign(tmp_path: Path) -> None:
    people = tmp_path / "people.csv"
    people.write_text("email;name\n" + "".join(f"p{number}@example.org;P\n" for number in range(40)) + "nobody;N\n")
    with serving(tmp_path / "data") as served:
        async with chromium() as browser:
            async with walking(served, browser, width=375, scripts=False) as mia:
                page = mia.page
                page.set_default_timeout(PATIENCE)
                await user(mia, MIA, "marketer")
                await mia.sign_in(MIA)
                await mia.open("/campaigns")
                await page.get_by_role("link", name="New campaign").first.click()
                await page.get_by_label("Name").fill("March")
                await page.get_by_label("Subject").fill("News")
                await page.get_by_label("Plain text").fill("It is here.")
                await page.get_by_label("Topic").select_option("newsletter")
                await mia.press("Make the campaign")
                await page.get_by_role("link", name="Add recipients").click()
                await page.get_by_label("File").set_input_files(people)
                await mia.press("Add them")
                assert "42" in await page.locator("tbody").inner_text(), "the line that was refused"
                await page.get_by_role("link", name="To the campaign").click()
                await page.locator("summary", has_text="Start").click()
                await page.get_by_role("button", name="Start").click()
                # The page asks for itself again: nobody presses anything.
                await expect(page.locator(".lead .badge")).to_have_text("Completed", timeout=PATIENCE)
                await expect(page.locator(".progress small")).to_have_text("40 of 40 settled")
                here = urlsplit(page.url).path
            async with walking(served, browser, language="uk") as mia:
                mia.page.set_default_timeout(PATIENCE)
                await mia.sign_in(MIA)
                for name, path in (
                    ("campaigns", f"{served.url}/app/t/default/campaigns"),
                    ("campaign-new", f"{served.url}/app/t/default/campaigns/new?template=newsletter"),
                    ("campaign", f"{served.url}{here}"),
                    ("campaign-recipients", f"{served.url}{here}/recipients"),
                    ("campaign-report", f"{served.url}{here}/report"),
                    ("campaign-compare", f"{served.url}{here}/compare"),
                    ("campaign-who", f"{served.url}{here}/who?did=bounced"),
                    ("reports", f"{served.url}/app/t/default/reports"),
                ):
                    assert await mia.open(path) == 200, name
                    await check(mia.page, name)
