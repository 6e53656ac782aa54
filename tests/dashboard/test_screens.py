"""The screens of the house: keys, users, the audit log, settings, one's own account; and who may what there."""

import re
import tomllib

import pytest

from mailer import resources, secrets, tenancy
from mailer.drafts import TenantChange
from mailer.models import UserRole
from mailer.sealing import Seals
from mailer.users import accounts, factors, totp
from mailer.users.permissions import may
from mailer.web.dashboard.routes import SCREENS
from tests.dashboard.house import MARKETER, OWNER, PASSWORD, SUPPORT, VIEWER, House

HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture
def house(everywhere: House) -> House:
    return everywhere


async def test_each_role_meets_the_screens_of_its_table_and_a_403_page_at_the_others(house: House) -> None:
    for email, role in ((OWNER, UserRole.OWNER), (MARKETER, UserRole.MARKETER), (VIEWER, UserRole.VIEWER)):
        async with house.browser() as person:
            await person.sign_in(email)
            for screen in SCREENS:
                if "{" in screen.path:
                    continue
                answer = await person.get("@" + screen.path)
                assert answer.status_code == (200 if may(role, screen.may) else 403), (role, screen.path)
                if answer.status_code == 403:
                    assert "You may not do this" in person.text
            await person.get("@")
            links = {node.attributes["href"] for node in person.page.css(".lines a")}
            assert ("/app/t/default/keys" in links) is (role is UserRole.OWNER)


async def test_nobody_learns_of_a_tenant_that_they_are_no_member_of(house: House) -> None:
    await house.customer()
    async with house.browser() as ann:
        await ann.sign_in()
        there, nowhere = await ann.get("/t/customer/keys"), await ann.get("/t/no-such/keys")
        assert there.status_code == nowhere.status_code == 404
        assert there.text == nowhere.text
        page = await ann.get("@/keys")
        assert "customer" not in page.text


async def test_a_form_acts_for_the_tenant_of_its_own_page_only_and_needs_its_token(house: House) -> None:
    await house.customer()
    await house.user(OWNER, UserRole.VIEWER, "customer")
    async with house.browser() as ann:
        await ann.sign_in()
        await ann.get("@/keys")
        fields = {"do": "create", "name": "shop", "scope": "read"}
        elsewhere = await ann.client.post("/app/t/customer/keys", data={**fields, "csrf": ann.csrf()})
        assert elsewhere.status_code == 403, "a viewer there"
        for token in ("", "0" * 64):
            answer = await ann.client.post("/app/t/default/keys", data={**fields, "csrf": token})
            assert answer.status_code == 403
            assert "out of date" in answer.text
        cross = await ann.client.post(
            "/app/t/default/keys", data={**fields, "csrf": ann.csrf()}, headers={"Sec-Fetch-Site": "cross-site"}
        )
        assert cross.status_code == 403
        large = await ann.client.post("/app/t/default/keys", data={**fields, "csrf": ann.csrf(), "x": "y" * 70_000})
        assert large.status_code == 413
    keys = await house.service.database.read(lambda session: tenancy.keys(session, 1))
    assert list(keys) == []


async def test_a_key_is_shown_once_works_and_is_retired(house: House) -> None:
    async with house.browser() as ann:
        await ann.sign_in()
        await ann.get("@/keys")
        assert "No key yet" in ann.text
        assert (await ann.post("@/keys", do="create", name="")).status_code == 422
        assert "a key needs at least one" in ann.text
        made = await ann.press("@/keys", do="create", name=HOSTILE, scope=["read", "send:transactional"], inbox="yes")
        (plain,) = re.findall(r"mk_[\w-]{43}", made.text)
        assert HOSTILE not in made.text
        answer = await ann.client.get("/v1/emails", headers={"Authorization": f"Bearer {plain}"})
        assert answer.status_code == 200
        page = await ann.get("@/keys")
        assert plain not in page.text
        (key_id,) = set(re.findall(r"key_\w{26}", page.text))
        done = await ann.post("@/keys", do="retire", key=key_id)
        assert done.headers["location"] == "/app/t/default/keys?done=key_retired"
        await ann.get("@/keys", done="key_retired")
        assert "it opens nothing any more" in ann.text
        answer = await ann.client.get("/v1/emails", headers={"Authorization": f"Bearer {plain}"})
        assert answer.status_code == 401
        again = await ann.post("@/keys", do="retire", key=key_id)
        assert again.status_code == 404
    acts = await house.acts()
    assert [act for act in acts if act.startswith("key.")] == ["key.created", "key.revoked"]


