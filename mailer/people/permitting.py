"""What people permitted: every yes and no is kept with what proves it, and the newest of a purpose holds."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import CompoundSelect, and_, bindparam, literal
from sqlalchemy import select as core_select
from sqlmodel import Session, SQLModel, col, select

from mailer import ids
from mailer.database import on_postgresql
from mailer.models import Consent
from mailer.people.stopping import key_of
from mailer.people.telling import EventKind, News, tell
from suppression.entries import Kin, KinKind
from suppression.entries.kin import CHUNK, among

_consent, _kin = (SQLModel.metadata.tables[str(model.__tablename__)] for model in (Consent, Kin))


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


class Said(NamedTuple):
    """An answer."""

    #: Sorts by its time.
    id: str
    granted: bool
    expires_at: datetime | None

    def holds(self, when: datetime) -> bool:
        """Return whether it is a yes that has not run out."""
        return self.granted and (self.expires_at is None or self.expires_at > when)


class Heard(NamedTuple):
    """Who answered what: the fingerprint that was asked about, by which tie the answer is theirs, and the purpose."""

    fingerprint: bytes
    #: KEY: of this very mailbox, under whichever key; ADDRESS: of the person's other addresses.
    kind: KinKind
    purpose: str


def newest(session: Session, tenant_id: int, prints: Collection[bytes], purposes: Collection[str]) -> dict[Heard, Said]:
    """Return the newest answers of many mailboxes, two thousand a statement; who never answered is left out."""
    asked, found = list(dict.fromkeys(prints)), dict[Heard, Said]()
    statement = _answers(arrays=on_postgresql(session))
    for start in range(0, len(asked), CHUNK):
        given = {"tenant": tenant_id, "prints": asked[start : start + CHUNK], "purposes": list(purposes)}
        for about, kind, purpose, *answer in session.execute(statement, given):
            heard, said = Heard(about, KinKind(kind), purpose), Said._make(answer)
            found[heard] = max(found.get(heard, said), said)
    return found


@lru_cache(maxsize=2)
def _answers(*, arrays: bool) -> CompoundSelect[Any]:
    """Return the one statement behind it, built once: answers of some fingerprints and, beside them, of their kin."""
    columns = (_consent.c.purpose, _consent.c.id, _consent.c.granted, _consent.c.expires_at)
    wanted = and_(
        _consent.c.tenant_id == bindparam("tenant"), _consent.c.purpose.in_(bindparam("purposes", expanding=True))
    )
    own = core_select(_consent.c.fingerprint.label("about"), literal(KinKind.KEY.value).label("kin"), *columns).where(
        wanted, among(_consent.c.fingerprint, arrays=arrays)
    )
    tied = and_(_consent.c.tenant_id == _kin.c.tenant_id, _consent.c.fingerprint == _kin.c.other)
    theirs = (
        core_select(_kin.c.fingerprint.label("about"), _kin.c.kind.label("kin"), *columns)
        .select_from(_kin.join(_consent, tied))
        .where(wanted, _kin.c.tenant_id == bindparam("tenant"), among(_kin.c.fingerprint, arrays=arrays))
    )
    return own.union_all(theirs)


def answers_of(session: Session, tenant_id: int, prints: Collection[bytes]) -> list[Consent]:
    """Return every answer of a person, the oldest first."""
    statement = (
        select(Consent)
        .where(col(Consent.tenant_id) == tenant_id, col(Consent.fingerprint).in_(prints))
        .order_by(col(Consent.at), col(Consent.id))
    )
    return list(session.exec(statement))
