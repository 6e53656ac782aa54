"""Emails that were accepted: what became of them, taking one back, moving its time."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, cast

from sqlalchemy import ColumnElement, FromClause, and_, case, func, literal_column, or_, true, update
from sqlalchemy import select as sql_select
from sqlmodel import Session, SQLModel, col, select

from mailer import events, ids
from mailer.counters import Tally
from mailer.database import on_postgresql
from mailer.errors import Conflict, Invalid, NotFound, Problem
from mailer.models import Content, Email, Event
from mailer.status import WAITING, Status
from suppression.rules import Stream

_email = SQLModel.metadata.tables[str(Email.__tablename__)]
_content = SQLModel.metadata.tables[str(Content.__tablename__)]

#: What can still be moved in time; a deferred email is on its way already.
_MOVABLE = (Status.SCHEDULED, Status.QUEUED)
#: How many emails one page of a search looks at, so that none takes long however few it finds.
LOOKED_AT = 5_000
#: How the built-in inbox answers what it took.
_INBOX_SAID = "Captured, not sent"
#: RFC 5321 lets an email be taken back until its intent to be sent is durable.
_TAKEABLE = or_(_email.c.status.in_(WAITING), and_(_email.c.status == Status.SENDING, _email.c.intent_at.is_(None)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which emails of a tenant are asked for."""

    #: Every fingerprint of the recipient.
    prints: tuple[bytes, ...] = ()
    stream: Stream | None = None
    status: Status | None = None
    campaign_id: str | None = None
    topic: str | None = None
    #: `name=value`.
    tag: str | None = None
    #: Between which moments they were accepted: no look at what is older or younger.
    accepted: tuple[datetime, datetime] | None = None


class Page(NamedTuple):
    """Some emails, newest first, and whether more follow."""

    emails: Sequence[Email]
    has_more: bool


class Found(NamedTuple):
    """Some emails, newest first."""

    emails: Sequence[Email]
    #: From where the next page goes on, None where that was all; a page may have fewer than its limit, and even none.
    after: str | None


class Shown(NamedTuple):
    """What an email's content says about itself."""

    version: int | None
    #: Only of a literal body; a template's subject is made for each recipient.
    subject: str | None


def view(
    email: Email, events: Sequence[Event] = (), shown: Shown | None = None, *, captures: Collection[Stream] = ()
) -> dict[str, object]:
    """Return an email as JSON shows it; `email.queued` and `email.sent` are told by its own times.

    `captures` are the streams whose relay is the inbox: where what still waits will go.
    """
    suppression = None
    if email.suppression_reason is not None:
        suppression = {"id": email.suppression_id, "reason": email.suppression_reason}
    sender = f"{email.from_name} <{email.from_address}>" if email.from_name else email.from_address
    return {
        "id": email.id,
        "stream": email.stream,
        "status": email.status,
        "to": email.address,
        "from": sender,
        "subject": shown.subject if shown else None,
        "template": email.template,
        "template_version": shown.version if shown else None,
        "locale": email.locale,
        "topic": email.topic,
        "campaign_id": email.campaign_id,
        "tags": email.tags or {},
        "metadata": email.meta or {},
        "created_at": email.created_at,
        "scheduled_at": email.scheduled_at,
        "sent_at": email.sent_at,
        "expires_at": email.expires_at,
        "attempts": email.attempts,
        "reply": email.reply,
        "captured": _captured(email, captures),
        "maybe_duplicate": email.maybe_duplicate,
        "suppression": suppression,
        "events": _told(email, events),
    }


def _captured(email: Email, captures: Collection[Stream]) -> bool:
    """Return whether an email went to the inbox or, if it goes at all, will go there."""
    if email.captured or _INBOX_SAID in (email.reply or ""):
        return True
    return email.sent_at is None and email.settled_at is None and email.stream in captures


def moments(email: Email, events: Sequence[Event]) -> list[tuple[datetime, str]]:
    """Return what happened to an email, and when, in its order."""
    return [(cast("datetime", each["at"]), str(each["type"])) for each in _told(email, events)]


