"""Writing down what was seen, where it may be written down: consent is asked now (spec section 9)."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime

from sqlmodel import Session, SQLModel, col, select

from mailer import counters, database, events, ids, people
from mailer.feedback.tracking.sightings import Class, Sighting
from mailer.links import Audience
from mailer.models import ConsentRule, Email, Event, Opens, SeenHit, Tenant

OPENED = "email.opened"
_CHUNK = 200


def record(session: Session, sightings: Sequence[Sighting], now: datetime) -> None:
    """Store what may be stored: consent is asked now, not when the mail was made (spec section 9)."""
    tally = counters.Tally()
    for start in range(0, len(sightings), _CHUNK):
        chunk = sightings[start : start + _CHUNK]
        _record_emails(session, [each for each in chunk if each.hit.email_id], tally, now)
        _record_audiences(session, [each for each in chunk if each.hit.audience], tally, now)
    tally.write(session)


def _record_emails(session: Session, sightings: Sequence[Sighting], tally: counters.Tally, now: datetime) -> None:
    emails = _permitted(session, {each.hit.email_id for each in sightings if each.hit.email_id})
    known = _classes_seen(session, emails)
    happened: list[dict[str, object]] = []
    fresh: dict[tuple[int, bytes], tuple[Email, Class]] = {}
    for sighting in sightings:
        email = emails.get(sighting.hit.email_id or "")
        if email is None:
            continue
        kind, rule = sighting.verdict
        data = {"class": kind.value, "rule": rule}
        happened.append(events.row(email.tenant_id, OPENED, data, sighting.at, email_id=email.id))
        if (email.id, kind) not in known:
            fresh[email.tenant_id, _mark(ids.to_bytes(email.id), kind)] = (email, kind)
    events.write(session, happened)
    # The rows of seen marks decide between two processes that see the first load of a mail at the same moment.
    for key in _first(session, fresh, now.date()):
        email, kind = fresh[key]
        dims = counters.dimensions(
            tags=email.tags, topic=email.topic, template=email.template, campaign=email.campaign_id
        )
        tally.add(email.tenant_id, email.created_at.date(), email.stream, f"opens:{kind}", dims)


def _permitted(session: Session, wanted: Collection[str]) -> Mapping[str, Email]:
    """Return the mails whose loads may be tied to their person: measured individually, not erased, consented."""
    if not wanted:
        return {}
    statement = (
        select(Email, Tenant)
        .join(Tenant, col(Tenant.id) == col(Email.tenant_id))
        .where(
            database.among(session, col(Email.id), sorted(wanted)),  # type: ignore[arg-type]
            col(Email.opens) == Opens.INDIVIDUAL,
            col(Email.address).is_not(None),
            col(Email.fingerprint).is_not(None),
        )
    )
    found = [
        (email, tenant.consent, email.fingerprint) for email, tenant in session.exec(statement) if email.fingerprint
    ]
    people_of: dict[int, set[bytes]] = {}
    for email, _, fingerprint in found:
        people_of.setdefault(email.tenant_id, set()).add(fingerprint)
    said = {tenant: people.tracking_choices(session, tenant, who) for tenant, who in people_of.items()}
    return {
        email.id: email
        for email, rule, fingerprint in found
        if _may_measure(rule, said[email.tenant_id].get(fingerprint))
    }


def _may_measure(rule: ConsentRule, choice: bool | None) -> bool:
    return choice is True if rule is ConsentRule.REQUIRED else choice is not False


def _classes_seen(session: Session, emails: Mapping[str, Email]) -> set[tuple[str, str]]:
    if not emails:
        return set()
    kind = col(Event.data)["class"].as_string()
    statement = (
        select(col(Event.email_id), kind)
        .where(
            database.among(session, col(Event.email_id), sorted(emails)),  # type: ignore[arg-type]
            col(Event.kind) == OPENED,
        )
        .distinct()
    )
    return {(str(email_id), str(seen)) for email_id, seen in session.exec(statement)}


def _record_audiences(session: Session, sightings: Sequence[Sighting], tally: counters.Tally, now: datetime) -> None:
    """Count the loads that name no person, each random number once a class."""
    fresh: dict[tuple[int, bytes], tuple[Audience, Class]] = {}
    for sighting in sightings:
        if audience := sighting.hit.audience:
            kind = sighting.verdict.kind
            fresh[audience.tenant_id, _mark(sighting.hit.mark, kind)] = (audience, kind)
    tenants = {tenant for tenant, _ in fresh}
    existing = set(session.exec(select(Tenant.id).where(col(Tenant.id).in_(tenants)))) if tenants else set()
    for key in _first(session, {key: each for key, each in fresh.items() if key[0] in existing}, now.date()):
        audience, kind = fresh[key]
        tagged = audience.campaign and not audience.campaign.startswith("ca_")
        dims = counters.dimensions(
            tags={"campaign": audience.campaign} if tagged else None,
            topic=audience.topic or None,
            template=audience.template or None,
            campaign=None if tagged else audience.campaign or None,
        )
        tally.add(audience.tenant_id, audience.day, audience.stream, f"opens:{kind}", dims)


def _mark(number: bytes, kind: Class) -> bytes:
    """Return what stands for a picture and who loaded it: a prefetch does not hide the person who opens later."""
    return hashlib.blake2b(number, digest_size=16, person=kind.encode()).digest()


def _first(session: Session, marks: Iterable[tuple[int, bytes]], today: date) -> list[tuple[int, bytes]]:
    """Return those marks that nobody had seen, and remember them."""
    table = SQLModel.metadata.tables[str(SeenHit.__tablename__)]
    # One order for all writers, so that two never wait for each other.
    rows = [{"tenant_id": tenant, "mark": mark, "day": today} for tenant, mark in sorted(marks)]
    if not rows:
        return []
    statement = database.insert(session, table).values(rows).on_conflict_do_nothing()
    found = session.execute(statement.returning(table.c.tenant_id, table.c.mark))
    return [(int(tenant), bytes(mark)) for tenant, mark in found]
