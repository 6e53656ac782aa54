"""Scanner alarm: many opt-outs of one domain or network soon after delivery. They hold; an operator may undo them.

The clock counts what opt-outs marked (`optouts.marking`); an opt-out itself never waits for it.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from sqlalchemy import ColumnElement, func
from sqlmodel import Session, SQLModel, col, select

from mailer import counters, ids
from mailer import database as dialects
from mailer.database import Database
from mailer.errors import Invalid, NotFound, Problem
from mailer.feedback.optouts import SOON
from mailer.models import Alarm, AlarmKind, Campaign, Email, OptOutMark
from mailer.people import EventKind, News, tell
from mailer.people.telling import lifted as news_of
from mailer.providers import provider_of
from suppression import entries
from suppression.entries import Entry

logger = logging.getLogger(__name__)

#: How many people's opt-outs raise an alarm, and of how many of whom that domain got mail one must be.
FEWEST = 10
ONE_IN = 5
#: How long marks are kept, and with them the way back.
KEPT = timedelta(days=30)
#: The clock looks at what has news since then; it looks every few seconds, and an hour outlasts a restart.
_RECENT = timedelta(hours=1)
#: Mail that belongs to no campaign is looked for among what was accepted since this long before the first mark.
_ACCEPTED = timedelta(days=7)
_FORGOTTEN = 1000
#: Whom one transaction gives back their mail.
_CHUNK = 500
_COLUMN = {AlarmKind.DOMAIN: OptOutMark.domain, AlarmKind.NETWORK: OptOutMark.network}
_alarm = SQLModel.metadata.tables[str(Alarm.__tablename__)]
_marks = SQLModel.metadata.tables[str(OptOutMark.__tablename__)]


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Opt-outs that have a campaign and a domain or network in common."""

    tenant_id: int
    #: Empty where the mail belongs to none.
    campaign_id: str
    kind: AlarmKind
    value: str
    count: int
    first_at: datetime
    last_at: datetime


class Step(NamedTuple):
    """What one transaction of an undoing did."""

    lifted: int
    #: Whose own word it is by now, or who is back already.
    left_out: int
    #: The last mark that was looked at; None where all were.
    position: int | None


class Undone(NamedTuple):
    """What became of the opt-outs of an alarm."""

    lifted: int
    left_out: int


class Undoing(NamedTuple):
    """Which alarm is undone, by whom, and why."""

    alarm_id: str
    by: str
    note: str


def suspected(session: Session, now: datetime) -> list[Suspicion]:
    """Return what is an alarm by now and is not known as it stands; a look that only reads."""
    recent = select(OptOutMark.tenant_id, OptOutMark.campaign_id).where(col(OptOutMark.at) > now - _RECENT).distinct()
    found: list[Suspicion] = []
    for tenant_id, campaign_id in session.exec(recent).all():
        known = _known(session, tenant_id, campaign_id or "")
        for each in _groups(session, tenant_id, campaign_id):
            before = known.get((each.kind, each.value))
            # Marks that are forgotten make no alarm smaller.
            if _is_large(session, each) if before is None else each.count > before:
                found.append(each)
    return found


def keep(session: Session, found: Sequence[Suspicion], now: datetime) -> None:
    """Raise an alarm for each, or bring it up to date: what was undone stands again where more have come."""
    for each in found:
        values = asdict(each)
        fresh = dialects.insert(session, _alarm).values(id=ids.new("al", now), **values)
        news = {"count": each.count, "last_at": each.last_at, "undone_at": None}
        session.execute(
            fresh.on_conflict_do_update(
                index_elements=["tenant_id", "campaign_id", "kind", "value"],
                set_=news,
                where=_alarm.c.count < each.count,
            )
        )
        logger.warning(
            "scanner alarm: %d opt-outs of one %s soon after delivery, campaign %s",
            *(each.count, each.kind, each.campaign_id or "none"),
        )


def forget(session: Session, now: datetime) -> None:
    """Forget old marks, some at a time."""
    old = select(OptOutMark.id).where(col(OptOutMark.at) < now - KEPT).limit(_FORGOTTEN)
    session.execute(_marks.delete().where(_marks.c.id.in_(old.scalar_subquery())))


def listing(
    session: Session, tenant_id: int, *, campaign_id: str | None = None, limit: int = 100, after: str | None = None
) -> list[Alarm]:
    """Return alarms of a tenant, the newest first."""
    statement = select(Alarm).where(col(Alarm.tenant_id) == tenant_id).order_by(col(Alarm.id).desc()).limit(limit)
    if campaign_id is not None:
        statement = statement.where(col(Alarm.campaign_id) == campaign_id)
    if after is not None:
        statement = statement.where(col(Alarm.id) < after)
    return list(session.exec(statement))


def get(session: Session, tenant_id: int, alarm_id: str) -> Alarm:
    """Return an alarm of a tenant; raises `NotFound`."""
    statement = select(Alarm).where(col(Alarm.tenant_id) == tenant_id, col(Alarm.id) == alarm_id)
    alarm = session.exec(statement.execution_options(populate_existing=True)).first()
    if alarm is None:
        raise NotFound("there is no such alarm")
    return alarm


