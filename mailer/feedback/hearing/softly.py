"""Soft bounces: so many within so many days, and promotional mail rests; a delivery ends it."""

from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlmodel import Session, col

from mailer import people
from mailer.feedback.hearing.keeping import TOLD
from mailer.feedback.hearing.policy import COUNTS_SOFTLY
from mailer.models import Email, Tenant, Told
from suppression import entries, rules
from suppression.entries import Entry, NewEntry
from suppression.rules import Ender, Origin, Reason


def note(session: Session, told: Told, email: Email, now: datetime) -> None:
    """Count a soft bounce of a mailbox; the tenant's number of them within its days stops promotional mail."""
    if told.category not in COUNTS_SOFTLY or email.fingerprint is None:
        return
    told.fingerprint = email.fingerprint
    session.flush()
    tenant = session.get_one(Tenant, email.tenant_id)
    within = timedelta(days=tenant.soft_bounce_days)
    prints = entries.family(session, email.tenant_id, [email.fingerprint], mailbox=True)
    counted = select(func.count()).where(
        TOLD.c.tenant_id == email.tenant_id, TOLD.c.fingerprint.in_(prints), TOLD.c.at > now - within
    )
    number = int(session.execute(counted).scalar_one())
    if number < tenant.soft_bounces:
        return
    evidence: dict[str, object] = {"email_id": email.id, "category": told.category, "count": number}
    new = NewEntry(
        tenant_id=email.tenant_id,
        fingerprint=email.fingerprint,
        key_id=people.key_of(session, email.tenant_id, email.fingerprint),
        reason=Reason.SOFT_BOUNCE,
        scope=rules.STREAM_PROMOTIONAL,
        origin=Origin.PROVIDER,
        address=email.address,
        expires_at=now + within,
        evidence=evidence,
    )
    people.suppress(session, new, now)


def end(session: Session, email: Email, at: datetime, now: datetime) -> None:
    """A mailbox took a mail at this time: what was counted before is forgotten, what stands because of it is lifted."""
    if email.fingerprint is None:
        return
    prints = entries.family(session, email.tenant_id, [email.fingerprint], mailbox=True)
    counted = (TOLD.c.tenant_id == email.tenant_id, TOLD.c.fingerprint.in_(prints), TOLD.c.at <= at)
    session.execute(update(TOLD).where(*counted).values(fingerprint=None))
    standing = select(col(Entry.id)).where(
        col(Entry.tenant_id) == email.tenant_id,
        col(Entry.fingerprint).in_(prints),
        col(Entry.reason) == Reason.SOFT_BOUNCE,
        col(Entry.lifted_at).is_(None),
        col(Entry.expires_at) > now,
        col(Entry.created_at) <= at,
    )
    for entry_id in session.execute(standing).scalars().all():
        people.lift(session, email.tenant_id, entry_id, Ender.DELIVERY, "a mail was delivered", now)
