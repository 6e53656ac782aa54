"""Who is behind a fingerprint: the address while it is kept, and whether anything is known at all."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlmodel import Session, col, select

from mailer.models import Consent, Email, OptIn, Person
from suppression import entries
from suppression.entries import Entry

#: What knows a person by a fingerprint, and has their address until erasure.
_NAMING = (Person, Entry, OptIn)


class Found(NamedTuple):
    """What is known of a mailbox."""

    #: As it was written last; None after erasure.
    address: str | None
    #: Every fingerprint of the person, those that were asked about first.
    family: tuple[bytes, ...]


def find(session: Session, tenant_id: int, prints: Sequence[bytes]) -> Found | None:
    """Return what is known of a mailbox by some of its fingerprints; None where there is no trace of it.

    The address is of this very mailbox, and not of another one of the person's.
    """
    family = entries.family(session, tenant_id, prints)
    mailbox = entries.family(session, tenant_id, prints, mailbox=True)
    mail = select(Email.address).where(col(Email.tenant_id) == tenant_id, col(Email.fingerprint).in_(mailbox))
    written = session.exec(mail.order_by(col(Email.id).desc()).limit(1)).all()
    for table in _NAMING:
        named = select(col(table.address)).where(col(table.tenant_id) == tenant_id, col(table.fingerprint).in_(mailbox))
        written = [*written, *session.exec(named).all()]
    address = next((each for each in written if each), None)
    if written or _answered(session, tenant_id, mailbox):
        return Found(address, family)
    return None


def _answered(session: Session, tenant_id: int, mailbox: Sequence[bytes]) -> bool:
    said = select(Consent.id).where(col(Consent.tenant_id) == tenant_id, col(Consent.fingerprint).in_(mailbox))
    return session.exec(said.limit(1)).first() is not None
