"""A yes to a topic, with what proves it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from mailer import ids
from mailer.models import Consent
from mailer.people.stopping import key_of
from mailer.people.telling import EventKind, News, tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """Who says yes to what, and what shows it."""

    tenant_id: int
    fingerprint: bytes
    #: `topic:<key>`, or `tracking`.
    purpose: str
    #: The page or program where it was said.
    source: str
    granted: bool = True
    #: Which version of the words was read.
    wording: str | None = None
    ip: str | None = None
    email_id: str | None = None
    evidence: Mapping[str, object] | None = None


def permit(session: Session, permission: Permission, now: datetime) -> Consent:
    """Record a yes or no and tell it; earlier answers stay as proof."""
    consent = Consent(
        id=ids.new("co", now),
        tenant_id=permission.tenant_id,
        fingerprint=permission.fingerprint,
        key_id=key_of(session, permission.tenant_id, permission.fingerprint),
        purpose=permission.purpose,
        granted=permission.granted,
        source=permission.source,
        wording=permission.wording,
        ip=permission.ip,
        email_id=permission.email_id,
        evidence=dict(permission.evidence) if permission.evidence else None,
        at=now,
    )
    session.add(consent)
    session.flush()
    data = {
        "consent_id": consent.id,
        "purpose": consent.purpose,
        "granted": consent.granted,
        "source": consent.source,
    }
    tell(session, [News(consent.tenant_id, EventKind.CONSENT_CHANGED, data)], now)
    return consent


def permitted(session: Session, tenant_id: int, prints: Collection[bytes], now: datetime) -> dict[str, bool]:
    """Return a person's newest answer to each purpose that they answered and whose answer has not run out."""
    return {
        consent.purpose: consent.granted and (consent.expires_at is None or consent.expires_at > now)
        for consent in answers_of(session, tenant_id, prints)
    }


def answers_of(session: Session, tenant_id: int, prints: Collection[bytes]) -> list[Consent]:
    """Return every answer of a person, the oldest first."""
    statement = (
        select(Consent)
        .where(col(Consent.tenant_id) == tenant_id, col(Consent.fingerprint).in_(prints))
        .order_by(col(Consent.at), col(Consent.id))
    )
    return list(session.exec(statement))
