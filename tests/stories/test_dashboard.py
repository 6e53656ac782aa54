"""The dashboard in a real browser: sign in, another sender, a key; axe-core finds nothing, a phone is wide enough."""

from pathlib import Path
from typing import Literal

from playwright.async_api import async_playwright

from tests.stories.browsing import CHROMIUM, PASSWORD, check, needs_chromium  # noqa: F401
from tests.stories.served import serving

#: Each language, width and colour, in as few walks as meet them all: axe takes a second a page.
WAYS: tuple[tuple[str, int, Literal["dark", "light"]], ...] = (
    ("en", 375, "dark"),
    ("uk", 1440, "dark"),
    ("uk", 375, "light"),
    ("en", 1440, "light"),
)
MENU = {"en": "Menu", "uk": "Меню"}


async def test_a_user_sets_a_password_signs_in_changes_the_sender_and_makes_a_key(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.run("tenant", "create", "acme", "--from", "Acme Bikes <hi@acme.example>")
        email = "zoe@ringwise.example"
        link = served.run(
            "user", "create", email, "--role", "owner", "--tenant", "default", "--url", served.url
        ).strip()
        served.run("user", "create", email, "--role", "viewer", "--tenant", "acme")
        link = served.run("user", "reset", email, "--url", served.url).strip() or link
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            try:
                # axe comes in as a script, which the pages' own policy forbids.
                context = await browser.new_context(
                    viewport={"width": 1440, "height": 900}, locale="en", bypass_csp=True
                )
                page = await context.new_page()
                await page.goto(link)
                await check(page, "password")
                await page.fill("#password", PASSWORD)
                await page.fill("#again", PASSWORD)
                await page.get_by_role("button", name="Set the password").click()
                await check(page, "sign-in")
                await page.fill("#email", email)
                await page.fill("#password", PASSWORD)
                await page.get_by_role("button", name="Sign in").click()
                await page.locator(".switch summary").click()
                await page.get_by_role("link", name="Acme Bikes").click()
                await page.wait_for_url("**/app/t/acme")
                assert await page.get_by_role("link", name="API keys").count() == 0, "a viewer there"
                await page.locator(".switch summary").click()
                await page.locator(".switch a", has_text="Owner").click()
                await page.get_by_role("link", name="API keys").click()
                await page.get_by_label("Name").fill("shop")
                await page.locator("input[value=read]").check()
                await page.get_by_role("button", name="Make the key").click()
                plain = await page.locator(".secret code").inner_text()
                assert plain.startswith("mk_")
                await page.locator("summary", has_text="Retire").first.click()
                await check(page, "keys-made")
                await page.get_by_role("button", name="Retire").click()
                assert "retired" in await page.get_by_role("status").inner_text()
                state = await context.storage_state()
                for language, width, scheme in WAYS:
                    context = await browser.new_context(
                        viewport={"width": width, "height": 800},
                        locale=language,
                        color_scheme=scheme,
                        bypass_csp=True,
                        storage_state=state,
                    )
                    page = await context.new_page()
                    for path in ("", "/webhooks", "/keys", "/users", "/audit", "/settings"):
                        answer = await page.goto(f"{served.url}/app/t/default{path}")
                        assert answer is not None
                        assert answer.status == 200
                        assert len(await answer.body()) < 300_000
                        await check(page, f"{path[1:] or 'home'}-{language}-{scheme}")
                    if width == 375:
                        await page.get_by_role("button", name=MENU[language]).click()
                        assert await page.locator("#menu").is_visible()
                        await check(page, f"menu-{language}-{scheme}")
                    await context.close()
            finally:
                await browser.close()
