"""The door of the dashboard: who gets in, who waits, and what nobody learns there."""

import re
from collections.abc import AsyncIterator

import pytest
from sqlmodel import Session, select

from mailer import secrets
from mailer.models import LinkKind, SignIn, UserLink
from mailer.users import accounts, factors, signing, totp
from tests.dashboard.house import OWNER, PASSWORD, Browser, House, open_house

WRONG = "This address and password do not belong together."


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[House]:
    async with open_house(database_url) as house:
        await house.user()
        yield house


async def second_step(house: House) -> bytes:
    """Turn the second step of the owner on and return its secret; recovery code numbers are made too."""
    seals = secrets.seals(house.service.settings, factors.SEALED_FOR)

    def verb(session: Session) -> bytes:
        user = accounts.known(session, OWNER)
        secret = factors.begin(session, user, seals)
        assert factors.confirm(session, user, seals, totp.code(secret, totp.step_of(house.time)), house.time)
        return secret

    return await house.service.database.run(verb)


async def test_whoever_signs_in_sees_home_and_is_led_back_to_where_they_wanted(house: House) -> None:
    async with house.browser() as ann:
        door = await ann.get("/t/default/keys")
        assert (door.status_code, door.headers["location"]) == (303, "/app/sign-in?next=/app/t/default/keys")
        await ann.get("/sign-in", next="/app/t/default/keys")
        entered = await ann.post("/sign-in", email=OWNER, password=PASSWORD, next="/app/t/default/keys")
        assert (entered.status_code, entered.headers["location"]) == (303, "/app/t/default/keys")
        cookie = entered.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=lax", "Path=/app"} <= set(cookie.split("; "))
        assert "Secure" not in cookie, "without TLS a browser would not send it back"
        home = await ann.get("@")
        assert home.status_code == 200
        assert "Transactional mail" in ann.text
        assert (await ann.client.get("/")).headers["location"] == "/app"
        await ann.post("/sign-out")
        assert (await ann.get("@")).status_code == 303
    assert await house.acts() == ["user.signed_in", "user.signed_out"]


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example",
        "//evil.example",
        "/app/t/..//evil.example",
        "/app/t/\\evil.example",
        "/v1",
        "/app/t/x?y=1",
    ],
)
async def test_no_sign_in_leads_elsewhere(sqlite_url: str, elsewhere: str) -> None:
    async with open_house(sqlite_url) as house, house.browser() as ann:
        await house.user()
        await ann.get("/sign-in", next=elsewhere)
        entered = await ann.post("/sign-in", email=OWNER, password=PASSWORD, next=elsewhere)
        assert entered.headers["location"] == "/app"


async def test_a_cookie_is_secure_where_the_browser_speaks_tls(sqlite_url: str) -> None:
    async with open_house(sqlite_url, public_url="https://mail.example.org") as house, house.browser() as ann:
        await house.user()
        assert "Secure" in (await ann.get("/sign-in")).headers["set-cookie"]
        ann.client.headers["host"] = "127.0.0.1:8000"
        assert "Secure" not in (await ann.get("/sign-in")).headers["set-cookie"], "this machine has no TLS"


async def test_an_unknown_address_and_a_wrong_password_look_the_same(house: House) -> None:
    async with house.browser() as ann:
        pages = []
        for email in (OWNER, "nobody@ringwise.example", "no address at all"):
            answer = await ann.sign_in(email, "not the password")
            pages.append((answer.status_code, answer.text.replace(email, "").replace(ann.csrf(), "")))
            assert WRONG in ann.text
        assert pages[0] == pages[1] == pages[2]
        assert await house.acts() == ["user.sign_in_failed"] * 3, "written for nobody too: it takes as long"


async def test_too_many_tries_wait_longer_each_time_whether_the_account_exists_or_not(house: House) -> None:
    for email in (OWNER, "nobody@ringwise.example"):
        async with house.browser() as ann:
            answers = [(await ann.sign_in(email, "wrong " * 3)).status_code for _ in range(7)]
            assert answers == [403] * 5 + [429] * 2
    async with house.browser() as ann:
        assert (await ann.sign_in()).status_code == 429, "the right password does not help before the time is over"
        house.later(seconds=31)
        assert (await ann.sign_in(password="still not the one")).status_code == 403
        house.later(seconds=31)
        assert (await ann.sign_in()).status_code == 429, "twice as long now"
        house.later(seconds=31)
        assert (await ann.sign_in()).status_code == 303
        await ann.client.get("/app/sign-in")
        assert (await ann.sign_in(password="wrong once more")).status_code == 403, "counted anew"


