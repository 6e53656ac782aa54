"""Webhooks: who is told of what, and what became of each message."""

from http import HTTPStatus

from sqlmodel import Session

from mailer.audit import Act
from mailer.models import Webhook
from mailer.web.api.calls import Answer, Call
from mailer.web.api.queries import DeliveryQuery
from mailer.webhooks import deliveries, endpoints, signing
from mailer.webhooks.deliveries import Window
from mailer.webhooks.drafts import ReplayDraft, RotateDraft, WebhookChange, WebhookDraft
from mailer.webhooks.endpoints import Made, Wanted


async def create(call: Call) -> Answer:
    """Make an endpoint; its secret is shown this once."""
    draft = call.draft(WebhookDraft)
    await endpoints.check(call.service.hooks.guard, draft.url)
    secret = signing.parse(draft.secret) if draft.secret else None
    wanted = Wanted(draft.url, draft.events, draft.description, secret)

    def verb(session: Session) -> Made:
        made = endpoints.create(session, call.service.hooks, call.tenant_id, wanted, call.now)
        call.log(session, Act.WEBHOOK_CREATED, made.webhook.id)
        return made

    made = await call.run(verb)
    return Answer(_made(made), HTTPStatus.CREATED)


async def listing(call: Call) -> Answer:
    """List the endpoints, the oldest first."""
    found = await call.read(
        lambda session: [endpoints.view(each) for each in endpoints.listing(session, call.tenant_id)]
    )
    return Answer({"data": found, "has_more": False})


async def show(call: Call) -> Answer:
    """Show an endpoint, and how it does."""
    return Answer(await call.read(lambda session: endpoints.view(_named(call, session))))


async def change(call: Call) -> Answer:
    """Change an endpoint, or enable or disable it."""
    draft = call.draft(WebhookChange)
    if draft.url is not None:
        await endpoints.check(call.service.hooks.guard, draft.url)
    given = draft.model_dump(include=draft.model_fields_set - {"enabled"})
    values = {"kinds" if name == "events" else name: value for name, value in given.items()}

    def verb(session: Session) -> dict[str, object]:
        webhook = endpoints.change(session, _taken(call, session), values)
        if values:
            call.log(session, Act.WEBHOOK_CHANGED, webhook.id, changed=sorted(values))
        if draft.enabled is True:
            endpoints.enable(session, webhook)
            call.log(session, Act.WEBHOOK_ENABLED, webhook.id)
        elif draft.enabled is False:
            endpoints.disable(session, webhook, call.now)
            call.log(session, Act.WEBHOOK_DISABLED, webhook.id)
        return endpoints.view(webhook)

    return Answer(await call.run(verb))


async def delete(call: Call) -> Answer:
    """Delete an endpoint, what waits for it, and its log."""

    def verb(session: Session) -> None:
        endpoints.delete(session, _taken(call, session))
        call.log(session, Act.WEBHOOK_DELETED, call.path("id"))

    await call.run(verb)
    return Answer({"id": call.path("id"), "deleted": True})


async def rotate(call: Call) -> Answer:
    """Give an endpoint a new secret, shown this once; for a day the old one signs beside it."""
    draft = call.draft(RotateDraft) if call.raw.strip() else RotateDraft()
    secret = signing.parse(draft.secret) if draft.secret else None

    def verb(session: Session) -> Made:
        call.log(session, Act.WEBHOOK_ROTATED, call.path("id"))
        return endpoints.rotate(session, call.service.hooks, _taken(call, session), call.now, secret)

    made = await call.run(verb)
    return Answer(_made(made))


async def test(call: Call) -> Answer:
    """Send a test message; what came of it stands among the deliveries."""
    identifier = await call.run(lambda session: deliveries.test(session, _taken(call, session), call.now))
    return Answer({"id": identifier}, HTTPStatus.ACCEPTED)


async def replay(call: Call) -> Answer:
    """Send again one message, or what happened in a window; ids stay, so that whoever has one knows it."""
    draft = call.draft(ReplayDraft)

    def verb(session: Session) -> int:
        webhook = _taken(call, session)
        call.log(session, Act.WEBHOOK_REPLAYED, webhook.id)
        if draft.id is not None:
            deliveries.replay_one(session, webhook, draft.id, call.now)
            return 1
        assert draft.since is not None
        window = Window(draft.since, draft.until or call.now, draft.missed)
        return deliveries.replay(session, webhook, window, call.now)

    return Answer({"replayed": await call.run(verb)}, HTTPStatus.ACCEPTED)


async def log(call: Call) -> Answer:
    """List the messages to an endpoint, the newest first, with what came of the last try of each."""
    asked = call.query(DeliveryQuery)

    def verb(session: Session) -> list[dict[str, object]]:
        found = deliveries.listing(
            session, _named(call, session), limit=asked.limit + 1, state=asked.state, after=asked.after
        )
        return [deliveries.view(each) for each in found]

    found = await call.read(verb)
    return Answer({"data": found[: asked.limit], "has_more": len(found) > asked.limit})


def _named(call: Call, session: Session) -> Webhook:
    return endpoints.get(session, call.tenant_id, call.path("id"))


def _taken(call: Call, session: Session) -> Webhook:
    return endpoints.get(session, call.tenant_id, call.path("id"), to_change=True)


def _made(made: Made) -> dict[str, object]:
    return {**endpoints.view(made.webhook), "secret": made.secret}
