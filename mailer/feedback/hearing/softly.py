"""Soft bounces: so many within so many days, and promotional mail rests; a delivery ends it."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import select, update
from sqlmodel import Session, SQLModel

from mailer import database, people
from mailer.feedback.hearing.keeping import TOLD, Kept
from mailer.feedback.hearing.policy import COUNTS_SOFTLY
from mailer.models import Email, Tenant
from suppression import entries, rules
from suppression.entries import Entry, NewEntry
from suppression.rules import Ender, Origin, Reason

_ENTRY = SQLModel.metadata.tables[str(Entry.__tablename__)]


class _Box(NamedTuple):
    tenant_id: int
    fingerprint: bytes


class _Bounce(NamedTuple):
    """A soft bounce that counts."""

    report_id: str
    at: datetime


class _Rest(NamedTuple):
    """An entry that soft bounces caused, and that stands."""

    entry_id: str
    since: datetime


class Mailboxes:
    """What soft bounces some mailboxes had, looked up together; what is told of them is counted one after the other."""

    def __init__(
        self, session: Session, emails: Iterable[Email], now: datetime, before: Callable[[], None] = lambda: None
    ) -> None:
        """Look up the mailboxes of these mails; `before` is called before an entry is added or lifted."""
        self._session, self._now, self._before = session, now, before
        self._family: dict[_Box, tuple[_Box, ...]] = {}
        self._bounces: defaultdict[_Box, list[_Bounce]] = defaultdict(list)
        self._rests: defaultdict[_Box, list[_Rest]] = defaultdict(list)
        self._counted: dict[str, bytes] = {}
        self._forgotten: set[str] = set()
        prints: defaultdict[int, set[bytes]] = defaultdict(set)
        for email in emails:
            if email.fingerprint is not None:
                prints[email.tenant_id].add(email.fingerprint)
        self._tenants = {tenant_id: session.get_one(Tenant, tenant_id) for tenant_id in sorted(prints)}
        for tenant_id in self._tenants:
            self._look(tenant_id, prints[tenant_id])

    @property
    def counted(self) -> Mapping[str, bytes]:
        """Return the reports that count, of those told here: id -> mailbox."""
        return self._counted

    def note(self, told: Kept, email: Email) -> None:
        """Count a soft bounce of a mailbox; the tenant's number of them within its days stops promotional mail."""
        if told.category not in COUNTS_SOFTLY or email.fingerprint is None:
            return
        box = _Box(email.tenant_id, email.fingerprint)
        self._bounces[box].append(_Bounce(told.id, told.at))
        self._counted[told.id] = email.fingerprint
        tenant = self._tenants[email.tenant_id]
        within = timedelta(days=tenant.soft_bounce_days)
        number = sum(
            bounce.at > self._now - within for each in self._family[box] for bounce in self._bounces.get(each, ())
        )
        if number < tenant.soft_bounces:
            return
        new = NewEntry(
            tenant_id=email.tenant_id,
            fingerprint=email.fingerprint,
            key_id=people.key_of(self._session, email.tenant_id, email.fingerprint),
            reason=Reason.SOFT_BOUNCE,
            scope=rules.STREAM_PROMOTIONAL,
            origin=Origin.PROVIDER,
            address=email.address,
            expires_at=self._now + within,
            evidence={"email_id": email.id, "category": told.category, "count": number},
        )
        self._before()
        entry, created = people.suppress(self._session, new, self._now)
        if created:
            self._rests[box].append(_Rest(entry.id, entry.created_at))

    def end(self, email: Email, at: datetime) -> None:
        """A mailbox took a mail at this time: what was counted before is forgotten, what stands because of it ends."""
        if email.fingerprint is None:
            return
        for box in self._family[_Box(email.tenant_id, email.fingerprint)]:
            gone = [bounce.report_id for bounce in self._bounces.get(box, ()) if bounce.at <= at]
            for report_id in gone:
                if self._counted.pop(report_id, None) is None:
                    self._forgotten.add(report_id)
            if gone:
                self._bounces[box] = [bounce for bounce in self._bounces[box] if bounce.at > at]
            over = [rest for rest in self._rests.get(box, ()) if rest.since <= at]
            if over:
                self._before()
            for rest in over:
                self._rests[box].remove(rest)
                why = "a mail was delivered"
                people.lift(self._session, box.tenant_id, rest.entry_id, Ender.DELIVERY, why, self._now)

    def write(self) -> None:
        """Write which earlier bounces count no more."""
        if self._forgotten:
            gone = database.among(self._session, TOLD.c.id, sorted(self._forgotten))
            self._session.execute(update(TOLD).where(gone).values(fingerprint=None))

    def _look(self, tenant_id: int, prints: Collection[bytes]) -> None:
        families = entries.families(self._session, tenant_id, sorted(prints), mailbox=True)
        for one, family in families.items():
            self._family[_Box(tenant_id, one)] = tuple(_Box(tenant_id, each) for each in family)
        known = sorted({each for family in families.values() for each in family})
        bounces = select(TOLD.c.fingerprint, TOLD.c.id, TOLD.c.at).where(
            TOLD.c.tenant_id == tenant_id, database.among(self._session, TOLD.c.fingerprint, known)
        )
        for one, *bounce in self._session.execute(bounces):
            self._bounces[_Box(tenant_id, one)].append(_Bounce(*bounce))
        standing = select(_ENTRY.c.fingerprint, _ENTRY.c.id, _ENTRY.c.created_at).where(
            _ENTRY.c.tenant_id == tenant_id,
            database.among(self._session, _ENTRY.c.fingerprint, known),
            _ENTRY.c.reason == Reason.SOFT_BOUNCE,
            _ENTRY.c.lifted_at.is_(None),
            _ENTRY.c.expires_at > self._now,
        )
        for one, *rest in self._session.execute(standing):
            self._rests[_Box(tenant_id, one)].append(_Rest(*rest))
