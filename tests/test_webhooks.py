"""Messages to endpoints over a real server and both databases: signed, ordered, tried again, never lost."""

from collections.abc import AsyncIterator
from datetime import timedelta

import orjson
import pytest
from sqlalchemy import delete, text
from sqlmodel import Session
from standardwebhooks import Webhook as Verifier

from mailer import erasure, events, ids, people
from mailer.database import Database
from mailer.errors import Conflict, NotFound
from mailer.models import Email, Webhook, WebhookDelivery
from mailer.outside import Guard
from mailer.sealing import Seals
from mailer.webhooks import deliveries, endpoints, payloads
from mailer.webhooks.deliveries import Window
from mailer.webhooks.messages import Due
from suppression import rules
from suppression.address import parse
from suppression.entries import NewEntry
from suppression.rules import Origin, Reason
from tests import plans
from tests.hooks import Asked, Reply
from tests.test_api_world import intake
from tests.webhooks_world import QUICK, World, open_world

ANN = "ann@example.org"


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with open_world(database) as world:
        yield world


def names(asked: Asked) -> dict[str, object]:
    return dict(orjson.loads(asked.body))


async def test_a_message_says_what_happened_to_which_email_and_verifies(world: World) -> None:
    [email] = await world.send(metadata={"order": 7}, tags={"team": "red"})
    event = await world.tell("email.bounced", email, reply="550 5.1.1", category="no-mailbox", hard=True)
    world.deliver()
    log = await world.until_settled()
    queued, bounced = world.server.asked
    assert [asked.headers["webhook-id"] for asked in (queued, bounced)] == [f"{email}_queued", event]
    told = Verifier(world.secret).verify(bounced.body, dict(bounced.headers))
    about: dict[str, object] = {
        "to": ANN,
        "stream": "transactional",
        "topic": None,
        "template": None,
        "campaign_id": None,
    }
    about |= {"email_id": email, "tags": {"team": "red"}, "metadata": {"order": 7}}
    assert told["data"] == {**about, "reply": "550 5.1.1", "category": "no-mailbox", "hard": True}
    assert names(queued)["data"] == about
    assert queued.headers["content-type"] == "application/json"
    for asked in (queued, bounced):
        payloads.MESSAGES[str(names(asked)["type"])].model_validate_json(asked.body)
    assert [(each.state, each.tries, each.status_code) for each in log] == [("delivered", 1, 204)] * 2


async def test_an_endpoint_hears_only_what_it_asked_for_and_only_of_its_tenant(world: World) -> None:
    few = await world.endpoint(["email.bounced"])
    [email] = await world.send()
    await world.tell("email.bounced", email)
    await world.tell("email.opened", email)
    assert [each.kind for each in await world.log(few)] == ["email.bounced"]
    assert [each.kind for each in await world.log()] == ["email.queued", "email.bounced", "email.opened"]
    world.tenant_id += 1
    await world.tell("email.bounced")
    assert len(await world.log()) == 3


async def test_a_transaction_that_fails_tells_nothing(world: World) -> None:
    def verb(session: Session) -> None:
        people.suppress(
            session,
            NewEntry(
                tenant_id=1,
                fingerprint=b"x" * 16,
                key_id="k1",
                reason=Reason.MANUAL,
                scope=rules.ALL,
                origin=Origin.API,
                address=ANN,
            ),
            world.now(),
        )
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await world.database.run(verb)
    assert await world.log() == []


async def test_what_fails_is_tried_again_with_its_id_and_a_new_time_and_then_given_up(world: World) -> None:
    world.server.answer = lambda _asked: Reply(500, body=b"no\x00pe " + b"x" * 5000)
    event = await world.tell("campaign.started", campaign_id="ca_1")
    world.deliver(waits=QUICK[:2])
    [message] = await world.until_settled()
    assert (message.state, message.tries, message.status_code, message.message_id) == ("failed", 3, 500, event)
    assert message.answer is not None
    assert message.answer.startswith("no\ufffdpe xxx")
    assert len(message.answer) == 1024
    assert {asked.headers["webhook-id"] for asked in world.server.asked} == {event}
    assert len(world.server.asked) == 3
    assert (await world.fresh()).failures == 3


