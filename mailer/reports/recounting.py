"""Counters worked out again from the emails themselves, a day at a time; what differs is put right.

Only what a row still tells: what opens and clicks count is worked out again where they are recorded, and what is told
by a moment alone (a try that was put off, the hour of a fact, whether a bounce was hard) is counted once, for good.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

import orjson
from sqlalchemy import ColumnElement, Select, String, case, cast, func, literal, null, or_, select, union_all
from sqlmodel import Session, SQLModel

from mailer import counters, ids
from mailer.counters import FACTS, FOLLOWED, Key, Tally
from mailer.models import Email, Opens
from mailer.status import Status

_email = SQLModel.metadata.tables[str(Email.__tablename__)]
#: Counted by mailbox provider from the moment on in which a relay took the mail; others only in part.
_OF_RELAYS = ("sent", "bounced", "returned", "delivered", "tracked", FOLLOWED)
_RECOUNTED = (*_OF_RELAYS, "requested", "failed", "cancelled", "expired", "uncertain")
_MAIL, _FACT, _YES = "mail", "fact", "yes"
#: What counts as such where it is an email's status.
_TOLD = (*(Status.DELIVERED, Status.BOUNCED, Status.FAILED, Status.CANCELLED, Status.EXPIRED, Status.UNCERTAIN),)
_PROVIDERS = ("provider", counters.CAMPAIGN_PROVIDER)
_HOURS = (counters.STREAM_HOUR, counters.CAMPAIGN_HOUR)


class _Alike(NamedTuple):
    """Emails that count in the same, or (`side` is a fact) a sum: as text, so that one statement reads both."""

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


def recount(session: Session, tenant_id: int, day: date) -> Mapping[Key, int]:
    """Put a tenant's counters of a day right, and return by how much each was wrong.

    One statement reads both sides, so that mail that goes out meanwhile is in both or in neither; the difference is
    added as a fact, so that nobody waits. Emails that retention has deleted count no more: ask for younger days.
    """
    found = Tally()
    for row in session.execute(union_all(_emails(tenant_id, day), _facts(tenant_id, day))):
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
    mail = _email.c
    columns = [
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
    ]
    texts = [cast(column, String) for column in columns]
    where = (mail.tenant_id == tenant_id, mail.id >= first, mail.id < last)
    accepted = (mail.created_at >= begin, mail.created_at < begin + timedelta(days=1))
    wanted: list[ColumnElement[Any]] = [literal(_MAIL), func.count(), *texts]
    return select(*wanted).where(*where, *accepted).group_by(*texts)


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
    columns: list[ColumnElement[Any]] = [literal(_FACT), func.sum(fact.amount), *key, *[nothing] * 7]
    return select(*columns).where(*where).group_by(*key)


def _count(tally: Tally, tenant_id: int, day: date, mail: _Alike) -> None:
    tags = orjson.loads(mail.tags) if mail.tags else None
    dims = counters.dimensions(
        tags=tags, topic=mail.topic, template=mail.template, campaign=mail.campaign_id, provider=mail.provider
    )
    of_providers = counters.of_providers(dims)
    others = [each for each in dims if each not in of_providers]
    for metric in _metrics(mail):
        counted = of_providers if metric == FOLLOWED else dims if metric in _OF_RELAYS else others
        tally.add(tenant_id, day, mail.stream, metric, counted, mail.number)


def _metrics(mail: _Alike) -> Iterator[str]:
    """Yield what an email counts in, by its row."""
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
    if mail.tracked and mail.sent and not returned:
        yield "tracked"
        if mail.opens == Opens.INDIVIDUAL:
            yield FOLLOWED