async def test_a_reset_ends_the_wait_that_a_stranger_caused(house: House) -> None:
    async with house.browser() as ann:
        for _ in range(7):
            answer = await ann.sign_in(password="wrong " * 3)
        assert answer.status_code == 429
        token = await house.service.database.run(
            lambda session: accounts.reset(session, accounts.known(session, OWNER), house.time, second_factor=False)
        )
        await ann.get(f"/password/{token}")
        await ann.post(f"/password/{token}", password="a fresh password", again="a fresh password")
        assert (await ann.sign_in(password="a fresh password")).status_code == 303


async def test_a_network_that_tries_many_accounts_waits(sqlite_url: str) -> None:
    async with open_house(sqlite_url) as house, house.browser("198.51.100.9") as ann:
        await house.user()
        answers = [(await ann.sign_in(f"p{number}@x.example", "wrong")).status_code for number in range(42)]
        assert answers == [403] * 40 + [429] * 2
        async with house.browser("198.51.100.200") as neighbour, house.browser("203.0.113.1") as other:
            assert (await neighbour.sign_in()).status_code == 429
            assert (await other.sign_in()).status_code == 303


async def test_a_hundred_tries_at_once_are_a_hundred(house: House) -> None:
    async with house.browser() as ann:
        await ann.get("/sign-in")
        # One after the other or not, what counts is counted before the password is looked at.
        doors = [await ann.post("/sign-in", email=OWNER, password=str(number)) for number in range(8)]
        assert [door.status_code for door in doors].count(403) == 5


async def test_a_form_of_another_site_signs_nobody_in(house: House) -> None:
    async with house.browser() as ann:
        await ann.get("/sign-in")
        fields = {"email": OWNER, "password": PASSWORD, "csrf": ann.csrf()}
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
            answer = await ann.client.post("/app/sign-in", data=fields, headers=headers)
            assert answer.status_code == 403
        forged = await ann.client.post("/app/sign-in", data={**fields, "csrf": "0" * 64})
        assert forged.status_code == 403
        ann.client.cookies.clear()
        assert (await ann.client.post("/app/sign-in", data=fields)).status_code == 403, "the cookie is missing"


async def test_a_sign_in_gets_a_token_of_its_own_whatever_the_browser_had(house: House) -> None:
    async with house.browser() as ann:
        ann.client.cookies.set("mailer_sign_in", "planted", "mail.example.org", "/app")
        await ann.sign_in()
        first = cookie(ann)
        assert first != "planted"
        await ann.get("/sign-in")
        await ann.sign_in()
        assert cookie(ann) != first
        ann.client.cookies.clear()
        ann.client.cookies.set("mailer_sign_in", first, "mail.example.org", "/app")
        assert (await ann.get("@")).status_code == 303, "the earlier token opens nothing any more"


async def test_tokens_and_passwords_lie_in_the_database_as_hashes_only(house: House) -> None:
    async with house.browser() as ann:
        await ann.sign_in()
        token = cookie(ann)

    def look(session: Session) -> tuple[list[str], list[str | None]]:
        rows = session.exec(select(SignIn)).all()
        return [f"{row.id} {row.digest}" for row in rows], [user.password for user in accounts.everybody(session)]

    kept, hashes = await house.service.database.read(look)
    assert not any(token in row for row in kept)
    assert all(each is not None and each.startswith("$argon2id$v=19$") for each in hashes)


async def test_a_sign_in_ends_by_idling_and_in_any_case_after_a_week(house: House) -> None:
    async with house.browser() as ann:
        await ann.sign_in()
        for _ in range(23):
            house.later(hours=7)
            assert (await ann.get("@")).status_code == 200, "used, it goes on"
        house.later(hours=7.5)
        assert (await ann.get("@")).status_code == 303, "a week is over"
        await ann.sign_in()
        house.later(hours=8)
        assert (await ann.get("@")).status_code == 303, "nobody was there"
    await house.service.database.run(lambda session: signing.forget(session, house.time))
    assert await house.service.database.read(lambda session: session.exec(select(SignIn)).all()) == []


async def test_a_disabled_user_is_out_at_once(house: House) -> None:
    await house.user("bea@ringwise.example")
    async with house.browser() as ann:
        await ann.sign_in()

        def disable(session: Session) -> None:
            accounts.disable(session, accounts.known(session, OWNER), house.time)

        await house.service.database.run(disable)
        assert (await ann.get("@")).status_code == 303
        assert (await ann.sign_in()).status_code == 403