def _told(email: Email, events: Sequence[Event]) -> list[dict[str, object]]:
    told: list[dict[str, object]] = [{"type": "email.queued", "at": email.created_at}]
    # Where a person said that it went, that is an event with their note.
    if email.sent_at is not None and not any(event.kind == f"email.{Status.SENT}" for event in events):
        told.append({"type": "email.sent", "at": email.sent_at})
    told += [{**(event.data or {}), "type": event.kind, "at": event.at} for event in events]
    # Sorting keeps the order of equal times: what is told by a row comes before what followed from it.
    return sorted(told, key=lambda each: cast("datetime", each["at"]))


def get(session: Session, tenant_id: int, email_id: str) -> Email:
    """Return one email of a tenant; somebody else's is not found."""
    email = session.exec(select(Email).where(Email.id == email_id, Email.tenant_id == tenant_id)).one_or_none()
    if email is None:
        raise NotFound("there is no such email")
    return email


def events_of(session: Session, email: Email) -> Sequence[Event]:
    """Return what happened to an email, the oldest first."""
    statement = select(Event).where(Event.tenant_id == email.tenant_id, Event.email_id == email.id)
    return session.exec(statement.order_by(col(Event.at), col(Event.id)).limit(500)).all()


def shown_of(session: Session, email: Email) -> Shown:
    """Return which version of its template an email has, or the subject of its literal body."""
    content = session.get_one(Content, email.content_id)
    parts = cast("Mapping[str, Mapping[str, str]]", content.data.get("parts") or {})
    subject = next((part["subject"] for part in parts.values()), None) if content.name is None else None
    return Shown(content.version, subject)


def versions_of(session: Session, emails: Sequence[Email]) -> Mapping[int, Shown]:
    """Return by content id which version of its template, or which literal subject, emails have; no body is read."""
    shown: dict[int, Shown] = {}
    # A literal body has one part, in the locale of its emails.
    for locale in {email.locale for email in emails}:
        wanted = {email.content_id for email in emails if email.locale == locale}
        subject = case((_content.c.name.is_(None), _content.c.data["parts", locale, "subject"].as_string()))
        found = session.execute(sql_select(_content.c.id, _content.c.version, subject).where(_content.c.id.in_(wanted)))
        shown.update({identifier: Shown(version, said) for identifier, version, said in found})
    return shown


def listing(session: Session, tenant_id: int, wanted: Filter, *, limit: int, after: str | None = None) -> Page:
    """Return a page of emails, newest first; `after` is the id of the last one of the page before."""
    indexed = wanted.prints or wanted.status is Status.UNCERTAIN
    statement = select(Email).where(_of(session, tenant_id, walks=not indexed), *_chosen(wanted, _email))
    if wanted.prints:
        statement = statement.where(col(Email.fingerprint).in_(wanted.prints))
    if wanted.status is Status.UNCERTAIN:
        # They are few, and have an index of their own.
        statement = statement.where(col(Email.doubtful) == true())
    statement = statement.where(*_between(wanted, after))
    emails = session.exec(statement.order_by(col(Email.id).desc()).limit(limit + 1)).all()
    return Page(emails[:limit], len(emails) > limit)


def search(session: Session, tenant_id: int, wanted: Filter, *, limit: int, after: str | None = None) -> Found:
    """Return emails as `listing` does, but look at no more than `LOOKED_AT` of them a page.

    What has no index of its own is seldom, and far between, in ten million emails.
    """
    chosen = [wanted.stream, wanted.status, wanted.campaign_id, wanted.topic, wanted.tag]
    if wanted.prints or wanted.status is Status.UNCERTAIN or all(each is None for each in chosen):
        page = listing(session, tenant_id, wanted, limit=limit, after=after)
        return Found(page.emails, page.emails[-1].id if page.has_more else None)
    some = (
        sql_select(*(_email.c[name] for name in ("id", "stream", "status", "campaign_id", "topic", "tags")))
        .where(_of(session, tenant_id, walks=True), *_between(wanted, after))
        .order_by(_email.c.id.desc())
        .limit(LOOKED_AT)
        .subquery("some")
    )
    found = select(Email).join(some, col(Email.id) == some.c.id).where(*_chosen(wanted, some))
    emails = session.exec(found.order_by(some.c.id.desc()).limit(limit + 1)).all()
    if len(emails) > limit:
        return Found(emails[:limit], emails[limit - 1].id)
    last, looked_at = session.execute(sql_select(func.min(some.c.id), func.count()).select_from(some)).one()
    return Found(emails, last if looked_at == LOOKED_AT else None)


