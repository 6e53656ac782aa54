"""What happened is written here, and nowhere else: the event, and a message to each endpoint that wants it (spec §11).

Both are rows of the transaction in which it happened, so that a crash loses neither. `email.queued` and `email.sent`
have no event of their own, for the email's times tell them: only messages are written, where somebody wants them.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Insert, String, Subquery, bindparam, insert, literal, select, true
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.selectable import CTE
from sqlmodel import Session, SQLModel

from mailer import ids
from mailer.models import DeliveryState, Event, Webhook, WebhookDelivery
from mailer.status import Status

QUEUED, SENT = f"email.{Status.QUEUED}", f"email.{Status.SENT}"

_event, _webhook, _delivery = (
    SQLModel.metadata.tables[str(model.__tablename__)] for model in (Event, Webhook, WebhookDelivery)
)
# Built once: every commit that accepts mail asks it.
_ENABLED = select(_webhook.c.tenant_id, _webhook.c.id, _webhook.c.kinds).where(
    _webhook.c.tenant_id.in_(bindparam("tenants", expanding=True)), _webhook.c.enabled == true()
)


class Told(NamedTuple):
    """What a message says before it is put into words."""

    message_id: str
    tenant_id: int
    kind: str
    at: datetime
    email_id: str | None


def row(
    tenant_id: int, kind: str, data: Mapping[str, object] | None, now: datetime, *, email_id: str | None = None
) -> dict[str, object]:
    """Return the row of an event: `data` holds ids and words, never an address."""
    return {
        "id": ids.new("ev", now),
        "tenant_id": tenant_id,
        "email_id": email_id,
        "kind": kind,
        "at": now,
        "data": dict(data) if data is not None else None,
    }


def write(session: Session, rows: Sequence[Mapping[str, object]]) -> None:
    """Write events in their order, and the messages about them."""
    if rows:
        session.execute(_event.insert(), [dict(each) for each in rows])
        announce(session, [Told(*(each[name] for name in _OF_ROW)) for each in rows])  # type: ignore[arg-type]


_OF_ROW = ("id", "tenant_id", "kind", "at", "email_id")


def write_to(session: Session, webhook_id: str, happened: Mapping[str, object]) -> Told:
    """Write an event that one endpoint alone is told."""
    session.execute(_event.insert(), [dict(happened)])
    told = Told(*(happened[name] for name in _OF_ROW))  # type: ignore[arg-type]
    session.connection().execute(_delivery.insert(), [message(webhook_id, told)])
    return told


def queued(tenant_id: int, email_id: str, now: datetime) -> Told:
    """Return that an email was accepted."""
    return Told(f"{email_id}_{Status.QUEUED}", tenant_id, QUEUED, now, email_id)


def sent(tenant_id: int, email_id: str, now: datetime) -> Told:
    """Return that the relay took an email."""
    return Told(f"{email_id}_{Status.SENT}", tenant_id, SENT, now, email_id)


def announce(session: Session, told: Sequence[Told]) -> None:
    """Write a message for each endpoint that wants it; where nobody does this is one look at a small table."""
    if not told:
        return
    wanted = _wanted(session, {each.tenant_id for each in told})
    rows = [
        message(webhook_id, each)
        for each in told
        for webhook_id, kinds in wanted.get(each.tenant_id, ())
        if kinds is None or each.kind in kinds
    ]
    if rows:
        session.connection().execute(_delivery.insert(), rows)


def message(webhook_id: str, told: Told) -> dict[str, object]:
    """Return the row of a message to one endpoint, due at once."""
    fresh = {"state": DeliveryState.WAITING, "due_at": told.at, "tries": 0}
    return {"webhook_id": webhook_id, **told._asdict(), **fresh}


def _wanted(session: Session, tenants: Iterable[int]) -> Mapping[int, list[tuple[str, list[str] | None]]]:
    found: dict[int, list[tuple[str, list[str] | None]]] = {}
    for tenant_id, webhook_id, kinds in session.execute(_ENABLED, {"tenants": sorted(tenants)}):
        found.setdefault(tenant_id, []).append((webhook_id, kinds))
    return found


def announcing_sent(settled: CTE | Subquery, moment: ColumnElement[datetime]) -> Insert:
    """Return what `announce` does as part of a statement that returns the `id` and `tenant_id` of mails it settled."""
    chosen = (
        select(
            _webhook.c.id,
            settled.c.id + literal(f"_{Status.SENT}", String()),
            settled.c.tenant_id,
            literal(SENT, String()),
            settled.c.id,
            moment,
            literal(DeliveryState.WAITING, _delivery.c.state.type),
            moment,
            literal(0),
        )
        .select_from(settled)
        .join(_webhook, (_webhook.c.tenant_id == settled.c.tenant_id) & (_webhook.c.hears_sent == true()))
    )
    names = ["webhook_id", "message_id", "tenant_id", "kind", "email_id", "at", "state", "due_at", "tries"]
    return insert(_delivery).from_select(names, chosen)
