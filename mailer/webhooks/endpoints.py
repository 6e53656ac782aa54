"""Endpoints: who is told of what, with which secret. Verbs are given a session and never commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import delete as sql_delete
from sqlalchemy import func
from sqlmodel import Session, SQLModel, col, select

from mailer import events, ids, secrets
from mailer.errors import Conflict, Invalid, NotFound, Problem
from mailer.models import Webhook, WebhookDelivery
from mailer.outside import Guard, Refused, Unreachable
from mailer.sealing import Seals
from mailer.settings import Settings
from mailer.webhooks import payloads, signing

#: How many endpoints a tenant may have: each costs a message an event.
MOST = 50
#: For how long an old secret signs beside the new one.
OVERLAP = timedelta(hours=24)

_delivery = SQLModel.metadata.tables[str(WebhookDelivery.__tablename__)]


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a process needs for them: what seals secrets, and where messages may go."""

    seals: Seals
    guard: Guard

    @classmethod
    def build(cls, settings: Settings) -> "Hooks":
        """Return it as the settings say."""
        guard = Guard(ports=settings.more_ports, loopback=settings.to_loopback)
        return cls(secrets.seals(settings, "webhook"), guard)


class Made(NamedTuple):
    """An endpoint, and its secret, which is shown this once."""

    webhook: Webhook
    secret: str


class Wanted(NamedTuple):
    """What a new endpoint is to be."""

    url: str
    kinds: Sequence[str] | None = None
    description: str = ""
    #: Theirs; None to have one made.
    secret: bytes | None = None


async def check(guard: Guard, url: str) -> None:
    """Raise `Invalid` where messages may not go to an URL, or nobody knows its name; each delivery asks again."""
    try:
        await guard.check(url)
    except (Refused, Unreachable) as error:
        raise Invalid(Problem("url", str(error))) from None


def create(session: Session, hooks: Hooks, tenant_id: int, wanted: Wanted, now: datetime) -> Made:
    """Make an endpoint; events that commit after it are told to it. Ask `check` before."""
    mine = select(func.count()).select_from(Webhook).where(Webhook.tenant_id == tenant_id)
    if session.exec(mine).one() >= MOST:
        raise Conflict(f"there are {MOST} endpoints already: delete one first")
    identifier, plain = ids.new("we", now), wanted.secret or signing.new_secret()
    kinds = list(dict.fromkeys(wanted.kinds)) if wanted.kinds is not None else None
    webhook = Webhook(
        id=identifier,
        tenant_id=tenant_id,
        url=wanted.url,
        description=wanted.description,
        kinds=kinds,
        hears_sent=_hears_sent(kinds, enabled=True),
        secret=hooks.seals.seal(plain, _place(identifier)),
        created_at=now,
    )
    return Made(_kept(session, webhook), signing.shown(plain))


def get(session: Session, tenant_id: int, webhook_id: str, *, to_change: bool = False) -> Webhook:
    """Return an endpoint of a tenant, which nobody else changes then; somebody else's is not found."""
    mine = select(Webhook).where(Webhook.id == webhook_id, Webhook.tenant_id == tenant_id)
    webhook = session.exec(mine.with_for_update() if to_change else mine).one_or_none()
    if webhook is None:
        raise NotFound("there is no such endpoint")
    return webhook


def listing(session: Session, tenant_id: int) -> Sequence[Webhook]:
    """Return a tenant's endpoints, the oldest first."""
    return session.exec(select(Webhook).where(Webhook.tenant_id == tenant_id).order_by(Webhook.id)).all()


def ailing(session: Session) -> int:
    """Return how many endpoints of all tenants were disabled because they failed."""
    failed = select(func.count()).select_from(Webhook).where(col(Webhook.disabled_why).is_not(None))
    return int(session.exec(failed).one())


def given_up(session: Session, tenant_id: int) -> Sequence[Webhook]:
    """Return a tenant's endpoints that were disabled because they failed, the oldest first."""
    return [webhook for webhook in listing(session, tenant_id) if webhook.disabled_why is not None]