async def test_an_owner_invites_gives_roles_disables_and_removes(house: House) -> None:
    async with house.browser() as ann, house.browser() as new:
        await ann.sign_in()
        await ann.get("@/users")
        assert (await ann.post("@/users", email="not an address", role="viewer")).status_code == 422
        assert (await ann.post("@/users", email="new@ringwise.example", role="emperor")).status_code == 422
        made = await ann.press("@/users", email="New@Ringwise.example", role="support", name=HOSTILE)
        assert HOSTILE not in made.text
        (path,) = re.findall(r"http://mail\.example\.org/app(/password/[\w-]+)", made.text)
        await new.get(path)
        await new.post(path, password="a fresh password", again="a fresh password")
        await new.get("/sign-in")
        await new.post("/sign-in", email="new@ringwise.example", password="a fresh password")
        assert (await new.get("@")).status_code == 200
        assert (await ann.post("@/users", email="new@ringwise.example", role="viewer")).status_code == 422
        assert "is a member already" in ann.text
        here = next(
            str(node.attributes["href"]).removeprefix("/app/t/default")
            for node in ann.page.css("td a")
            if "new@" in node.text()
        )
        await ann.get("@" + here)
        assert (await ann.post("@" + here, do="role", role="owner")).status_code == 303
        assert (await new.get("@/keys")).status_code == 200, "at once"
        await ann.get("@" + here)
        assert (await ann.post("@" + here, do="disable")).status_code == 303
        assert (await new.get("@")).status_code == 303
        await ann.get("@" + here)
        assert "disabled" in ann.text
        assert (await ann.post("@" + here, do="enable")).status_code == 303
        await ann.get("@" + here)
        assert (await ann.post("@" + here, do="remove")).headers["location"].endswith("/users?done=member_remove")
        await ann.get("@/users")
        assert "new@ringwise.example" not in ann.text
        assert (await ann.get("@" + here)).status_code == 404


async def test_the_last_owner_stays(house: House) -> None:
    async with house.browser() as ann:
        await ann.sign_in()
        await ann.get("@/users")
        here = next(str(n.attributes["href"]) for n in ann.page.css("td a") if n.text() == OWNER)
        path = "@" + here.removeprefix("/app/t/default")
        for fields in ({"do": "role", "role": "viewer"}, {"do": "remove"}, {"do": "disable"}):
            await ann.get(path)
            assert (await ann.post(path, fields)).status_code == 409
            assert "last owner" in ann.text


async def test_an_owner_of_one_tenant_cannot_get_into_another_by_a_link(house: House) -> None:
    await house.customer()
    await house.user("boss@customer.example", UserRole.OWNER, "customer")
    async with house.browser() as boss:
        boss.tenant = "customer"
        await boss.sign_in("boss@customer.example")
        await boss.get("@/users")
        added = await boss.press("@/users", email=SUPPORT, role="viewer")
        assert added.status_code == 200
        assert "/password/" not in added.text, "no link for whoever is a member elsewhere"
        here = next(str(n.attributes["href"]) for n in boss.page.css("td a") if n.text() == SUPPORT)
        path = "@" + here.removeprefix("/app/t/customer")
        for do in ("link", "disable"):
            await boss.get(path)
            assert (await boss.post(path, do=do)).status_code == 409
        user = await house.service.database.read(lambda session: accounts.known(session, VIEWER))
        assert (await boss.get(f"@/users/{user.id}")).status_code == 404, "no member here"


async def test_the_log_tells_who_did_what_and_is_chosen_from(house: House) -> None:
    await house.customer()
    await house.user("boss@customer.example", UserRole.OWNER, "customer")
    async with house.browser("198.51.100.4") as ann, house.browser() as boss:
        await ann.sign_in(password="not the password")
        await ann.sign_in()
        await ann.get("@/keys")
        await ann.post("@/keys", do="create", name="shop", scope="read")
        await boss.sign_in("boss@customer.example")
        boss.tenant = "customer"
        await boss.get("@/audit")
        assert "made an API key" not in boss.text, "another tenant's affairs"
        assert OWNER not in boss.text
        await ann.get("@/audit")
        for told in ("made an API key", "scopes: read", "failed to sign in", "198.51.100.4"):
            assert told in ann.text
        assert "boss@customer.example" not in ann.text
        await ann.get("@/audit", thing="key")
        assert "made an API key" in ann.text
        assert "failed to sign in" not in [node.text() for node in ann.page.css("td")]
        for query in ({"to": "2026-11-19"}, {"from": "2026-11-21"}, {"user": "us_nobody"}):
            await ann.get("@/audit", **query)
            assert "Nothing here" in ann.text
        assert (
            await ann.get("@/audit", **{"from": "0000-99-99", "before": HOSTILE, "thing": HOSTILE})
        ).status_code == 200
        house.later(days=1)
        for _ in range(26):
            await ann.get("@/settings")
            await ann.post("/sign-out")
            await ann.sign_in()
        await ann.get("@/audit")
        assert len(ann.page.css("tbody tr")) == 50
        (older,) = [str(node.attributes["href"]) for node in ann.page.css("a[rel=next]")]
        await ann.get(older.removeprefix("/app"))
        assert "made an API key" in ann.text


