"""What people have permitted: every yes and no is kept, the newest of a purpose holds."""

from collections.abc import Collection
from datetime import datetime

from sqlmodel import Session, col, select

from mailer.models import Consent
from mailer.people.permitting import Permission, permit

TRACKING = "tracking"
_CHUNK = 400


def tracking_choice(session: Session, tenant_id: int, fingerprint: bytes) -> bool | None:
    """Return whether the person said yes or no to being measured, None where nothing was said."""
    return tracking_choices(session, tenant_id, [fingerprint]).get(fingerprint)


def tracking_choices(session: Session, tenant_id: int, fingerprints: Collection[bytes]) -> dict[bytes, bool]:
    """Return the newest yes or no of many people; who never said is left out."""
    asked = list(dict.fromkeys(fingerprints))
    found: dict[bytes, bool] = {}
    for start in range(0, len(asked), _CHUNK):
        statement = (
            select(Consent.fingerprint, Consent.granted)
            .where(
                col(Consent.tenant_id) == tenant_id,
                col(Consent.fingerprint).in_(asked[start : start + _CHUNK]),
                col(Consent.purpose) == TRACKING,
            )
            .order_by(col(Consent.at), col(Consent.id))
        )
        found.update((fingerprint, granted) for fingerprint, granted in session.exec(statement))
    return found


def choose_tracking(
    session: Session, tenant_id: int, fingerprint: bytes, *, granted: bool, source: str, now: datetime
) -> bool:
    """Record a yes or no to being measured and return whether it is news; earlier answers stay as proof."""
    if tracking_choice(session, tenant_id, fingerprint) is granted:
        return False
    said = Permission(tenant_id=tenant_id, fingerprint=fingerprint, purpose=TRACKING, source=source, granted=granted)
    permit(session, said, now)
    return True