async def test_what_follows_on_an_email_waits_for_what_came_before_and_other_mail_does_not(world: World) -> None:
    first, second = await world.send("a@example.org", "b@example.org")
    for kind in ("email.deferred", "email.bounced"):
        for email in (first, second):
            await world.tell(kind, email)
    refused = [3]

    def answer(asked: Asked) -> Reply:
        email = asked.headers["webhook-id"]
        if email == f"{first}_queued" and refused[0]:
            refused[0] -= 1
            return Reply(503)
        return Reply()

    world.server.answer = answer
    world.deliver()
    await world.until_settled()
    mine = [kind for kind, email in world.heard if email == first]
    assert mine == ["email.queued"] * 4 + ["email.deferred", "email.bounced"]
    assert [kind for kind, email in world.heard if email == second] == [
        "email.queued",
        "email.deferred",
        "email.bounced",
    ]
    # The other mail did not wait for the first one's retries.
    assert world.heard.index(("email.bounced", second)) < world.heard.index(("email.deferred", first))


async def test_once_the_earlier_one_is_given_up_the_next_one_goes(world: World) -> None:
    [email] = await world.send()
    await world.tell("email.bounced", email)
    world.server.answer = lambda asked: Reply(500) if asked.headers["webhook-id"].endswith("_queued") else Reply()
    world.deliver(waits=QUICK[:1])
    log = await world.until_settled()
    assert [(each.kind, each.state, each.tries) for each in log] == [
        ("email.queued", "failed", 2),
        ("email.bounced", "delivered", 1),
    ]


async def test_410_disables_at_once_and_the_others_hear_of_it(world: World) -> None:
    other = await world.endpoint(url=world.server.url + "?other")
    world.server.answer = lambda asked: Reply() if "other" in asked.target else Reply(410)
    await world.tell("campaign.paused", campaign_id="ca_1")
    world.deliver()
    await world.until(lambda: ("webhook.disabled", None) in world.heard)
    gone = await world.fresh()
    assert (gone.enabled, gone.hears_sent) == (False, False)
    assert gone.disabled_why == "it answered 410: it wants nothing any more"
    assert await world.database.read(endpoints.ailing) == 1
    await world.tell("campaign.completed", campaign_id="ca_1")
    log = await world.until_settled(other)
    assert [each.kind for each in log] == ["campaign.paused", "webhook.disabled", "campaign.completed"]
    assert [each.state for each in await world.log()] == ["failed"]


async def test_a_redirect_is_a_failure_and_not_followed(world: World) -> None:
    world.server.answer = lambda _asked: Reply(307, {"Location": "/elsewhere"})
    await world.tell("campaign.paused", campaign_id="ca_1")
    world.deliver(waits=())
    [message] = await world.until_settled()
    assert (message.state, message.status_code) == ("failed", 307)
    assert [asked.target for asked in world.server.asked] == ["/hook"]


async def test_an_address_that_became_internal_is_refused_when_it_is_delivered(world: World) -> None:
    await world.tell("campaign.paused", campaign_id="ca_1")
    made = world.deliver(waits=())
    made._outside.guard = Guard()
    [message] = await world.until_settled()
    assert message.status_code is None
    assert message.answer == "the address must begin with https://"
    assert world.server.asked == []


async def test_retry_after_is_honoured(world: World) -> None:
    world.server.answer = lambda _asked: Reply(429, {"Retry-After": "3600"})
    await world.tell("campaign.paused", campaign_id="ca_1")
    world.deliver()
    [message] = await world.until_log(lambda log: log[0].tries)
    assert message.due_at > world.now() + timedelta(minutes=59)


async def test_while_an_endpoint_fails_it_is_probed_and_then_gets_everything_in_order(world: World) -> None:
    await world.server.stop()
    emails = await world.send(*(f"p{number}@example.org" for number in range(12)))
    for email in emails:
        await world.tell("email.bounced", email)
    world.deliver()
    await world.until_log(lambda log: sum(each.tries for each in log) >= 5)
    found = await world.fresh()
    assert found.failures >= 5
    assert found.failing_since is not None
    await world.server.start()
    log = await world.until_settled()
    assert {each.state for each in log} == {"delivered"}
    assert sorted(set(world.heard)) == sorted(
        (kind, email) for email in emails for kind in ("email.queued", "email.bounced")
    )
    for email in emails:
        assert [kind for kind, each in world.heard if each == email] == ["email.queued", "email.bounced"]
    assert (await world.fresh()).failures == 0


async def test_one_slow_endpoint_does_not_hold_up_another(world: World) -> None:
    await world.endpoint(url=world.server.url + "?slow")
    world.server.answer = lambda asked: Reply(wait=1.5 if "slow" in asked.target else 0.0)
    await world.send(*(f"p{number}@example.org" for number in range(40)))
    world.deliver()
    await world.until_settled()
    quick = [asked for asked in world.server.asked if "slow" not in asked.target]
    assert len(quick) == 40
    assert world.server.most_busy <= 24


