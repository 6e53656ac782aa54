"""Counters worked out again from the emails themselves, a day at a time; what differs is put right.

Only what a row and its events still tell: what opens and clicks count is worked out again where they are recorded, and
what is told by a moment alone (a try that was put off, the hour of a fact) is counted once, for good.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    ColumnElement,
    Select,
    String,
    Subquery,
    and_,
    case,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
)
from sqlmodel import Session, SQLModel

from mailer import counters, ids
from mailer.counters import FACTS, FOLLOWED, Key, Tally
from mailer.models import Email, Event, Opens
from mailer.people import EventKind
from mailer.status import Status

_email, _event = (SQLModel.metadata.tables[str(model.__tablename__)] for model in (Email, Event))
#: What people did, as an event tells it of which `feedback.optouts` said that it counts.
_ACTS = {kind.value: kind.value.removeprefix("email.") for kind in (EventKind.UNSUBSCRIBED, EventKind.RESUBSCRIBED)}
_ACTS[EventKind.COMPLAINED.value] = "complained"
#: Counted by mailbox provider from the moment on in which a relay took the mail; others only in part.
_OF_RELAYS = (
    *("sent", "bounced", "hard_bounced", "soft_bounced", "returned", "delivered", "tracked", "tracked_links", FOLLOWED),
    *_ACTS.values(),
)
_RECOUNTED = (*_OF_RELAYS, "requested", "failed", "cancelled", "expired", "uncertain")
_MAIL, _ACT, _FACT, _YES = "mail", "act", "fact", "yes"
#: Stands behind the id of a bounce that was hard; no id has the sign.
_HARD = "/hard"
#: What counts as such where it is an email's status.
_TOLD = (*(Status.DELIVERED, Status.BOUNCED, Status.FAILED, Status.CANCELLED, Status.EXPIRED, Status.UNCERTAIN),)
_PROVIDERS = ("provider", counters.CAMPAIGN_PROVIDER)
_HOURS = (counters.STREAM_HOUR, counters.CAMPAIGN_HOUR)


class _Alike(NamedTuple):
    """Emails that count in the same, acts whose mail is gone, or a sum: as text, so that one statement reads all."""

    side: str
    number: int
    stream: str
    #: Of a fact: its dimension, value and metric.
    topic: str | None
    template: str | None
    campaign_id: str | None
    provider: str | None = None
    tags: str | None = None
    status: str | None = None
    reason: str | None = None
    opens: str | None = None
    sent: str | None = None
    tracked: str | None = None
    linked: str | None = None
    #: Whether the bounce was hard, and how often people did what is counted.
    hard: str | None = None
    unsubscribed: str | None = None
    resubscribed: str | None = None
    complained: str | None = None


def recount(session: Session, tenant_id: int, day: date) -> Mapping[Key, int]:
    """Put a tenant's counters of a day right, and return by how much each was wrong.

    One statement reads both sides, so that mail that goes out meanwhile is in both or in neither; the difference is
    added as a fact, so that nobody waits. Emails that retention has deleted count no more: ask for younger days.
    """
    found = Tally()
    everything = (_emails(tenant_id, day), _acts(tenant_id, day), _facts(tenant_id, day))
    for row in session.execute(union_all(*everything)):
        alike = _Alike._make(row)
        if alike.side == _FACT:
            key = (str(alike.topic), str(alike.template), str(alike.campaign_id))
            found.sums[Key(tenant_id, day, alike.stream, *key)] -= int(alike.number)
        else:
            _count(found, tenant_id, day, alike)
    wrong = {key: amount for key, amount in found.sums.items() if amount}
    found.sums.clear()
    found.sums.update(wrong)
    found.write(session)
    return wrong


def _emails(tenant_id: int, day: date) -> Select[Any]:
    begin = datetime.combine(day, time(), UTC)
    # Ids begin with when they were made: they are how the index finds the day, `created_at` is what counts.
    first, last = (ids.first("em", begin + timedelta(days=days)) for days in (-1, 2))
    mail, told = _email.c, _told(tenant_id, first, last)
    columns: list[ColumnElement[Any]] = [
        mail.stream,
        mail.topic,
        mail.template,
        mail.campaign_id,
        mail.provider,
        mail.tags,
        mail.status,
        mail.suppression_reason,
        mail.opens,
        case((mail.sent_at.is_not(None), _YES), else_=""),
        case((mail.tracked, _YES), else_=""),
        case((mail.tracked_links, _YES), else_=""),
        case((told.c.bounce.like(f"%{_HARD}"), _YES), else_=""),
        *(func.coalesce(told.c[act], 0) for act in _ACTS.values()),
    ]
    texts = [cast(column, String) for column in columns]
    where = (mail.tenant_id == tenant_id, mail.id >= first, mail.id < last)
    accepted = (mail.created_at >= begin, mail.created_at < begin + timedelta(days=1))
    wanted: list[ColumnElement[Any]] = [literal(_MAIL), func.count(), *texts]
    both = _email.outerjoin(told, told.c.email_id == mail.id)
    return select(*wanted).select_from(both).where(*where, *accepted).group_by(*texts)


def _told(tenant_id: int, first: str, last: str) -> Subquery:
    """Return what events tell of each mail between two ids: its last bounce, and how often people did what counts."""
    event = _event.c
    hard = event.data["hard"].as_boolean().is_(True)
    bounce = case((event.kind == EventKind.BOUNCED, event.id.concat(case((hard, _HARD), else_=""))))
    acts = [func.sum(case((_counts(kind), 1), else_=0)).label(act) for kind, act in _ACTS.items()]
    return (
        select(event.email_id, func.max(bounce).label("bounce"), *acts)
        .where(event.email_id >= first, event.email_id < last, event.tenant_id == tenant_id)
        .where(event.kind.in_((EventKind.BOUNCED.value, *_ACTS)))
        .group_by(event.email_id)
        .subquery("told")
    )


def _counts(kind: str) -> ColumnElement[bool]:
    return and_(_event.c.kind == kind, _event.c.data["counted"].as_boolean().is_(True))


def _acts(tenant_id: int, day: date) -> Select[Any]:
    """Return what people did on a day by mail that is gone: it counts on that day, in what its link still said."""
    begin, event, nothing = datetime.combine(day, time(), UTC), _event.c, cast(null(), String)
    first, last = (ids.first("ev", begin + timedelta(days=days)) for days in (-1, 2))
    said = [event.data[name].as_string() for name in ("stream", "topic")]
    where = (event.id >= first, event.id < last, event.at >= begin, event.at < begin + timedelta(days=1))
    mine = (event.tenant_id == tenant_id, event.email_id.is_(None), or_(*map(_counts, _ACTS)))
    columns: list[ColumnElement[Any]] = [literal(_ACT), func.count(), *said, *[nothing] * 4, event.kind]
    rest = [nothing] * (len(_Alike._fields) - len(columns))
    return select(*columns, *rest).where(*where, *mine).group_by(*said, event.kind)


def _facts(tenant_id: int, day: date) -> Select[Any]:
    fact, nothing = FACTS.c, cast(null(), String)
    where = [
        fact.tenant_id == tenant_id,
        fact.day == day,
        or_(fact.metric.in_(_RECOUNTED), fact.metric.startswith("suppressed:")),
        fact.dimension.not_in(_HOURS),
        or_(fact.dimension.not_in(_PROVIDERS), fact.metric.in_(_OF_RELAYS)),
    ]
    key = (fact.stream, fact.dimension, fact.value, fact.metric)
    columns: list[ColumnElement[Any]] = [literal(_FACT), func.sum(fact.amount), *key]
    rest = [nothing] * (len(_Alike._fields) - len(columns))
    return select(*columns, *rest).where(*where).group_by(*key)


def _count(tally: Tally, tenant_id: int, day: date, mail: _Alike) -> None:
    tags = orjson.loads(mail.tags) if mail.tags else None
    dims = counters.dimensions(
        tags=tags, topic=mail.topic, template=mail.template, campaign=mail.campaign_id, provider=mail.provider
    )
    of_providers = counters.of_providers(dims)
    others = [each for each in dims if each not in of_providers]
    if mail.side == _ACT:
        tally.add(tenant_id, day, mail.stream, _ACTS[str(mail.status)], dims, mail.number)
        return
    for metric in _metrics(mail):
        counted = of_providers if metric == FOLLOWED else dims if metric in _OF_RELAYS else others
        tally.add(tenant_id, day, mail.stream, metric, counted, mail.number)
    for act in _ACTS.values():
        tally.add(tenant_id, day, mail.stream, act, dims, mail.number * int(getattr(mail, act)))


def _metrics(mail: _Alike) -> Iterator[str]:
    """Yield what an email counts in once, by its row and its last bounce."""
    yield "requested"
    status, returned = Status(mail.status or ""), mail.sent == _YES and mail.status == Status.BOUNCED
    if mail.sent:
        yield "sent"
    if returned:
        yield "returned"
    elif status is Status.SUPPRESSED:
        yield f"suppressed:{mail.reason}"
    elif status in _TOLD:
        yield status.value
    if status is Status.BOUNCED:
        yield "hard_bounced" if mail.hard else "soft_bounced"
    if mail.linked and mail.sent and not returned:
        yield "tracked_links"
    if mail.tracked and mail.sent and not returned:
        yield "tracked"
        if mail.opens == Opens.INDIVIDUAL:
            yield FOLLOWED