def change(session: Session, webhook: Webhook, values: dict[str, object]) -> Webhook:
    """Change what is given of url, description and kinds; what waits goes where the URL leads now."""
    for name, value in values.items():
        setattr(webhook, name, value)
    webhook.hears_sent = _hears_sent(webhook.kinds, enabled=webhook.enabled)
    return _kept(session, webhook)


def enable(session: Session, webhook: Webhook) -> Webhook:
    """Tell it again; what waited when it was disabled goes at once, what happened meanwhile after a replay."""
    webhook.enabled, webhook.disabled_at, webhook.disabled_why = True, None, None
    webhook.failures, webhook.failing_since, webhook.rests_until = 0, None, None
    return change(session, webhook, {})


def disable(session: Session, webhook: Webhook, now: datetime, why: str | None = None) -> Webhook:
    """Tell it nothing more; with a reason it was not its owner who wanted that, and the other endpoints hear of it."""
    if webhook.enabled:
        webhook.enabled, webhook.disabled_at, webhook.disabled_why = False, now, why
        change(session, webhook, {})
        if why is not None:
            data = {"webhook_id": webhook.id, "why": why}
            events.write(session, [events.row(webhook.tenant_id, payloads.DISABLED, data, now)])
    return webhook


def delete(session: Session, webhook: Webhook) -> None:
    """Forget an endpoint, what waits for it, and its log."""
    session.execute(sql_delete(_delivery).where(_delivery.c.webhook_id == webhook.id))
    session.delete(webhook)
    session.flush()


def rotate(session: Session, hooks: Hooks, webhook: Webhook, now: datetime, secret: bytes | None = None) -> Made:
    """Give it a new secret; the old one signs beside it for a day, so that no message is refused meanwhile."""
    plain, place = secret or signing.new_secret(), _place(webhook.id)
    webhook.old_secret, webhook.old_until = webhook.secret, now + OVERLAP
    webhook.secret = hooks.seals.seal(plain, place)
    return Made(_kept(session, webhook), signing.shown(plain))


def secrets_of(seals: Seals, webhook: Webhook, now: datetime) -> list[bytes]:
    """Return what signs its messages now, the newest first."""
    found = [webhook.secret]
    if webhook.old_secret is not None and webhook.old_until is not None and webhook.old_until > now:
        found.append(webhook.old_secret)
    return [seals.open(sealed, _place(webhook.id)) for sealed in found]


def reseal(session: Session, seals: Seals) -> int:
    """Seal every secret with the first key of the ring; return how many were sealed with another one."""
    changed = 0
    for webhook in session.exec(select(Webhook).order_by(Webhook.id).with_for_update()):
        place = _place(webhook.id)
        for name in ("secret", "old_secret"):
            sealed = getattr(webhook, name)
            if sealed is not None and Seals.key_of(sealed) != seals.primary_id:
                setattr(webhook, name, seals.seal(seals.open(sealed, place), place))
                changed += 1
        session.add(webhook)
    session.flush()
    return changed


def view(webhook: Webhook) -> dict[str, object]:
    """Return an endpoint as JSON shows it: never its secret."""
    return {
        "id": webhook.id,
        "url": webhook.url,
        "description": webhook.description,
        "events": webhook.kinds,
        "enabled": webhook.enabled,
        "disabled_at": webhook.disabled_at,
        "disabled_why": webhook.disabled_why,
        "failures": webhook.failures,
        "failing_since": webhook.failing_since,
        "old_secret_until": webhook.old_until,
        "created_at": webhook.created_at,
    }


def _hears_sent(kinds: Sequence[str] | None, *, enabled: bool) -> bool:
    return enabled and (kinds is None or events.SENT in kinds)


def _kept(session: Session, webhook: Webhook) -> Webhook:
    session.add(webhook)
    session.flush()
    return webhook


def _place(webhook_id: str) -> str:
    return f"the secret of webhook {webhook_id}"