async def test_two_deliverers_share_the_work_and_send_nothing_twice(world: World) -> None:
    emails = await world.send(*(f"p{number}@example.org" for number in range(60)))
    for email in emails:
        await world.tell("email.deferred", email)
    world.deliver()
    world.deliver()
    await world.until_settled()
    assert len(world.heard) == len(set(world.heard)) == 120
    for email in emails:
        assert [kind for kind, each in world.heard if each == email] == ["email.queued", "email.deferred"]


async def test_what_a_dead_process_had_claimed_is_taken_over_when_its_claim_lapses(world: World) -> None:
    event = await world.tell("campaign.paused", campaign_id="ca_1")
    now = world.now()

    def claim(session: Session, lease: str, later: timedelta) -> list[str]:
        webhook = session.get_one(Webhook, world.webhook.id)
        return [each.message_id for each in deliveries.claim(session, webhook, lease, 10, now + later)]

    assert await world.database.run(lambda session: claim(session, "dead", timedelta(0))) == [event]
    assert await world.database.run(lambda session: claim(session, "other", timedelta(seconds=29))) == []
    assert await world.database.run(lambda session: claim(session, "other", timedelta(seconds=31))) == [event]


@pytest.mark.parametrize("known", [False, True], ids=["known by nobody", "known as empty"])
async def test_a_claim_looks_at_few_messages_however_many_wait(world: World, known: bool) -> None:
    """Whatever the database believes of the table: PostgreSQL once compared each waiting message with each."""

    def fill(session: Session) -> None:
        bounced = (ids.new("em", world.now()) for _ in range(500))
        rows = [events.row(world.tenant_id, "email.bounced", {}, world.now(), email_id=each) for each in bounced]
        events.write(session, rows)

    if known:
        # Pages with nobody in them: it is sure then that there is nothing, however much comes.
        await world.database.run(fill)
        await world.database.run(lambda session: session.execute(delete(WebhookDelivery)))
        await world.database.run(lambda session: session.execute(text("ANALYZE webhook_delivery")))

    def verb(session: Session) -> str:
        fill(session)
        webhook = session.get_one(Webhook, world.webhook.id)
        found: list[Due] = []
        (asked,) = plans.statements(
            session, lambda: found.extend(deliveries.claim(session, webhook, "mine", 24, world.now()))
        )
        assert len(found) == 24
        return plans.plan(session, asked)

    told = await world.database.run(verb)
    if world.database.on_postgresql:
        assert "webhook_delivery_due" in told
        assert "webhook_delivery_email" in told
        assert "Sort" not in told
        assert "Rows Removed" not in told
    else:
        assert "USING INDEX webhook_delivery_due" in told
        assert "USING INDEX webhook_delivery_email" in told
        assert "TEMP B-TREE" not in told.partition("CORRELATED")[0]


async def test_a_secret_is_sealed_and_two_sign_for_a_day_after_a_rotation(world: World) -> None:
    first = world.secret
    assert first.encode() not in world.webhook.secret
    made = await world.database.run(
        lambda session: endpoints.rotate(
            session, world.hooks, endpoints.get(session, 1, world.webhook.id, to_change=True), world.now()
        )
    )
    await world.tell("campaign.paused", campaign_id="ca_1")
    world.deliver()
    await world.until_settled()
    [asked] = world.server.asked
    for secret in (first, made.secret):
        Verifier(secret).verify(asked.body, dict(asked.headers))
    later = world.now() + timedelta(hours=25)
    assert len(endpoints.secrets_of(world.hooks.seals, made.webhook, later)) == 1
    both = Seals(f"k2:{'another' * 6},k1:{'secret' * 6}", "webhook")
    assert await world.database.run(lambda session: endpoints.reseal(session, both)) == 2
    assert await world.database.run(lambda session: endpoints.reseal(session, both)) == 0
    sealed = await world.fresh()
    assert len(endpoints.secrets_of(Seals(f"k2:{'another' * 6}", "webhook"), sealed, world.now())) == 2


