"""Walks through the dashboard in a real browser: each is one thing that somebody came for."""

import base64
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser

from mailer.users import totp
from tests import hooks
from tests.hooks import Reply
from tests.stories.browsing import PASSWORD, chromium, needs_chromium, user, walking  # noqa: F401
from tests.stories.served import Served, serving

OWNER, READER = "zoe@ringwise.example", "ann@example.org"
HOSTILE = '"><img src=x onerror=alert(1)>'


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    # Endpoints of webhooks are on this machine here.
    with serving(tmp_path_factory.mktemp("walks"), outside_loopback="yes") as running:
        running.run("tenant", "create", "acme", "--from", "Acme Bikes <hi@acme.example>")
        mail = ("--stream", "transactional", "--to", READER, "--subject", HOSTILE, "--text", "Hello.")
        running.run("send", "--tenant", "default", *mail)
        yield running


@pytest.fixture(scope="module")
async def browser(served: Served) -> AsyncIterator[Browser]:
    async with chromium() as browser:
        async with walking(served, browser) as zoe:
            await user(zoe, OWNER, "owner")
        yield browser


async def test_the_second_step_is_turned_on_and_asked_for_ever_after(served: Served, browser: Browser) -> None:
    email = "tess@ringwise.example"
    async with walking(served, browser) as tess:
        page = tess.page
        await user(tess, email, "support")
        await tess.sign_in(email)
        await tess.open(f"{served.url}/app/account/second")
        await page.get_by_label("Present password").fill(PASSWORD)
        await tess.press("Begin")
        shown = await page.locator(".scan code").inner_text()
        secret = base64.b32decode(shown.replace(" ", "") + "=" * (-len(shown.replace(" ", "")) % 8))
        step = totp.step_of(datetime.now(UTC))
        await page.locator("input[name=code]").fill(totp.code(secret, step))
        await tess.press("Turn it on")
        spare = await page.locator(".codes code").first.inner_text()
        await tess.sign_out()
        await tess.sign_in(email)
        assert urlsplit(page.url).path == "/app/code"
        assert await tess.open("") == 200
        assert urlsplit(page.url).path == "/app/sign-in", "half a way in is none"
        await tess.sign_in(email)
        # Each code is good once: the next one is taken already, for a device whose clock is fast.
        await page.fill("#code", totp.code(secret, max(step + 1, totp.step_of(datetime.now(UTC)))))
        await tess.press("Go on")
        await page.wait_for_url("**/app/t/default")
        await tess.sign_out()
        await tess.sign_in(email)
        await page.fill("#code", spare)
        await tess.press("Go on")
        await page.wait_for_url("**/app/t/default")


async def test_a_webhook_is_added_gives_up_is_seen_at_home_and_mended(served: Served, browser: Browser) -> None:
    async with hooks.server() as crm, walking(served, browser) as zoe:
        page = zoe.page
        await zoe.sign_in(OWNER)
        await zoe.choose("Webhooks")
        await page.get_by_label("Address").fill(crm.url)
        await page.get_by_label("Description").fill(HOSTILE)
        assert not await page.get_by_label("email.bounced").is_visible(), "all events are wanted: none is ticked"
        await page.get_by_label("Which events").select_option("some")
        await page.get_by_label("email.bounced").check()
        await zoe.press("Add it")
        assert (await page.locator(".secret code").inner_text()).startswith("whsec_")
        await page.locator("td a", has_text=HOSTILE).click()
        await zoe.press("Send a test")
        await zoe.sees("204")
        assert len(crm.asked) == 1
        await page.locator("details.body summary").click()
        assert '"type": "webhook.test"' in await page.locator("details.body pre").inner_text()
        crm.answer = lambda _asked: Reply(410, body=HOSTILE.encode())
        await zoe.press("Send a test")
        await zoe.sees("It answered 410")
        assert HOSTILE in await zoe.text(), "shown as what it is"
        await zoe.choose("Home")
        await page.locator(".notice.bad a", has_text=HOSTILE).click()
        crm.answer = lambda _asked: Reply(204)
        await zoe.press("Enable")
        assert await page.locator(".badge", has_text="works").is_visible()
        await zoe.press("Send again all that failed")
        await zoe.sees("204")
        await page.get_by_label("State").select_option("failed")
        await zoe.press("Filter")
        await zoe.sees("No message has failed")
        await zoe.agree("New secret")
        assert (await page.locator(".secret code").inner_text()).startswith("whsec_")
        await zoe.agree("Remove")
        assert "The endpoint is removed" in await page.get_by_role("status").inner_text()
        assert "No endpoint yet" in await zoe.text()


