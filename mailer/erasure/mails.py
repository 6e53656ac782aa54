"""What mail knows of a person: their own rows, and the headers, words and files that others share with them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple, TypeVar, cast

from sqlalchemy import and_, or_, select, update
from sqlmodel import Session, SQLModel, col

from mailer import counters, events, ids, models
from mailer.erasure.words import Known, mailboxes, without_any
from mailer.models import Lease, Webhook
from mailer.status import Status

_EMAIL, _EVENT, _CONTENT, _FILE, _COUNTER, _MONTH, _TALLY, _MESSAGE, _TRACE = (
    SQLModel.metadata.tables[str(model.__tablename__)]
    for model in (
        models.Email,
        models.Event,
        models.Content,
        models.Attachment,
        models.Counter,
        models.MonthCounter,
        models.Tally,
        models.WebhookDelivery,
        models.HitTrace,
    )
)
_CHUNK = 400
_T = TypeVar("_T", int, str)
#: Where recipients see each other.
_SHOWN = ("to", "cc")
#: Ids tell milliseconds, and times are rounded to them.
_ABOUT = timedelta(milliseconds=2)


class Theirs(NamedTuple):
    """What of an email leads to its recipient, and to what it shares with others."""

    id: str
    status: Status
    stream: str
    created_at: datetime
    content_id: int
    campaign_id: str | None
    address: str | None
    name: str | None
    tags: Mapping[str, str] | None
    details: Mapping[str, object] | None
    reply: str | None


def of(session: Session, tenant_id: int, family: Collection[bytes]) -> list[Theirs]:
    """Lock a person's mail and return it; an outcome that is being written meanwhile is waited for."""
    columns = (_EMAIL.c[name] for name in Theirs._fields)
    mine = select(*columns).where(_EMAIL.c.tenant_id == tenant_id, _EMAIL.c.fingerprint.in_(family))
    return [Theirs._make(row) for row in session.execute(mine.order_by(_EMAIL.c.id).with_for_update())]


def tell_cancelled(session: Session, tenant_id: int, identifiers: Sequence[str], now: datetime) -> None:
    """Write an event for each email that was taken back."""
    kind = f"email.{Status.CANCELLED}"
    events.write(session, [events.row(tenant_id, kind, None, now, email_id=each) for each in identifiers])


def forget(session: Session, theirs: Sequence[Theirs]) -> None:
    """Take the person out of their own rows. What sends one of them now has its own copy, and writes only outcomes."""
    gone = {"address": None, "name": None, "fingerprint": None, "variables": None, "metadata": None}
    for some in _chunks([each.id for each in theirs]):
        session.execute(update(_EMAIL).where(_EMAIL.c.id.in_(some)).values(gone))
    for each in theirs:
        key = (each.details or {}).get("message_key")
        changed: dict[str, object] = {}
        if each.details:
            changed["details"] = {"message_key": key} if key else None
        if each.reply and "@" in each.reply:
            changed["reply"] = without_any(each.reply)
        if changed:
            session.execute(update(_EMAIL).where(_EMAIL.c.id == each.id).values(changed))


def leave_shared_headers(session: Session, tenant_id: int, theirs: Sequence[Theirs], known: Known) -> None:
    """Take the person out of To and Cc of the mail that others got or will get with them."""
    own = {each.id for each in theirs}
    for key in {str(each.details["message_key"]) for each in theirs if each.details and "message_key" in each.details}:
        # Emails of one request have ids of the same millisecond.
        made = ids.made_at(key)
        around = (_EMAIL.c.id >= ids.first("em", made - _ABOUT), _EMAIL.c.id < ids.first("em", made + _ABOUT))
        rows = session.execute(
            select(_EMAIL.c.id, _EMAIL.c.details).where(
                _EMAIL.c.tenant_id == tenant_id, *around, _EMAIL.c.details.is_not(None)
            )
        ).all()
        for identifier, details in rows:
            if identifier not in own and details.get("message_key") == key:
                shown = {
                    name: [box for box in mailboxes(details.get(name)) if not known.names(box[0])] for name in _SHOWN
                }
                session.execute(update(_EMAIL).where(_EMAIL.c.id == identifier).values(details={**details, **shown}))


