"""The verb: one transaction in which a person's waiting mail ends and everything that names them goes."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import and_, or_, select, update
from sqlmodel import Session, col

from mailer import counters, people
from mailer.erasure import mails, records
from mailer.erasure.words import Known, without_any
from mailer.models import Consent, Email, OptIn, Person
from mailer.people.stopping import key_of
from mailer.status import WAITING, Status, before
from suppression import entries, rules
from suppression.entries import Entry, NewEntry
from suppression.rules import Origin, Reason

#: Tables that know a person by a fingerprint, beside the mail.
_KNOWING = (Entry, Consent, Person, OptIn)


class Erased(NamedTuple):
    """What an erasure met. The addresses are for who looks further (the inbox); they are shown and logged nowhere."""

    #: The entry that keeps the person from getting mail, whoever brings them back.
    suppression_id: str
    #: Emails that do not know the person any more, and how many of them waited and were cancelled.
    emails: int
    cancelled: int
    #: Emails whose sending had begun: what becomes of them is still written down, and that names nobody.
    in_flight: int
    addresses: frozenset[str]


def erase(session: Session, tenant_id: int, prints: tuple[bytes, ...], now: datetime, note: str | None) -> Erased:
    """Erase a person of a tenant, known by the fingerprints of their address (the primary key's first).

    Waiting mail is cancelled; addresses, names, variables and all that is known of a person go; the entries of the
    suppression list stay by their fingerprints, and `unsubscribe` of everything is added, so that an import brings
    nobody back, not even who never left. Doing it twice is doing it once. Run it `conclusive` (`Database.run`): once
    it is answered no mail begins any more.
    """
    family = entries.family(session, tenant_id, prints)
    cancelled = _cancel(session, tenant_id, family, now)
    theirs = mails.of(session, tenant_id, family)
    known = Known({*_addresses(session, tenant_id, family), *(each.address for each in theirs if each.address)})
    added = [_keep_away(session, tenant_id, each, note, now) for each in _traced(session, tenant_id, prints, family)]
    mails.leave_shared_headers(session, tenant_id, theirs, known)
    mails.forget_words(session, tenant_id, theirs, known)
    mails.forget_tags(session, tenant_id, theirs, known)
    mails.forget_events(session, tenant_id, theirs)
    records.forget_answers(session, tenant_id, theirs, known, now)
    records.forget_reports(session, tenant_id, theirs, known.written)
    mails.forget(session, theirs)
    # After the mail: a hard bounce that is written down meanwhile has let go of its email's row by now.
    for fingerprint in family:
        entries.forget(session, tenant_id, fingerprint)
        records.forget_person(session, tenant_id, fingerprint, now)
    flying = sum(each.status is Status.SENDING for each in theirs)
    return Erased(added[0], len(theirs), cancelled, flying, known.written)


def _cancel(session: Session, tenant_id: int, family: Iterable[bytes], now: datetime) -> int:
    """Take back what waits, count it and tell it; return how many that were."""
    claimed = and_(col(Email.status) == Status.SENDING, col(Email.intent_at).is_(None))
    statement = (
        update(Email)
        .where(
            col(Email.tenant_id) == tenant_id,
            col(Email.fingerprint).in_(family),
            col(Email.status).in_(before(Status.CANCELLED)),
            or_(col(Email.status).in_(WAITING), claimed),
        )
        .values(status=Status.CANCELLED, settled_at=now, lease=None)
        .returning(Email)
        .execution_options(synchronize_session=False)
    )
    tally, identifiers = counters.Tally(), list[str]()
    for (email,) in session.execute(statement):
        tally.count(email, Status.CANCELLED, now, asked=False)
        identifiers.append(email.id)
    tally.write(session)
    mails.tell_cancelled(session, tenant_id, identifiers, now)
    session.expunge_all()
    return len(identifiers)


def _addresses(session: Session, tenant_id: int, family: Iterable[bytes]) -> set[str]:
    """Return the addresses that lists and choices hold of a person."""
    found: set[str] = set()
    for table in (Entry, Person, OptIn):
        kept = select(col(table.address)).where(
            col(table.tenant_id) == tenant_id, col(table.fingerprint).in_(family), col(table.address).is_not(None)
        )
        found.update(each for each in session.execute(kept).scalars() if each)
    return found


def _traced(
    session: Session, tenant_id: int, prints: tuple[bytes, ...], family: tuple[bytes, ...]
) -> tuple[bytes, ...]:
    """Return the fingerprints under which the person is kept away: the present one, and those that left a trace."""
    traced: set[bytes] = set()
    for table in (*_KNOWING, Email):
        knows = select(col(table.fingerprint)).where(
            col(table.tenant_id) == tenant_id, col(table.fingerprint).in_(family)
        )
        traced.update(each for each in session.execute(knows.distinct()).scalars() if each)
    return (prints[0], *(each for each in family if each in traced and each != prints[0]))


def _keep_away(session: Session, tenant_id: int, fingerprint: bytes, note: str | None, now: datetime) -> str:
    """Opt the person out of everything that may be left, and return the entry that says so."""
    new = NewEntry(
        tenant_id=tenant_id,
        fingerprint=fingerprint,
        key_id=key_of(session, tenant_id, fingerprint),
        reason=Reason.UNSUBSCRIBE,
        scope=rules.ALL,
        origin=Origin.ERASURE,
        note=str(without_any(note)) if note else None,
    )
    return people.suppress(session, new, now).entry.id
