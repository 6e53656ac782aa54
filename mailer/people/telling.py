"""Events about people's choices and the suppression list (spec section 11), each told once with its tenant."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sqlmodel import Session

from mailer import events
from suppression.entries import Entry

#: What of an entry's evidence says from which mail it came.
_ORIGINS = ("email_id", "campaign_id")


class EventKind(StrEnum):
    """What is told."""

    #: Another server said that it has the mail and could not hand it on yet.
    DEFERRED = "email.deferred"
    DELIVERED = "email.delivered"
    BOUNCED = "email.bounced"
    UNSUBSCRIBED = "email.unsubscribed"
    RESUBSCRIBED = "email.resubscribed"
    #: A mail provider told us that somebody calls it spam.
    COMPLAINED = "email.complained"
    #: Mail that waited was stopped by an entry.
    SUPPRESSED = "email.suppressed"
    SUPPRESSION_CREATED = "suppression.created"
    SUPPRESSION_LIFTED = "suppression.lifted"
    CONSENT_CHANGED = "consent.changed"


class News(NamedTuple):
    """One thing that happened."""

    tenant_id: int
    kind: EventKind
    #: Ids and words; never an address.
    data: Mapping[str, object]
    #: The email that it happened to, None where there is none or it is gone.
    email_id: str | None = None


def tell(session: Session, news: Iterable[News], now: datetime) -> None:
    """Write an event for each piece of news, in their order."""
    events.write(
        session, [events.row(each.tenant_id, each.kind, each.data, now, email_id=each.email_id) for each in news]
    )


def created(entry: Entry) -> News:
    """Return the news that an entry forbids mail from now on."""
    evidence = entry.evidence or {}
    data = {
        "suppression_id": entry.id,
        "reason": entry.reason.value,
        "scope": entry.scope,
        "origin": entry.origin.value,
        **{name: evidence[name] for name in _ORIGINS if name in evidence},
    }
    return News(entry.tenant_id, EventKind.SUPPRESSION_CREATED, data)


def lifted(entry: Entry) -> News:
    """Return the news that an entry is at its end, and who ended it."""
    data = {
        "suppression_id": entry.id,
        "reason": entry.reason.value,
        "scope": entry.scope,
        "lifted_by": entry.lifted_by,
    }
    return News(entry.tenant_id, EventKind.SUPPRESSION_LIFTED, data)
