"""Who did what with a campaign: only where its measuring is individual, page by page."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, Select, and_, func, literal_column, or_, select
from sqlmodel import Session, SQLModel, col

from mailer import database, ids, people
from mailer.database import on_postgresql
from mailer.errors import Conflict
from mailer.models import Campaign, Email, Event, Opens
from mailer.status import Status

#: How many emails one page looks at, so that no page takes long however few of them are the campaign's, or did it.
LOOKED_AT = 5_000
_email, _event = (SQLModel.metadata.tables[str(model.__tablename__)] for model in (Email, Event))
_TRUE = ("human", "proxy")


class Did(StrEnum):
    """What somebody did."""

    #: A person, or a proxy for the person, loaded the picture, or a person followed a link.
    OPENED = "opened"
    #: A person, or a proxy for the person, followed a link.
    CLICKED = "clicked"
    BOUNCED = "bounced"
    #: Whoever took it back is named with when.
    UNSUBSCRIBED = "unsubscribed"


class Doer(NamedTuple):
    """One recipient who did it."""

    email_id: str
    address: str
    name: str
    provider: str
    #: When it happened first, and how often.
    at: datetime
    times: int
    #: When they took it back.
    undone_at: datetime | None


class Doers(NamedTuple):
    """Some recipients, in the order in which they were added."""

    people: Sequence[Doer]
    has_more: bool
    #: The email from which the next page goes on; a page may have fewer than its limit, and even nobody.
    after: str | None


def doers(session: Session, campaign: Campaign, did: Did, *, limit: int, after: str | None = None) -> Doers:
    """Return who did something with a campaign; erased people are not in it, nor who refuses to be measured now.

    Raises `Conflict` where nobody may know: opens and clicks are tied to a person in individual mode alone.
    """
    measured = {Did.OPENED: campaign.opens, Did.CLICKED: campaign.clicks}.get(did)
    if measured not in (None, Opens.INDIVIDUAL):
        named = "opens" if did is Did.OPENED else "clicks"
        raise Conflict(f"{named} of this campaign are measured as {measured}: nobody knows who {did.value} it")
    some = _walked(session, campaign, after).subquery("some")
    mine = (some.c.campaign_id == campaign.id, some.c.address.is_not(None))
    wanted = select(some).where(*mine, _done(did, some.c.id, some.c.status))
    rows = session.execute(wanted.order_by(some.c.id).limit(limit + 1)).all()
    shown = rows[:limit]
    if len(rows) > limit:
        last, more = shown[-1].id, True
    else:
        last, number = session.execute(select(func.max(some.c.id), func.count()).select_from(some)).one()
        more = number == LOOKED_AT
    moments = _moments(session, did, [row.id for row in shown])
    refused = _refused(session, campaign, did, [row.fingerprint for row in shown])
    found = [_doer(row, did, moments.get(row.id, [])) for row in shown if row.fingerprint not in refused]
    return Doers(found, more, last if more else None)


def _walked(session: Session, campaign: Campaign, after: str | None) -> Select[Any]:
    """Return some of the tenant's emails since the campaign was made; none is added to it once it has ended."""
    # SQLite would look up all of a tenant's mail; with the sign it walks by id, as PostgreSQL does by itself.
    mine = col(Email.tenant_id) if on_postgresql(session) else literal_column("+email.tenant_id")
    where = [mine == campaign.tenant_id, _email.c.id > (after or ids.first("em", campaign.created_at - ids.SLACK))]
    if campaign.ended_at is not None:
        where.append(_email.c.id < ids.first("em", campaign.ended_at + ids.SLACK))
    names = ("id", "address", "name", "provider", "status", "settled_at", "fingerprint", "campaign_id")
    return select(*(_email.c[name] for name in names)).where(*where).order_by(_email.c.id).limit(LOOKED_AT)


def _done(did: Did, email_id: ColumnElement[str], status: ColumnElement[str]) -> ColumnElement[bool]:
    if did is Did.BOUNCED:
        return status.in_([Status.BOUNCED])
    return select(_event.c.id).where(_event.c.email_id == email_id, _says(did)).exists()


def _says(did: Did) -> ColumnElement[bool]:
    """Return which events say that it was done."""
    kind, by = _event.c.kind, _event.c.data["class"].as_string()
    if did is Did.UNSUBSCRIBED:
        return kind.in_([people.EventKind.UNSUBSCRIBED.value])
    clicked = and_(kind == "email.clicked", by.in_(_TRUE))
    if did is Did.CLICKED:
        return clicked
    return or_(and_(kind == "email.opened", by.in_(_TRUE)), and_(kind == "email.clicked", by == "human"))


def _moments(session: Session, did: Did, wanted: list[str]) -> Mapping[str, list[tuple[datetime, bool]]]:
    """Return when each did it, and when it was taken back, the oldest first."""
    if did is Did.BOUNCED or not wanted:
        return {}
    back = _event.c.kind == people.EventKind.RESUBSCRIBED.value
    says = or_(_says(did), back) if did is Did.UNSUBSCRIBED else _says(did)
    statement = (
        select(_event.c.email_id, _event.c.at, back)
        .where(database.among(session, _event.c.email_id, wanted), says)
        .order_by(_event.c.at, _event.c.id)
    )
    found: dict[str, list[tuple[datetime, bool]]] = {}
    for email_id, at, undone in session.execute(statement):
        found.setdefault(email_id, []).append((at, bool(undone)))
    return found


def _refused(session: Session, campaign: Campaign, did: Did, prints: Sequence[bytes | None]) -> set[bytes]:
    if did not in (Did.OPENED, Did.CLICKED):
        return set()
    known = [each for each in prints if each is not None]
    choices = people.tracking_choices(session, campaign.tenant_id, known)
    return {each for each, choice in choices.items() if choice is False}


def _doer(row: Row[Any], did: Did, moments: Sequence[tuple[datetime, bool]]) -> Doer:
    times = [at for at, undone in moments if not undone]
    # The last word counts: somebody may leave, come back, and leave again.
    undone_at = moments[-1][0] if moments and moments[-1][1] else None
    first = times[0] if times else row.settled_at
    return Doer(row.id, row.address, row.name or "", row.provider, first, max(1, len(times)), undone_at)