def _of(session: Session, tenant_id: int, *, walks: bool) -> ColumnElement[bool]:
    # SQLite would sort all of a tenant's mail; with the sign it walks from the newest, as PostgreSQL does by itself.
    mine = literal_column("+email.tenant_id") if walks and not on_postgresql(session) else _email.c.tenant_id
    return mine == tenant_id


def _chosen(wanted: Filter, among: FromClause) -> list[ColumnElement[bool]]:
    """Return what no index knows of the emails that are asked for."""
    columns = among.c
    asked = (
        (columns.stream, wanted.stream),
        (columns.status, wanted.status),
        (columns.campaign_id, wanted.campaign_id),
        (columns.topic, wanted.topic),
    )
    clauses: list[ColumnElement[bool]] = [column == value for column, value in asked if value is not None]
    if wanted.tag is not None:
        name, equals, value = wanted.tag.partition("=")
        if not equals:
            raise Invalid(Problem("tag", "must be written name=value"))
        clauses.append(columns.tags[name].as_string() == value)
    return clauses


def _between(wanted: Filter, after: str | None) -> list[ColumnElement[bool]]:
    """Return between which ids to look: an id begins with the moment at which it was made."""
    clauses: list[ColumnElement[bool]] = []
    if wanted.accepted is not None:
        first, last = (ids.first("em", moment) for moment in wanted.accepted)
        clauses += [_email.c.id >= first, _email.c.id < last]
    if after is not None:
        clauses.append(_email.c.id < after)
    return clauses


def message_id(email: Email) -> str:
    """Return the Message-ID of an email without its angle brackets; recipients of one request share it."""
    key = (email.details or {}).get("message_key")
    return f"{key or email.id}@{email.from_address.rpartition('@')[2]}"


def cancel(session: Session, tenant_id: int, email_id: str, now: datetime) -> Email:
    """Take an email back unless its sending has begun; doing it twice is doing it once."""
    taken = session.execute(
        update(_email)
        .where(_email.c.id == email_id, _email.c.tenant_id == tenant_id, _TAKEABLE)
        .values(status=Status.CANCELLED, settled_at=now, lease=None)
        .returning(_email.c.id)
    ).first()
    email = get(session, tenant_id, email_id)
    session.refresh(email)
    if taken is None and email.status is not Status.CANCELLED:
        raise Conflict(f"too late: the email is {email.status}")
    if taken is not None:
        _note(session, email, f"email.{Status.CANCELLED}", None, now)
        tally = Tally()
        tally.count(email, Status.CANCELLED, now, asked=False)
        tally.write(session)
    return email


def reschedule(session: Session, tenant_id: int, email_id: str, scheduled_at: datetime, now: datetime) -> Email:
    """Give a waiting email another time; a time that is past means now."""
    email = get(session, tenant_id, email_id)
    if email.expires_at is not None and email.expires_at <= max(scheduled_at, now):
        raise Invalid(Problem("scheduled_at", "must be before expires_at"))
    later = scheduled_at > now
    moved = session.execute(
        update(_email)
        .where(_email.c.id == email_id, _email.c.tenant_id == tenant_id, _email.c.status.in_(_MOVABLE))
        .values(
            status=Status.SCHEDULED if later else Status.QUEUED,
            scheduled_at=scheduled_at if later else None,
            due_at=scheduled_at if later else now,
        )
        .returning(_email.c.id)
    ).first()
    session.refresh(email)
    if moved is None:
        raise Conflict(f"too late: the email is {email.status}")
    return email


def _note(session: Session, email: Email, kind: str, data: dict[str, object] | None, now: datetime) -> None:
    events.write(session, [events.row(email.tenant_id, kind, data, now, email_id=email.id)])
