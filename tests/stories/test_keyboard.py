"""A page by keys alone: its heading first, then everything in the order it is read, each thing seen and named."""

import re
from email.message import EmailMessage
from pathlib import Path
from typing import TypedDict, cast

import pytest
from playwright.async_api import Page, async_playwright

from tests.stories.browsing import CHROMIUM, needs_chromium  # noqa: F401
from tests.stories.served import serving
from tests.stories.test_opt_out import NEWSLETTER, captured, send

#: What Tab stops at, in the order of the document; of radio buttons of one name it is one.
_STOPS = """() => {
  const seen = new Set();
  return [...document.querySelectorAll('a[href], button, input:not([type=hidden]), textarea')].filter(each => {
    if (each.type !== 'radio') return true;
    const group = document.querySelector(`input[name="${each.name}"]:checked`);
    if (seen.has(each.name) || (group && group !== each)) return false;
    seen.add(each.name);
    return true;
  }).length;
}"""
_FOCUSED = """() => {
  const own = document.activeElement, style = getComputedStyle(own), box = own.getBoundingClientRect();
  const all = [...document.querySelectorAll('*')], heading = all.indexOf(document.querySelector('h1'));
  const target = (own.closest('label') || own).getBoundingClientRect();
  const label = own.labels && own.labels.length ? own.labels[0].textContent : own.textContent;
  return {
    place: all.indexOf(own), afterHeading: all.indexOf(own) > heading, tag: own.tagName,
    name: (own.getAttribute('aria-label') || label || '').trim(),
    outline: style.outlineStyle === 'none' ? 0 : parseFloat(style.outlineWidth),
    inView: box.top >= 0 && box.bottom <= innerHeight, top: box.top + scrollY, height: target.height,
  };
}"""


def links_of(mail: EmailMessage, *kinds: str) -> list[str]:
    """Return links of a mail, one a kind."""
    html = mail.get_body(("html",))
    assert html is not None
    return [re.findall(rf'href="(http[^"]*{kind}[^"]+)"', html.get_content())[0] for kind in kinds]


class Focused(TypedDict):
    """What has the focus."""

    place: int
    afterHeading: bool
    tag: str
    name: str
    #: Pixels.
    outline: float
    inView: bool
    top: float
    height: float


async def tabbed(page: Page) -> list[Focused]:
    """Press Tab until the page has no more, and return where it stopped."""
    stops, number = [], await page.evaluate(_STOPS)
    for _ in range(number):
        await page.keyboard.press("Tab")
        stops.append(cast("Focused", await page.evaluate(_FOCUSED)))
    return stops


def right(stops: list[Focused]) -> None:
    """See that each stop is where a reader expects it, and that they see it."""
    places, tops = [each["place"] for each in stops], [each["top"] for each in stops]
    assert places == sorted(set(places)), "Tab follows the document, and goes nowhere twice"
    assert tops == sorted(tops), "and the document follows the eye"
    assert all(each["afterHeading"] for each in stops), "whoever listens hears the heading first"
    assert [each for each in stops if each["outline"] < 2 or not each["inView"]] == [], "the focus is seen"
    assert [each for each in stops if not each["name"]] == [], "and named"
    assert [each for each in stops if each["height"] < 44] == [], "and a thumb finds it"


@pytest.mark.parametrize("language", ["en", "uk"])
async def test_tab_goes_through_what_a_person_reads(tmp_path: Path, language: str) -> None:
    with serving(tmp_path) as served, served.client("send:promotional", "read", "admin") as client:
        to = "ann@example.org"
        served.settled(client, send(client, to, {**NEWSLETTER, "locale": language}))
        leave, choose = links_of(captured(client, to)[0], "/u/", "/p/")
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            try:
                page = await browser.new_page(viewport={"width": 375, "height": 800}, locale=language)
                for url, least in ((leave, 9), (choose, 11), (f"{served.url}/subscribe", 6)):
                    await page.goto(url)
                    stops = await tabbed(page)
                    assert len(stops) >= least, url
                    right(stops)
                # Enter presses what has the focus: the first button of the page leaves, the next takes it back.
                await page.goto(leave)
                for url in (leave, leave):
                    await page.keyboard.press("Tab")
                    async with page.expect_navigation():
                        await page.keyboard.press("Enter")
                    assert page.url == url
                    # What was done is told to whoever listens, before anything else.
                    assert await page.locator("h1 + [role=status]").count() == 1
                    right(await tabbed(page))
                    await page.locator("h1").click()
                asked = {"email": to, "stream": "promotional"}
                assert client.get("/v1/suppressions/check", params=asked).json()["allowed"] is True
            finally:
                await browser.close()
