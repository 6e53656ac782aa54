"""The screens of webhooks: endpoints and how they do, secrets shown once, messages, sent again; by whom."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import Session

from mailer import events, tenancy
from mailer.database import Database
from mailer.models import DeliveryState, UserRole, Webhook
from mailer.settings import Settings
from mailer.webhooks import deliveries, endpoints, payloads, schedule
from mailer.webhooks.deliveries import Tried
from mailer.webhooks.endpoints import Wanted
from mailer.webhooks.schedule import Verdict
from tests import plans
from tests.dashboard.house import OWNER, SUPPORT, Browser, House

HOSTILE = '"><script>alert(1)</script>'
URL = "http://127.0.0.1:9/hook"


@pytest.fixture
def settings() -> dict[str, str]:
    # Tests have no other network to send to.
    return {"outside_loopback": "yes"}


async def endpoint(house: House, description: str = "ours", tenant_id: int = 1) -> str:
    wanted = Wanted(URL, None, description)
    made = await house.service.database.run(
        lambda session: endpoints.create(session, house.service.hooks, tenant_id, wanted, house.time)
    )
    return made.webhook.id


async def tell(house: House, count: int = 1, note: str = "") -> None:
    rows = [
        events.row(1, "campaign.paused", {"campaign_id": f"ca_{n}", "note": note}, house.time) for n in range(count)
    ]
    await house.service.database.run(lambda session: events.write(session, rows))


def answer(session: Session, webhook_id: str, now: datetime, status: int | None, told: str = "") -> None:
    """Have everything that waits be answered so, once."""
    webhook = session.get_one(Webhook, webhook_id)
    claimed = deliveries.claim(session, webhook, "wh_test", 500, now)
    tried = [Tried(each, schedule.verdict(status), status, 12, told) for each in claimed]
    deliveries.settle(session, webhook, "wh_test", tried, now, waits=())


async def answered(house: House, webhook_id: str, status: int | None, told: str = "") -> None:
    await house.service.database.run(lambda session: answer(session, webhook_id, house.time, status, told))


async def stand(house: House, webhook_id: str, state: DeliveryState) -> list[tuple[str, str]]:
    """Return kind and id of the messages that stand so, the newest first."""

    def look(session: Session) -> list[tuple[str, str]]:
        log = deliveries.listing(session, session.get_one(Webhook, webhook_id), limit=500, state=state)
        return [(each.kind, each.message_id) for each in log]

    return await house.service.database.read(look)


async def owner(house: House, person: Browser, path: str) -> str:
    await person.sign_in(OWNER)
    return (await person.get(path)).text


async def test_an_endpoint_is_added_its_secret_is_shown_once_and_it_is_changed(house: House) -> None:
    async with house.browser() as ann:
        await owner(house, ann, "@/webhooks")
        assert "No endpoint yet" in ann.text
        made = await ann.press("@/webhooks", url=URL, description=HOSTILE, which="some", events=["email.bounced"])
        (secret,) = re.findall(r"whsec_[\w+/=]{44}", made.text)
        assert HOSTILE not in made.text
        page = await ann.get("@/webhooks")
        assert secret not in page.text
        assert HOSTILE not in page.text
        (webhook_id,) = set(re.findall(r"we_\w{26}", page.text))
        form = await ann.get(f"@/webhooks/{webhook_id}/edit")
        assert HOSTILE not in form.text
        ticked = [node.attributes["value"] for node in ann.page.css("input[name=events][checked]")]
        assert ticked == ["email.bounced"]
        done = await ann.post(f"@/webhooks/{webhook_id}/edit", url=URL + "2", description="theirs", which="all")
        assert done.headers["location"] == f"/app/t/default/webhooks/{webhook_id}?done=webhook_change"
        await ann.get(f"@/webhooks/{webhook_id}", done="webhook_change")
        assert "The endpoint is changed" in ann.text
        assert URL + "2" in ann.text
        turned = await ann.press(f"@/webhooks/{webhook_id}", do="rotate")
        (newer,) = re.findall(r"whsec_[\w+/=]{44}", turned.text)
        assert newer != secret
        assert "the one before signs too until 21 Nov 2026, 12:00 UTC" in ann.text
        assert newer not in (await ann.get(f"@/webhooks/{webhook_id}")).text
    webhook = await house.service.database.read(lambda session: session.get_one(Webhook, webhook_id))
    assert (webhook.url, webhook.description, webhook.kinds) == (URL + "2", "theirs", None)
    acts = [act for act in await house.acts() if act.startswith("webhook.")]
    assert acts == ["webhook.created", "webhook.changed", "webhook.secret_made"]


WRONG: Sequence[tuple[Mapping[str, str], str]] = (
    ({"url": "https://10.0.0.1/"}, "not public"),
    ({"url": "ftp://127.0.0.1/"}, "https"),
    ({"url": ""}, "Address"),
    ({"url": URL, "which": "some"}, "Events"),
    ({"url": URL, "which": "some", "events": "email.exploded"}, "is no event"),
    ({"url": URL, "secret": "hello"}, "whsec_ and the base64"),
    ({"url": URL, "description": f"two\nlines {HOSTILE}"}, "Description"),
)


async def test_what_is_wrong_is_named_and_what_was_typed_stays(house: House) -> None:
    async with house.browser() as ann:
        await owner(house, ann, "@/webhooks")
        for fields, sentence in WRONG:
            typed = {"description": f"kept {HOSTILE}", **fields}
            refused = await ann.post("@/webhooks", typed)
            assert refused.status_code == 422
            notice = ann.page.css_first(".notice.bad")
            assert notice is not None
            assert sentence in notice.text()
            assert HOSTILE not in refused.text
            kept = ann.page.css_first("input[name=description]")
            assert kept is not None
            assert kept.attributes["value"] == typed["description"]
    found = await house.service.database.read(lambda session: endpoints.listing(session, 1))
    assert list(found) == []


async def test_messages_are_shown_with_their_answers_filtered_paged_and_sent_again(house: House) -> None:
    webhook_id = await endpoint(house, HOSTILE)
    path = f"@/webhooks/{webhook_id}"
    async with house.browser() as ann:
        await owner(house, ann, path)
        assert "Nothing was told yet" in ann.text
        assert (await ann.post(path, do="test")).status_code == 303
        await answered(house, webhook_id, 204)
        await tell(house, 30, note=HOSTILE)
        await answered(house, webhook_id, 500, told=HOSTILE)
        first = await ann.get(path)
        assert HOSTILE not in first.text
        assert ann.text.count("failed") >= 25
        assert '"campaign_id": "ca_29"' in ann.text
        assert "500" in ann.text
        assert "12 ms" in ann.text
        older = ann.page.css_first(".pager a[rel=next]")
        assert older is not None
        await ann.get(str(older.attributes["href"]).removeprefix("/app"))
        assert "webhook.test" in ann.text
        assert '"campaign_id": "ca_0"' in ann.text
        assert '"campaign_id": "ca_29"' not in ann.text
        ((kind, test_id),) = await stand(house, webhook_id, DeliveryState.DELIVERED)
        assert kind == "webhook.test"
        assert (await ann.post(path, do="replay", message=test_id)).status_code == 303
        assert await stand(house, webhook_id, DeliveryState.WAITING) == [("webhook.test", test_id)]
        # It rests after so many failures.
        house.later(minutes=2)
        await answered(house, webhook_id, None, told="no answer within 15 s")
        await ann.get(path, state="failed")
        older = ann.page.css_first(".pager a[rel=next]")
        assert older is not None
        await ann.get(str(older.attributes["href"]).removeprefix("/app"))
        assert "no answer within 15 s" in ann.text
        assert (await ann.post(path, do="replay", what="failed")).status_code == 303
        await ann.get(path, state="failed")
        assert "No message has failed" in ann.text
        assert len(await stand(house, webhook_id, DeliveryState.WAITING)) == 31


async def test_a_disabled_endpoint_says_why_here_and_at_home_and_is_mended(house: House) -> None:
    webhook_id = await endpoint(house, "the CRM")
    path = f"@/webhooks/{webhook_id}"
    async with house.browser() as ann:
        await ann.sign_in(OWNER)
        await tell(house)
        await answered(house, webhook_id, 410)
        house.later(minutes=5)
        await ann.get("@")
        link = ann.page.css_first(".notice a")
        assert link is not None
        assert link.attributes["href"] == f"/app/t/default/webhooks/{webhook_id}"
        for here in ("@/webhooks", path):
            await ann.get(here)
            assert "It answered 410" in ann.text
            assert "given up" in ann.text
        assert (await ann.post(path, do="test")).status_code == 409
        await ann.get(path)
        assert (await ann.post(path, do="enable")).status_code == 303
        await ann.get(path)
        assert "works" in ann.text
        fields = {"do": "replay", "what": "window", "missed": "yes"}
        for since, sentence in (("", "from which day"), ("yesterday", "a day and a time")):
            assert (await ann.post(path, {**fields, "since": since})).status_code == 422
            assert sentence in ann.text
        for until in ("2026-11-20T11:00", "0001-01-01T00:00"):
            assert (await ann.post(path, {**fields, "since": "2026-11-20T11:30", "until": until})).status_code == 422
        assert (await ann.post(path, {**fields, "since": "2026-11-20T11:30"})).status_code == 303
        waiting = await stand(house, webhook_id, DeliveryState.WAITING)
        assert [kind for kind, _ in waiting] == ["webhook.disabled", "campaign.paused"]
        await ann.get(path)
        assert (await ann.post(path, do="disable")).status_code == 303
        await ann.get("@/webhooks")
        assert "off" in ann.text
        await ann.get(path)
        assert (await ann.post(path, do="remove")).headers["location"].endswith("/webhooks?done=webhook_remove")
        assert (await ann.get(path)).status_code == 404
    acts = [act for act in await house.acts() if act.startswith("webhook.")]
    assert acts == ["webhook.enabled", "webhook.replayed", "webhook.disabled", "webhook.deleted"]


async def test_support_looks_and_only_owners_act_at_their_own_tenant(house: House) -> None:
    other = await endpoint(house, "theirs", await house.customer())
    ours = await endpoint(house)
    await house.user(SUPPORT, UserRole.SUPPORT)
    async with house.browser() as sam, house.browser() as ann:
        await sam.sign_in(SUPPORT)
        page = await sam.get(f"@/webhooks/{ours}")
        assert page.status_code == 200
        assert not sam.page.css("main form[method=post]")
        await sam.get("@/webhooks")
        assert not sam.page.css("main form[method=post]")
        assert (await sam.get(f"@/webhooks/{ours}/edit")).status_code == 403
        for do in ("rotate", "enable", "disable", "remove", "test", "replay"):
            assert (await sam.post(f"@/webhooks/{ours}", do=do)).status_code == 403
        await owner(house, ann, f"@/webhooks/{ours}")
        token = ann.csrf()
        for do in ("rotate", "enable", "disable", "remove", "test", "replay"):
            refused = await ann.client.post(f"/app/t/default/webhooks/{other}", data={"csrf": token, "do": do})
            assert refused.status_code == 404, do
        assert (await ann.get(f"@/webhooks/{other}")).status_code == 404
        assert (await ann.get(f"@/webhooks/{other}/edit")).status_code == 404
        assert other not in (await ann.get("@/webhooks")).text
        await ann.get(f"@/webhooks/{ours}")
        assert (await ann.post(f"@/webhooks/{ours}", do="explode")).status_code == 422


async def test_what_failed_is_found_by_its_index_and_sent_again_oldest_first(database: Database) -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)

    def fill(session: Session) -> str:
        tenancy.prepare(session, Settings(), now)
        webhook = Webhook(
            id="we_1", tenant_id=1, url=URL, hears_sent=False, secret=b"x", created_at=now - timedelta(days=2)
        )
        session.add(webhook)
        session.flush()
        events.write(session, [events.row(1, payloads.DISABLED, {}, now) for _ in range(3000)])
        claimed = deliveries.claim(session, webhook, "wh_test", 2990, now)
        tried = [Tried(each, Verdict.TAKEN, 204, 3, "") for each in claimed]
        deliveries.settle(session, webhook, "wh_test", tried, now)
        rest = [Tried(each, Verdict.FAILED, 500, 3, "") for each in deliveries.claim(session, webhook, "b", 100, now)]
        deliveries.settle(session, webhook, "b", rest, now, waits=())
        webhook.rests_until = None
        session.add(webhook)
        return webhook.id

    await database.run(fill)

    def ask(session: Session) -> tuple[int, str, int]:
        webhook = session.get_one(Webhook, "we_1")
        failed = deliveries.listing(session, webhook, limit=51, state=DeliveryState.FAILED)
        found = plans.statements(session, lambda: deliveries.replay_failed(session, webhook, now))
        again = deliveries.listing(session, webhook, limit=51, state=DeliveryState.WAITING)
        return len(failed), plans.plan(session, found[0]), len(again)

    failed, plan, again = await database.run(ask)
    assert (failed, again) == (10, 10)
    assert "webhook_delivery_failed" in plan
