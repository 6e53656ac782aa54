"""The rows of hits that are tied to a mail: read back, written in bulk, judged anew, forgotten."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Select, bindparam, select, text, tuple_, update
from sqlmodel import Session, SQLModel

from mailer import database, events
from mailer.feedback.tracking.judging import Seen
from mailer.feedback.tracking.sightings import CLICKED, OPENED, Class, Sighting, Trace, Verdict
from mailer.models import Event, HitTrace, LinkLabel

#: For so long is kept what a verdict is worked out from.
KEPT = timedelta(days=30)
#: How many traces are forgotten at once.
_FORGOTTEN = 5_000
#: The advisory lock, of a tenant, that whoever counts hits tied to a mail has alone.
_COUNTING = 7203
_event, _trace, _label = (SQLModel.metadata.tables[str(model.__tablename__)] for model in (Event, HitTrace, LinkLabel))
_ALONE = text("SELECT pg_advisory_xact_lock(:lock, :tenant)")
# Names of their own: SQLAlchemy keeps those of the columns for what is set.
_JUDGED = (
    update(_event).where(_event.c.id == bindparam("which")).values(data=bindparam("said", type_=_event.c.data.type))
)

_HITS = select(_event.c.id, _event.c.email_id, _event.c.at, _event.c.data).where(_event.c.kind.in_((OPENED, CLICKED)))


class Stored(NamedTuple):
    """A hit as it is stored."""

    id: str
    email_id: str
    seen: Seen
    data: Mapping[str, object]


class Fresh(NamedTuple):
    """A hit that is to be stored, and what it was judged to be."""

    tenant_id: int
    sighting: Sighting
    seen: Seen


def alone(session: Session, tenants: Iterable[int]) -> None:
    """Have these tenants' hits to oneself until the transaction ends: what a hit counts depends on those before it."""
    if database.on_postgresql(session):
        for tenant in sorted(set(tenants)):
            session.execute(_ALONE, {"lock": _COUNTING, "tenant": tenant})


def stored(session: Session, emails: Collection[str]) -> dict[str, list[Stored]]:
    """Return the hits of mails, oldest first."""
    if not emails:
        return {}
    statement = _HITS.where(database.among(session, _event.c.email_id, sorted(emails))).order_by(_event.c.id)
    return _by_mail(session, statement)


def between(session: Session, tenant_id: int, after: str, end: str, most: int) -> dict[str, list[Stored]]:
    """Return all hits of the next mails of a tenant, by the ids of the mails: above one, below another."""
    statement = (
        _HITS.where(_event.c.tenant_id == tenant_id, _event.c.email_id > after, _event.c.email_id < end)
        .order_by(_event.c.email_id, _event.c.id)
        .limit(most)
    )
    found = _by_mail(session, statement)
    if sum(map(len, found.values())) == most and len(found) > 1:
        # The last one may have more.
        del found[max(found)]
    return found


def _by_mail(session: Session, statement: Select[Any]) -> dict[str, list[Stored]]:
    found: dict[str, list[Stored]] = {}
    for identifier, email_id, at, data in session.execute(statement):
        found.setdefault(email_id, []).append(Stored(identifier, email_id, _seen(at, data), data))
    return found


def _seen(at: datetime, data: Mapping[str, object]) -> Seen:
    place = data.get("link")
    return Seen(at, place if isinstance(place, int) else None, Verdict(Class(str(data["class"])), str(data["rule"])))


def write(session: Session, fresh: Sequence[Fresh]) -> None:
    """Write an event for each hit, and what its verdict was worked out from."""
    happened, traces = [], []
    for tenant_id, (hit, _by_itself, at, trace), seen in fresh:
        data: dict[str, object] = {"class": seen.verdict.kind.value, "rule": seen.verdict.rule}
        if hit.link is not None:
            data |= {"link": hit.link.place, "url": hit.link.label}
        event = events.row(tenant_id, CLICKED if hit.link else OPENED, data, at, email_id=hit.email_id)
        happened.append(event)
        if trace is not None:
            key = {"tenant_id": tenant_id, "email_id": hit.email_id, "event_id": event["id"]}
            traces.append({**key, "day": at.date(), **trace._asdict()})
    events.write(session, happened)
    if traces:
        session.connection().execute(_trace.insert(), traces)


def judged(session: Session, hits: Iterable[tuple[Stored, Seen]]) -> int:
    """Write the verdicts that differ from what is stored, and return how many these were."""
    changed = [
        {"which": hit.id, "said": {**hit.data, "class": now.verdict.kind.value, "rule": now.verdict.rule}}
        for hit, now in hits
        if hit.seen.verdict != now.verdict
    ]
    if changed:
        session.connection().execute(_JUDGED, changed)
    return len(changed)


def name(session: Session, labels: Mapping[tuple[int, str], str]) -> None:
    """Keep how reports call links; a template's link that leads elsewhere by now is called by that."""
    if not labels:
        return
    rows = [{"tenant_id": tenant, "value": value, "label": label} for (tenant, value), label in sorted(labels.items())]
    statement = database.insert(session, _label)
    fresh = statement.excluded.label
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "value"], set_={"label": fresh}, where=_label.c.label != fresh
        ),
        rows,
    )


def traced(session: Session, tenant_id: int, since: date, after: str, most: int) -> list[str]:
    """Return the next mails, by their ids, that have a hit since that day which can be judged anew."""
    statement = (
        select(_trace.c.email_id)
        .where(_trace.c.tenant_id == tenant_id, _trace.c.email_id > after, _trace.c.day >= since)
        .distinct()
        .order_by(_trace.c.email_id)
        .limit(most)
    )
    return list(session.execute(statement).scalars())


def traces(session: Session, tenant_id: int, emails: Sequence[str]) -> dict[str, Trace]:
    """Return what is kept of the hits of mails, by the hit."""
    statement = select(_trace.c.event_id, _trace.c.method, _trace.c.agent, _trace.c.network).where(
        _trace.c.tenant_id == tenant_id, _trace.c.email_id.in_(emails)
    )
    return {identifier: Trace(*said) for identifier, *said in session.execute(statement)}


def forget(session: Session, now: datetime) -> None:
    """Forget what was kept of hits for long enough, some thousands at a time."""
    key = tuple_(_trace.c.tenant_id, _trace.c.email_id, _trace.c.event_id)
    old = select(_trace.c.tenant_id, _trace.c.email_id, _trace.c.event_id).where(_trace.c.day < (now - KEPT).date())
    session.execute(_trace.delete().where(key.in_(old.limit(_FORGOTTEN))))
