"""Whether opens may be tied to a person: their newest yes or no to being measured."""

from collections.abc import Collection
from datetime import datetime

from sqlmodel import Session

from mailer.people.permitting import Permission, Said, newest, permit
from suppression.entries import KinKind

TRACKING = "tracking"


def tracking_choice(
    session: Session, tenant_id: int, fingerprint: bytes, others: Collection[bytes] = ()
) -> bool | None:
    """Return whether the person said yes or no to being measured, None where nothing was said.

    `others` are fingerprints of the same mailbox by older keys; kin that the table knows is found without being named.
    """
    newest_said = max(_said(session, tenant_id, [fingerprint, *others]).values(), default=None)
    return None if newest_said is None else newest_said.granted


def tracking_choices(session: Session, tenant_id: int, fingerprints: Collection[bytes]) -> dict[bytes, bool]:
    """Return the newest yes or no of many people, in one statement; who never said is left out."""
    return {fingerprint: said.granted for fingerprint, said in _said(session, tenant_id, fingerprints).items()}


def _said(session: Session, tenant_id: int, fingerprints: Collection[bytes]) -> dict[bytes, Said]:
    """Return the newest answers of many people.

    An answer holds under whichever key it was given. A no of a former address is the person's; a yes of it is not the
    new mailbox's, which is asked anew.
    """
    theirs = dict[bytes, Said]()
    for heard, said in newest(session, tenant_id, fingerprints, [TRACKING]).items():
        if heard.kind is KinKind.KEY or not said.granted:
            theirs[heard.fingerprint] = max(theirs.get(heard.fingerprint, said), said)
    return theirs


def choose_tracking(
    session: Session, tenant_id: int, fingerprint: bytes, *, granted: bool, source: str, now: datetime
) -> bool:
    """Record a yes or no to being measured and return whether it is news; earlier answers stay as proof."""
    if tracking_choice(session, tenant_id, fingerprint) is granted:
        return False
    said = Permission(tenant_id=tenant_id, fingerprint=fingerprint, purpose=TRACKING, source=source, granted=granted)
    permit(session, said, now)
    return True
