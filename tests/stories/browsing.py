"""Debian's Chromium at the dashboard of a real service: what the walks have in common."""

import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright

from tests.stories.served import Served

CHROMIUM = shutil.which("chromium")
#: Where the pictures go, for whoever wants to look at them.
PICTURES = os.environ.get("PICTURES", "")
PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def needs_chromium() -> None:
    """Skip where there is no Chromium; fail in CI. Import it into each file of walks."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("CI has no Chromium: .ci/run installs it")
        pytest.skip("no Chromium here: install Debian's package chromium")


async def check(page: Page, name: str) -> None:
    """Ask axe-core, and see that nothing is wider than the screen."""
    size = page.viewport_size
    assert size is not None
    found = await Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert await page.evaluate("document.documentElement.scrollWidth") <= size["width"], name
    if PICTURES:
        await page.screenshot(path=Path(PICTURES) / f"{name}-{size['width']}.png", full_page=True)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start a browser without a window."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Walker:
    """One person at one browser with cookies of its own, and the page before them."""

    served: Served
    page: Page

    async def open(self, path: str, tenant: str = "default") -> int:
        """Open a screen of a tenant (`/keys`), or any address; return its HTTP status."""
        url = path if path.startswith("http") else f"{self.served.url}/app/t/{tenant}{path}"
        answer = await self.page.goto(url)
        assert answer is not None
        return answer.status

    async def press(self, name: str) -> None:
        """Press a button by what it says."""
        await self.page.get_by_role("button", name=name, exact=True).first.click()

    async def agree(self, name: str) -> None:
        """Press a button that asks first, and say yes."""
        asking = self.page.locator("details.confirm", has=self.page.locator("summary", has_text=name))
        await asking.locator("summary").click()
        await asking.get_by_role("button", name=name).click()

    async def choose(self, name: str) -> None:
        """Choose a line of the menu."""
        await self.page.locator("#menu").get_by_role("link", name=name, exact=True).click()

    async def menu(self) -> dict[str, str]:
        """Return the lines of the menu: what each says, and its address."""
        links = await self.page.locator("#menu .lines a").all()
        return {await link.inner_text(): str(await link.get_attribute("href")) for link in links}

    async def text(self) -> str:
        """Return all that the page says."""
        return await self.page.locator("body").inner_text()

    async def sees(self, words: str, *, seconds: float = 60) -> None:
        """Wait until the page says something, loading it again meanwhile."""
        until = time.monotonic() + seconds
        while words not in await self.text():
            assert time.monotonic() < until, f"{words!r} is not in: {await self.text()}"
            await self.page.wait_for_timeout(300)
            await self.page.reload()

    async def set_password(self, link: str, password: str = PASSWORD) -> None:
        """Follow a one-time link and set a password by it."""
        await self.page.goto(link)
        await self.page.fill("#password", password)
        await self.page.fill("#again", password)
        await self.press("Set the password")
        await self.page.wait_for_url("**/app/sign-in*")

    async def sign_in(self, email: str, password: str = PASSWORD) -> None:
        """Sign in at the door; where that leads is for the caller to see."""
        await self.page.goto(f"{self.served.url}/app/sign-in")
        await self.page.fill("#email", email)
        await self.page.fill("#password", password)
        # By the key: the button says it in the browser's language.
        async with self.page.expect_navigation():
            await self.page.press("#password", "Enter")

    async def sign_out(self) -> None:
        """Leave."""
        await self.press("Sign out")
        await self.page.wait_for_url("**/app/sign-in*")


@asynccontextmanager
async def walking(
    served: Served, browser: Browser, language: str = "en", width: int = 1440, *, scripts: bool = True
) -> AsyncIterator[Walker]:
    """Open a window for somebody new, in which perhaps no script runs; pictures are taken in light colours."""
    colours: Literal["light"] = "light"
    # axe comes in as a script, which the pages' own policy forbids.
    context = await browser.new_context(
        viewport={"width": width, "height": 900},
        locale=language,
        color_scheme=colours,
        bypass_csp=True,
        java_script_enabled=scripts,
    )
    try:
        yield Walker(served, await context.new_page())
    finally:
        await context.close()


async def user(walker: Walker, email: str, role: str, tenant: str = "default") -> None:
    """Make a user by the command line, who sets a password in this window."""
    words = ("--role", role, "--tenant", tenant, "--url", walker.served.url)
    await walker.set_password(walker.served.run("user", "create", email, *words).strip())
