"""The sample company's webhooks: messages of the past are claimed and settled; what endpoints answer is played."""

from datetime import datetime, timedelta

from sqlmodel import Session

from mailer.models import DeliveryState, Webhook
from mailer.webhooks import Hooks, deliveries, endpoints, schedule
from mailer.webhooks.deliveries import Tried
from mailer.webhooks.endpoints import Wanted
from mailer.webhooks.messages import Due

_LEASE = "wh_demo"
_MANY, _ROUNDS = 50, 40
#: So many tries fail of what the CRM does not understand: one more, and it would be left alone for a while.
_STUBBORN = 4
_CRM, _WAREHOUSE = "CRM", "Data warehouse"
#: None of these is heard of again by itself: whatever happens once the past is over is told to nobody outside.
_ENDPOINTS = (
    Wanted("https://crm.ringwise.example/hooks/mail", ["email.bounced", "email.complained"], _CRM),
    Wanted(
        "https://warehouse.ringwise.example/in",
        ["email.bounced", "email.unsubscribed", "suppression.created", "campaign.started", "campaign.completed"],
        _WAREHOUSE,
    ),
    Wanted("https://staging.ringwise.example/mail", None, "Staging"),
)


def found(session: Session, hooks: Hooks, tenant_id: int, moment: datetime) -> None:
    """Make the endpoints; the last one was tried out and turned off."""
    for wanted in _ENDPOINTS:
        made = endpoints.create(session, hooks, tenant_id, wanted, moment)
    deliveries.test(session, made.webhook, moment)
    tell(session, tenant_id, moment, gone=moment + timedelta(days=1))
    endpoints.disable(session, made.webhook, moment + timedelta(minutes=5))


def tell(session: Session, tenant_id: int, moment: datetime, gone: datetime) -> None:
    """Have everything that waits be told, retries too; from `gone` on the warehouse wants nothing any more."""
    # Those too that became due while something of this moment took its time: none is left to the real deliverer.
    for webhook_id in deliveries.hungry(session, moment + timedelta(days=1)):
        webhook, at = endpoints.get(session, tenant_id, webhook_id), moment
        for _ in range(_ROUNDS):
            waiting = deliveries.listing(session, webhook, limit=_MANY, state=DeliveryState.WAITING)
            if not waiting or not webhook.enabled:
                break
            at = max(at, min(each.due_at for each in waiting), webhook.rests_until or at)
            claimed = deliveries.claim(session, webhook, _LEASE, _MANY, at)
            tried = [_tried(webhook, each, gone=webhook.description == _WAREHOUSE and at >= gone) for each in claimed]
            deliveries.settle(session, webhook, _LEASE, tried, at)
            session.expire_all()


def _tried(webhook: Webhook, due: Due, *, gone: bool) -> Tried:
    # As long as its id is odd: it looks like a measurement, and is the same whenever the past is lived.
    took = 40 + sum(due.message_id.encode()) % 260
    status, answer = 204, ""
    if gone:
        status, answer = 410, "this importer was moved: ask the data team"
    elif webhook.description == _CRM and due.kind == "email.complained" and due.tries < _STUBBORN:
        status, answer = 500, '{"error": "no such contact"}'
    elif webhook.description == _CRM and not due.tries and not due.number % 3:
        status, answer = 503, "deploying, back in a minute"
    return Tried(due, schedule.verdict(status), status, took, answer)