async def test_settings_are_changed_one_by_one_and_written_down(house: House) -> None:
    async with house.browser() as ann:
        await ann.sign_in()
        await ann.get("@/settings")
        given = {
            str(node.attributes["name"]): node.attributes.get("value") or node.text()
            for node in ann.page.css("main input[type=text], main input[type=number], main textarea")
        }
        chosen = {
            str(node.attributes["name"]): str(option.attributes["value"])
            for node in ann.page.css("main select")
            for option in node.css("option[selected]")
        }
        ticked = {str(node.attributes["name"]): "yes" for node in ann.page.css("main input[checked]")}
        form = {**given, **chosen, **ticked}
        assert (await ann.post("@/settings", form)).status_code == 303
        assert "tenant.changed" not in await house.acts(), "nothing was changed"
        await ann.get("@/settings")
        changed = {**form, "name": "Ring & Co", "promotional_opens": "individual", "soft_bounces": "7"}
        changed |= {"utm": "source=news\r\n\r\nmedium = email", "untracked_hosts": "app.example\r\n"}
        assert (await ann.post("@/settings", changed)).status_code == 303
        tenant = await house.service.database.read(lambda session: tenancy.only_tenant(session, "default"))
        assert (tenant.name, tenant.promotional_opens, tenant.soft_bounces) == ("Ring & Co", "individual", 7)
        assert (tenant.utm, tenant.untracked_hosts) == ({"source": "news", "medium": "email"}, ["app.example"])
        await ann.get("@/settings")
        for wrong in (
            {"soft_bounces": "0"},
            {"soft_bounces": "many"},
            {"name": ""},
            {"consent": "sometimes"},
            {"utm": "source"},
        ):
            assert (await ann.post("@/settings", {**changed, **wrong})).status_code == 422
            assert "This was not done" in ann.text
        await ann.get("@/audit", thing="tenant")
        assert "changed: name, promotional_opens, soft_bounces, untracked_hosts, utm" in ann.text


@pytest.mark.parametrize("language", ["en", "uk"])
def test_every_setting_has_words(language: str) -> None:
    words = tomllib.loads((resources.templates() / "dashboard" / "words" / "settings.toml").read_text())[language]
    assert {name for name in TenantChange.model_fields if f"setting_{name}" not in words} == set()


async def test_ones_own_account_asks_for_the_password_before_it_changes_a_way_in(house: House) -> None:
    async with house.browser() as ann, house.browser() as other:
        await ann.sign_in()
        await other.sign_in()
        await ann.get("/account")
        assert (await ann.post("/account", do="profile", name="Zoe", locale="uk")).status_code == 303
        await ann.get("@")
        assert "Головна" in ann.text
        await ann.get("/account")
        new = {"do": "password", "password": "a fresh password", "again": "a fresh password"}
        assert (await ann.post("/account", {**new, "current": "wrong"})).status_code == 422
        assert (await ann.post("/account", {**new, "current": PASSWORD})).status_code == 303
        assert (await other.get("@")).status_code == 303
        assert (await ann.get("@")).status_code == 200
        await other.sign_in(password="a fresh password")
        await ann.get("/account")
        await ann.post("/account", do="leave")
        assert (await other.get("@")).status_code == 303


async def test_the_second_step_is_turned_on_by_a_code_and_its_secret_lies_sealed(house: House) -> None:
    async with house.browser() as ann:
        await ann.sign_in()
        await ann.get("/account/second")
        assert (await ann.post("/account/second", do="begin", current="wrong")).status_code == 422
        assert (await ann.post("/account/second", do="begin", current=PASSWORD)).status_code == 303
        page = await ann.get("/account/second")
        assert "<svg" in page.text
        assert "style=" not in page.text
        user = await house.service.database.read(lambda session: accounts.known(session, OWNER))
        seals = secrets.seals(house.service.settings, factors.SEALED_FOR)
        assert user.totp is not None
        secret = seals.open(user.totp, f"the second factor of {user.id}")
        assert totp.shown(secret) in page.text
        assert (await ann.post("/account/second", do="confirm", code="000000")).status_code == 422
        code = totp.code(secret, totp.step_of(house.time))
        await ann.press("/account/second", do="confirm", code=code)
        first = [node.text() for node in ann.page.css(".codes li")]
        await ann.press("/account/second", do="codes", current=PASSWORD)
        assert len({*first, *(node.text() for node in ann.page.css(".codes li"))}) == 20
        await ann.get("/account/second")
        assert not ann.page.css(".codes li"), "shown once"
        assert totp.shown(secret) not in (await ann.get("/account/second")).text
        ring = "k2:" + "n" * 32 + "," + secrets.ring_text(house.service.settings, secrets.RingName.SECRET_KEYS)
        newer = Seals(ring, factors.SEALED_FOR)
        assert await house.service.database.run(lambda session: factors.reseal(session, newer)) == 1
        assert await house.service.database.run(lambda session: factors.reseal(session, newer)) == 0
        assert (await ann.post("/account/second", do="end", current=PASSWORD)).status_code == 303
        user = await house.service.database.read(lambda session: accounts.known(session, OWNER))
        assert user.totp is None