def undo(session: Session, tenant_id: int, what: Undoing, now: datetime, *, after: int = 0) -> Step:
    """Give back what the opt-outs of an alarm took from the next few hundred people; call it until none are left.

    Whoever said later, or from elsewhere, that they want to leave stays away (`entries.lift_flagged`). Mail that was
    suppressed meanwhile stays suppressed.
    """
    if not what.note.strip():
        raise Invalid(Problem("note", "say why the opt-outs are undone"))
    alarm = get(session, tenant_id, what.alarm_id)
    marks = session.exec(
        select(OptOutMark).where(*_of(alarm), col(OptOutMark.id) > after).order_by(col(OptOutMark.id)).limit(_CHUNK)
    ).all()
    wanted = {mark.suppression_id for mark in marks}
    lifted = entries.lift_flagged(session, tenant_id, wanted, what.by, what.note, now) if wanted else []
    _tell(session, lifted, now)
    if len(marks) == _CHUNK:
        return Step(len(lifted), len(wanted) - len(lifted), marks[-1].id)
    alarm.undone_at, alarm.note = now, f"{what.by}: {what.note}"
    session.add(alarm)
    session.flush()
    return Step(len(lifted), len(wanted) - len(lifted), None)


async def undo_all(database: Database, tenant_id: int, what: Undoing, clock: Callable[[], datetime]) -> Undone:
    """Undo an alarm whatever its size, a few hundred people a transaction; one that broke off is simply repeated."""
    lifted = left_out = 0
    position: int | None = 0
    while position is not None:
        verb = partial(undo, tenant_id=tenant_id, what=what, now=clock(), after=position)
        step = await database.run(verb)
        lifted, left_out, position = lifted + step.lifted, left_out + step.left_out, step.position
    return Undone(lifted, left_out)


def _known(session: Session, tenant_id: int, campaign_id: str) -> Mapping[tuple[AlarmKind, str], int]:
    found = session.exec(select(Alarm).where(col(Alarm.tenant_id) == tenant_id, col(Alarm.campaign_id) == campaign_id))
    return {(alarm.kind, alarm.value): alarm.count for alarm in found}


def _groups(session: Session, tenant_id: int, campaign_id: str | None) -> Iterator[Suspicion]:
    """Yield what enough opt-outs of a campaign have in common; a person counts once."""
    people = func.count(func.distinct(OptOutMark.email_id))
    for kind, column in _COLUMN.items():
        statement = (
            select(column, people, func.min(OptOutMark.at), func.max(OptOutMark.at))
            .where(col(OptOutMark.tenant_id) == tenant_id, _campaign(campaign_id), col(column) != "")
            .group_by(col(column))
            .having(people >= FEWEST)
        )
        for value, count, first_at, last_at in session.execute(statement):
            # A big provider's domain says nothing of a scanner: whoever leaves there by one click is many people.
            if kind is AlarmKind.NETWORK or provider_of(value) == "other":
                yield Suspicion(tenant_id, campaign_id or "", kind, value, count, first_at, last_at)


def _is_large(session: Session, each: Suspicion) -> bool:
    """Return whether enough of those who got mail at these domains, while it happened, have left.

    The search ends once it has found too many; it looks through the whole campaign only where an alarm is raised.
    """
    most = each.count * ONE_IN
    domains = _domains(session, each)
    campaign = session.get(Campaign, each.campaign_id) if each.campaign_id else None
    since = campaign.created_at if campaign else each.first_at - _ACCEPTED
    domain = func.lower(col(Email.address))
    # A network's share is that of all domains it asked for: of two that begin alike, the suffix tells them apart.
    among = [domain.like("%@" + _literally(name), escape="\\") for name in domains]
    sent = (
        select(Email.id)
        .where(
            col(Email.tenant_id) == each.tenant_id,
            col(Email.id) >= ids.first("em", since),
            col(Email.campaign_id) == each.campaign_id if each.campaign_id else col(Email.campaign_id).is_(None),
            col(Email.sent_at) >= each.first_at - SOON,
            col(Email.sent_at) <= each.last_at,
            _any(among),
        )
        .limit(most + 1)
        .subquery()
    )
    return int(session.execute(select(func.count()).select_from(sent)).scalar_one()) <= most


def _domains(session: Session, each: Suspicion) -> Sequence[str]:
    if each.kind is AlarmKind.DOMAIN:
        return [each.value]
    found = select(OptOutMark.domain).where(*_of(each)).distinct().limit(_CHUNK)
    return session.exec(found).all()


def _any(clauses: Sequence[ColumnElement[bool]]) -> ColumnElement[bool]:
    found = clauses[0]
    for clause in clauses[1:]:
        found = found | clause
    return found


def _literally(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _campaign(campaign_id: str | None) -> ColumnElement[bool]:
    return col(OptOutMark.campaign_id) == campaign_id if campaign_id else col(OptOutMark.campaign_id).is_(None)


def _of(each: Alarm | Suspicion) -> tuple[ColumnElement[bool], ...]:
    return (
        col(OptOutMark.tenant_id) == each.tenant_id,
        _campaign(each.campaign_id),
        col(_COLUMN[each.kind]) == each.value,
    )


def _tell(session: Session, lifted: Sequence[Entry], now: datetime) -> None:
    """Tell each return, and take it from what its campaign lost."""
    tally, news = counters.Tally(), [news_of(entry) for entry in lifted]
    origins = {str((entry.evidence or {}).get("email_id")): entry for entry in lifted}
    emails = session.exec(select(Email).where(col(Email.id).in_(origins))).all()
    for email in emails:
        entry = origins[email.id]
        about = {"campaign_id": email.campaign_id} if email.campaign_id else {}
        data = {"suppression_id": entry.id, "scope": entry.scope, "how": "alarm", "counted": True, **about}
        news.append(News(email.tenant_id, EventKind.RESUBSCRIBED, data, email.id))
        tally.count(email, "resubscribed", now)
    tally.write(session)
    tell(session, news, now)