async def test_whoever_is_invited_as_a_viewer_sees_numbers_and_nobodys_name(served: Served, browser: Browser) -> None:
    email = "vera@ringwise.example"
    async with walking(served, browser) as zoe, walking(served, browser) as vera:
        await zoe.sign_in(OWNER)
        await zoe.choose("Users")
        await zoe.page.get_by_label("E-mail address").fill(email)
        await zoe.page.get_by_label("Role", exact=True).select_option("viewer")
        await zoe.press("Invite")
        await vera.set_password(await zoe.page.locator(".secret code").inner_text())
        await vera.sign_in(email)
        seen, all_of_it = await vera.menu(), await zoe.menu()
        assert "Home" in seen
        assert seen.keys() < all_of_it.keys()
        for name, path in seen.items():
            assert await vera.open(served.url + path) == 200, name
            assert READER not in await vera.page.content(), name
        for name, path in all_of_it.items():
            if name not in seen:
                assert await vera.open(served.url + path) == 403, name
                assert "You may not do this" in await vera.text()
        await zoe.choose("Audit log")
        assert "added a member" in await zoe.text()


async def test_a_viewer_cannot_change_settings_even_with_a_form_of_their_own(served: Served, browser: Browser) -> None:
    email = "vic@ringwise.example"
    async with walking(served, browser) as zoe, walking(served, browser) as vic:
        await user(vic, email, "viewer")
        await vic.sign_in(email)
        assert "Settings" not in await vic.menu()
        # The token is right, the sign-in too: what is missing is the permission.
        await vic.page.evaluate(
            """() => {
                const form = document.querySelector("form[action$='/sign-out']");
                form.action = "/app/t/default/settings";
                form.insertAdjacentHTML("beforeend", '<input name="name" value="Somebody else">');
            }"""
        )
        await vic.press("Sign out")
        await vic.page.wait_for_load_state()
        assert "You may not do this" in await vic.text()
        await zoe.sign_in(OWNER)
        await zoe.choose("Settings")
        consent = zoe.page.locator("[name=consent]")
        assert await consent.input_value() == "required"
        await consent.select_option("not_refused")
        await zoe.press("Save")
        await zoe.page.get_by_role("status").wait_for()
        await zoe.choose("Settings")
        assert await consent.input_value() == "not_refused"
        assert "Somebody else" not in await zoe.page.content()


async def test_somebody_with_two_senders_reads_in_ukrainian_and_goes_from_one_to_the_other(
    served: Served, browser: Browser
) -> None:
    email = "olena@ringwise.example"
    async with walking(served, browser) as olena:
        page = olena.page
        await user(olena, email, "owner")
        served.run("user", "create", email, "--role", "viewer", "--tenant", "acme")
        await olena.sign_in(email)
        await olena.open(f"{served.url}/app/account")
        await page.locator("[name=locale]").select_option("uk")
        await olena.press("Save")
        assert await page.locator("html").get_attribute("lang") == "uk"
        await olena.open("")
        for path in (await olena.menu()).values():
            await olena.open(served.url + path)
            assert await page.locator("html").get_attribute("lang") == "uk", path
        await page.locator(".switch summary").click()
        await page.get_by_role("link", name="Acme Bikes").click()
        await page.wait_for_url("**/app/t/acme")
        assert "Налаштування" not in await olena.menu(), "a viewer there"
        assert await olena.open("/keys", tenant="acme") == 403
        assert "Вам цього не дозволено" in await olena.text()