async def test_the_second_step_is_asked_for_and_each_code_is_good_once(house: House) -> None:
    secret = await second_step(house)
    async with house.browser() as ann, house.browser() as thief:
        entered = await ann.sign_in()
        assert entered.headers["location"] == "/app/code?next=/app"
        pending = cookie(ann)
        assert (await ann.get("@")).status_code == 303, "the password alone opens nothing"
        assert (await ann.get("/account")).status_code == 303
        await ann.get("/code")
        used = totp.code(secret, totp.step_of(house.time))
        assert (await ann.post("/code", code=used)).status_code == 403, "it turned the step on, and is used up"
        house.later(seconds=30)
        code = totp.code(secret, totp.step_of(house.time))
        assert (await ann.post("/code", code=f"{code[:3]} {code[3:]}")).status_code == 303
        assert cookie(ann) != pending
        assert (await ann.get("@")).status_code == 200
        await thief.sign_in()
        await thief.get("/code")
        assert (await thief.post("/code", code=code)).status_code == 403, "a code that was seen is of no use"
        assert "was used already" in thief.text


async def test_codes_are_guessed_no_faster_than_passwords(house: House) -> None:
    await second_step(house)
    async with house.browser() as thief:
        await thief.sign_in()
        await thief.get("/code")
        answers = [(await thief.post("/code", code=f"{number:06}")).status_code for number in range(7)]
        assert answers == [403] * 5 + [429] * 2
        house.later(minutes=11)
        assert (await thief.get("/code")).headers["location"] == "/app/sign-in", "the password is asked for again"


async def test_a_recovery_code_stands_for_the_device_once(house: House) -> None:
    await second_step(house)
    codes = await house.service.database.run(
        lambda session: factors.make_codes(session, accounts.known(session, OWNER))
    )
    assert len(set(codes)) == 10
    async with house.browser() as ann:
        for status in (303, 403):
            await ann.sign_in()
            await ann.get("/code")
            assert (await ann.post("/code", code=codes[0].upper())).status_code == status
    assert "user.recovery_code_spent" in await house.acts()


async def test_a_link_sets_a_password_once_and_ends_every_sign_in(house: House) -> None:
    token = await house.service.database.run(
        lambda session: accounts.make_link(session, accounts.known(session, OWNER), house.time)
    )
    async with house.browser() as ann, house.browser() as other:
        await other.sign_in()
        page = await ann.get(f"/password/{token}")
        assert page.status_code == 200
        await ann.get(f"/password/{token}")
        for password, again, told in (
            ("short", "short", "12 characters or more"),
            ("owner123456789", "owner123456789", "easy to guess"),
            ("a fresh password", "another password", "not the same"),
        ):
            answer = await ann.post(f"/password/{token}", password=password, again=again)
            assert answer.status_code == 422
            assert told in ann.text
        done = await ann.post(f"/password/{token}", password="a fresh password", again="a fresh password")
        assert done.headers["location"] == "/app/sign-in?done=password_set"
        assert (await other.get("@")).status_code == 303, "whoever knew the old one is out"
        assert (await ann.get(f"/password/{token}")).status_code == 404
        assert (await ann.sign_in(password="a fresh password")).status_code == 303
    kept = await house.service.database.read(lambda session: session.exec(select(UserLink)).all())
    assert kept == []


async def test_a_link_is_over_after_three_days_and_opens_nothing_else(house: House) -> None:
    token = await house.service.database.run(
        lambda session: accounts.make_link(session, accounts.known(session, OWNER), house.time)
    )
    async with house.browser() as ann:
        assert (await ann.get(f"/enter/{token}")).status_code == 404, "it is for a password, not a way in"
        house.later(days=3)
        assert (await ann.get(f"/password/{token}")).status_code == 404


async def test_the_demos_link_signs_in_by_its_button_only(house: House) -> None:
    token = await house.service.database.run(
        lambda session: accounts.make_link(session, accounts.known(session, OWNER), house.time, kind=LinkKind.ENTER)
    )
    async with house.browser() as ann:
        await ann.get(f"/enter/{token}")
        assert (await ann.get("@")).status_code == 303
        await ann.get(f"/enter/{token}")
        assert (await ann.post(f"/enter/{token}")).headers["location"] == "/app"
        assert (await ann.get("@")).status_code == 200
        assert (await ann.get(f"/enter/{token}")).status_code == 404


async def test_the_door_speaks_the_browsers_language_and_lets_nothing_in(house: House) -> None:
    async with house.browser() as ann:
        answer = await ann.client.get("/app/sign-in", headers={"Accept-Language": "uk"})
        assert '<html lang="uk">' in answer.text
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'")
        assert "script" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in policy
        assert not re.search(r"https?://", answer.text)


def cookie(browser: Browser) -> str:
    """Return the token that a browser keeps."""
    return next(each.value or "" for each in browser.client.cookies.jar if each.name == "mailer_sign_in")