def forget_words(session: Session, tenant_id: int, theirs: Sequence[Theirs], known: Known) -> None:
    """Take the person's address out of bodies that were written out for them, and empty files that came with these."""
    for some in _chunks(sorted({each.content_id for each in theirs})):
        literal = select(_CONTENT.c.id, _CONTENT.c.data).where(
            _CONTENT.c.id.in_(some), _CONTENT.c.tenant_id == tenant_id, _CONTENT.c.name.is_(None)
        )
        for identifier, data in session.execute(literal).all():
            if (changed := known.without(data)) != data:
                # Whoever writes the same words again gets a row of their own.
                values = {"data": changed, "digest": f"erased:{identifier}"}
                session.execute(update(_CONTENT).where(_CONTENT.c.id == identifier).values(values))
    if files := {identifier for each in theirs for identifier in _files(each.details)}:
        _empty(session, tenant_id, files, {each.id for each in theirs})


def _empty(session: Session, tenant_id: int, files: set[int], own: set[str]) -> None:
    """Empty the files that no mail of others needs any more; `submission` locks a file that it names once more."""
    mine = select(_FILE.c.id).where(_FILE.c.id.in_(files), _FILE.c.tenant_id == tenant_id)
    # In the order in which `submission.files` locks them: crossed, each would wait for the other.
    mine = mine.order_by(_FILE.c.digest).with_for_update()
    locked = set(session.execute(mine).scalars())
    leases = select(col(Lease.id))
    may_go = or_(
        _EMAIL.c.waiting,
        _EMAIL.c.doubtful,
        and_(_EMAIL.c.lease.in_(leases), _EMAIL.c.status == Status.SENDING),
    )
    statement = select(_EMAIL.c.id, _EMAIL.c.details).where(
        _EMAIL.c.tenant_id == tenant_id, _EMAIL.c.details.is_not(None), may_go
    )
    for identifier, details in session.execute(statement):
        if identifier not in own:
            locked -= set(_files(details))
    for identifier in locked:
        values = {"data": b"", "digest": f"erased:{identifier}"}
        session.execute(update(_FILE).where(_FILE.c.id == identifier).values(values))


def _files(details: Mapping[str, object] | None) -> list[int]:
    found = cast("list[Mapping[str, object]]", (details or {}).get("attachments") or [])
    return [cast("int", each["id"]) for each in found]


def forget_tags(session: Session, tenant_id: int, theirs: Sequence[Theirs], known: Known) -> None:
    """Drop tags that name the person, and the sums that were kept of these."""
    sums = set[tuple[date, str]]()
    for each in theirs:
        named = {name: value for name, value in (each.tags or {}).items() if _names(known, each, f"{name}={value}")}
        if not named:
            continue
        kept = {name: value for name, value in (each.tags or {}).items() if name not in named}
        session.execute(update(_EMAIL).where(_EMAIL.c.id == each.id).values(tags=kept or None))
        dims = counters.dimensions(tags=named, topic=None, template=None)
        sums.update((each.created_at.date(), value) for dimension, value in dims if dimension == "tag")
    _forget_sums(session, tenant_id, sorted(sums))


def _names(known: Known, email: Theirs, text: str) -> bool:
    return known.stand_in(text) or bool(email.name and email.name.casefold() in text.casefold())


def _forget_sums(session: Session, tenant_id: int, sums: Sequence[tuple[date, str]]) -> None:
    # What waits comes first, as when the clock adds it to the sums: neither then waits for the other.
    for table in (_TALLY, _COUNTER, _MONTH):
        for day, value in sums:
            when = table.c.month == day.replace(day=1) if table is _MONTH else table.c.day == day
            same = (table.c.tenant_id == tenant_id, when, table.c.dimension == "tag", table.c.value == value)
            session.execute(table.delete().where(*same))


def forget_events(session: Session, tenant_id: int, theirs: Sequence[Theirs]) -> None:
    """Take addresses out of what happened to a person's mail, what endpoints answered, and what hits came from."""
    hears = select(col(Webhook.id)).where(col(Webhook.tenant_id) == tenant_id)
    for some in _chunks([each.id for each in theirs]):
        told = select(_EVENT.c.id, _EVENT.c.data).where(
            _EVENT.c.tenant_id == tenant_id, _EVENT.c.email_id.in_(some), _EVENT.c.data.is_not(None)
        )
        for identifier, data in session.execute(told).all():
            if (changed := without_any(data)) != data:
                session.execute(update(_EVENT).where(_EVENT.c.id == identifier).values(data=changed))
        about = (_MESSAGE.c.webhook_id.in_(hears), _MESSAGE.c.email_id.in_(some), _MESSAGE.c.answer.is_not(None))
        session.execute(update(_MESSAGE).where(*about).values(answer=None))
        session.execute(_TRACE.delete().where(_TRACE.c.tenant_id == tenant_id, _TRACE.c.email_id.in_(some)))


def _chunks(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]