async def test_a_replay_sends_what_was_missed_while_it_was_disabled(world: World) -> None:
    began = world.now() - timedelta(seconds=1)
    [before] = await world.send("before@example.org")
    world.deliver()
    await world.until_settled()

    def turned(session: Session, on: bool) -> None:
        webhook = endpoints.get(session, 1, world.webhook.id, to_change=True)
        if on:
            endpoints.enable(session, webhook)
        else:
            endpoints.disable(session, webhook, world.now())

    await world.database.run(lambda session: turned(session, False))
    [missed] = await world.send("missed@example.org")

    def settled(session: Session) -> None:
        email = session.get_one(Email, missed)
        email.sent_at = world.now()
        session.add(email)

    await world.database.run(settled)
    event = await world.tell("email.bounced", missed)
    assert [each.email_id for each in await world.log()] == [before]
    await world.database.run(lambda session: turned(session, True))

    def replay(session: Session, missed: bool) -> int:
        webhook = endpoints.get(session, 1, world.webhook.id, to_change=True)
        return deliveries.replay(
            session, webhook, Window(began, world.now() + timedelta(seconds=1), missed), world.now()
        )

    assert await world.database.run(lambda session: replay(session, True)) == 3
    log = await world.until_settled()
    assert [each.message_id for each in log] == [f"{before}_queued", f"{missed}_queued", f"{missed}_sent", event]
    assert [kind for kind, email in world.heard if email == missed] == ["email.queued", "email.sent", "email.bounced"]
    assert await world.database.run(lambda session: replay(session, True)) == 0
    assert await world.database.run(lambda session: replay(session, False)) == 4
    await world.until_settled()
    assert len(world.heard) == 8


async def test_a_single_message_is_sent_again_by_its_id(world: World) -> None:
    event = await world.tell("campaign.paused", campaign_id="ca_1")
    world.deliver()
    await world.until_settled()

    def again(session: Session, message_id: str) -> None:
        deliveries.replay_one(session, endpoints.get(session, 1, world.webhook.id), message_id, world.now())

    await world.database.run(lambda session: again(session, event))
    await world.until(lambda: len(world.server.asked) == 2)
    with pytest.raises(NotFound):
        await world.database.run(lambda session: again(session, "ev_none"))


async def test_a_test_goes_to_its_endpoint_alone_and_not_while_it_is_disabled(world: World) -> None:
    other = await world.endpoint(["email.bounced"], url=world.server.url + "?other")

    def tested(session: Session) -> str:
        return deliveries.test(session, endpoints.get(session, 1, other.id), world.now())

    identifier = await world.database.run(tested)
    world.deliver()
    await world.until_settled(other)
    [asked] = world.server.asked
    assert (asked.target, asked.headers["webhook-id"]) == ("/hook?other", identifier)
    assert names(asked)["data"] == {"webhook_id": other.id}
    await world.database.run(
        lambda session: endpoints.disable(session, endpoints.get(session, 1, other.id), world.now()) and None
    )
    with pytest.raises(Conflict, match="enable it first"):
        await world.database.run(tested)


async def test_erasure_leaves_no_address_in_messages_and_their_log(world: World) -> None:
    world.server.answer = lambda asked: Reply(500, body=asked.body)
    [email] = await world.send(metadata={"note": "hers"})
    world.deliver(waits=(timedelta(hours=1),))
    [message] = await world.until_log(lambda log: log[0].tries)
    assert ANN in str(message.answer)
    prints = intake().fingerprints.all_of(1, parse(ANN).canonical)
    await world.database.run(lambda session: erasure.erase(session, 1, prints, world.now(), None))
    assert [each.answer for each in await world.log() if each.email_id == email] == [None, None]

    def due(session: Session) -> None:
        waiting = session.get_one(WebhookDelivery, message.number)
        waiting.due_at = world.now()
        session.add(waiting)

    world.server.answer = lambda _asked: Reply()
    await world.database.run(due)
    await world.until_settled()
    later = names(world.server.asked[-1])
    assert ANN not in str(later)
    assert all(ANN.encode() not in asked.body for asked in world.server.asked[1:])


async def test_the_log_is_kept_for_thirty_days(world: World) -> None:
    await world.tell("campaign.paused", campaign_id="ca_1")
    assert await world.database.run(lambda session: deliveries.forget(session, world.now() + timedelta(days=29))) == 0
    assert await world.database.run(lambda session: deliveries.forget(session, world.now() + timedelta(days=31))) == 1
    assert await world.log() == []


async def test_a_deleted_endpoint_takes_its_messages_along(world: World) -> None:
    await world.tell("campaign.paused", campaign_id="ca_1")
    await world.database.run(
        lambda session: endpoints.delete(session, endpoints.get(session, 1, world.webhook.id, to_change=True))
    )
    assert await world.log() == []
    with pytest.raises(NotFound):
        await world.database.read(lambda session: endpoints.get(session, 1, world.webhook.id))
