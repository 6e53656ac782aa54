"""Messages to endpoints: claimed, settled, listed, sent again, forgotten; by verbs, which never commit."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    any_,
    bindparam,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlmodel import Session, SQLModel, col

from mailer import events, ids
from mailer.database import on_postgresql
from mailer.errors import Conflict, NotFound
from mailer.events import Told
from mailer.models import DeliveryState, Email, Event, Webhook, WebhookDelivery
from mailer.webhooks import endpoints, messages, payloads, schedule
from mailer.webhooks.messages import Due
from mailer.webhooks.schedule import WAITS, Verdict

#: How long who claimed a message may take before it counts as dead: longer than an answer is waited for.
LEASE = timedelta(seconds=30)
#: How long the log is kept.
KEPT = timedelta(days=30)
#: How many messages one replay may send again.
MOST_REPLAYED = 10_000
#: How much earlier than it was sent an email may have been accepted, for a replay to find it.
_ACCEPTED_BEFORE = timedelta(days=7)
_FORGOTTEN = 2_000
#: Why an endpoint is disabled by us.
GONE = "it answered 410: it wants nothing any more"
SILENT = f"it took nothing for {schedule.DISABLED_AFTER.days} days"

_webhook, _delivery, _event, _email = (
    SQLModel.metadata.tables[str(model.__tablename__)] for model in (Webhook, WebhookDelivery, Event, Email)
)
_WAITING = _delivery.c.state == DeliveryState.WAITING
_FAILED = _delivery.c.state == DeliveryState.FAILED


class Tried(NamedTuple):
    """What came of one try."""

    due: Due
    verdict: Verdict
    #: None: no answer came, and `answer` says why.
    status: int | None
    #: Milliseconds.
    took: int
    answer: str
    retry_after: timedelta | None = None


def hungry(session: Session, now: datetime) -> Sequence[str]:
    """Return the endpoints that messages are due for and that may be asked now."""
    due = exists().where(_delivery.c.webhook_id == _webhook.c.id, _WAITING, _delivery.c.due_at <= now)
    rested = or_(_webhook.c.rests_until.is_(None), _webhook.c.rests_until <= now)
    wanted = select(_webhook.c.id).where(_webhook.c.enabled == true(), rested, due)
    return session.execute(wanted.order_by(_webhook.c.id)).scalars().all()


def claim(session: Session, webhook: Webhook, lease: str, room: int, now: datetime) -> list[Due]:
    """Claim messages that are due, the oldest first; what follows on one of the same email waits for that.

    A claim lapses after `LEASE`: another process then sends it again. An endpoint that keeps failing gets one message
    at a time.
    """
    if not webhook.enabled or (webhook.rests_until is not None and webhook.rests_until > now):
        return []
    if webhook.failures >= schedule.PROBED_AFTER:
        room = min(room, 1)
    if room <= 0:
        return []
    earlier = _delivery.alias("earlier")
    # Asked for each message that is walked to, by the few of its email, whatever PostgreSQL believes of the table:
    # while it knew no numbers of it, it compared each of 5,000 waiting messages with each. OFFSET keeps it from a
    # join, `coalesce` from the index of what waits, and numbers that count behind the email alone from those of all
    # numbers, which it walked through where it had known an empty table.
    before = select(literal(1)).where(
        earlier.c.email_id == _delivery.c.email_id,
        func.coalesce(earlier.c.webhook_id, "") == _delivery.c.webhook_id,
        tuple_(earlier.c.email_id, earlier.c.number) < tuple_(_delivery.c.email_id, _delivery.c.number),
        func.coalesce(earlier.c.state, "") == DeliveryState.WAITING,
    )
    free = ~before.correlate(_delivery).offset(literal_column("0")).exists()
    ready = and_(_delivery.c.webhook_id == webhook.id, _WAITING, _delivery.c.due_at <= now, free)
    some = select(_delivery.c.number).where(ready).order_by(_delivery.c.due_at, _delivery.c.number).limit(room)
    names = (*Due._fields,)
    # An array is made once: what IN asks may be asked again for each row, and then skips what it has locked itself.
    once = func.array(some.with_for_update(skip_locked=True).scalar_subquery())
    mine = _delivery.c.number == any_(once) if on_postgresql(session) else _delivery.c.number.in_(some)
    claimed = (
        update(_delivery)
        .where(mine)
        .values(lease=lease, due_at=now + LEASE)
        .returning(*(_delivery.c[name] for name in names))
    )
    return sorted(Due._make(row) for row in session.execute(claimed))


def settle(
    session: Session,
    webhook: Webhook,
    lease: str,
    tried: Sequence[Tried],
    now: datetime,
    waits: Sequence[timedelta] = WAITS,
) -> None:
    """Write what came of tries under the lease that they were made with, and what they say of the endpoint."""
    rows = [_settled(each, lease, now, waits) for each in tried]
    if rows:
        session.connection().execute(_SETTLE, rows)
    for each in tried:
        _note(webhook, each, now)
    if any(each.verdict is Verdict.GONE for each in tried):
        endpoints.disable(session, webhook, now, GONE)
    elif schedule.hopeless(webhook.failures, webhook.failing_since, now):
        endpoints.disable(session, webhook, now, SILENT)
    session.add(webhook)
    session.flush()


def _settled(tried: Tried, lease: str, now: datetime, waits: Sequence[timedelta]) -> dict[str, object]:
    tries = tried.due.tries + 1
    again = schedule.next_try(tries, now, tried.retry_after, waits) if tried.verdict is not Verdict.TAKEN else None
    if tried.verdict is Verdict.TAKEN:
        state = DeliveryState.DELIVERED
    elif again is None or tried.verdict is Verdict.GONE:
        state = DeliveryState.FAILED
    else:
        state = DeliveryState.WAITING
    return {
        "b_number": tried.due.number,
        "b_lease": lease,
        "b_state": state,
        "b_due_at": again or now,
        "b_tries": tries,
        "b_tried_at": now,
        "b_status_code": tried.status,
        "b_took": tried.took,
        "b_answer": tried.answer,
    }


_SETTLE = (
    update(_delivery)
    .where(_delivery.c.number == bindparam("b_number"), _delivery.c.lease == bindparam("b_lease"), _WAITING)
    .values(
        lease=None,
        **{
            name: bindparam(f"b_{name}", type_=_delivery.c[name].type)
            for name in ("state", "due_at", "tries", "tried_at", "status_code", "took", "answer")
        },
    )
)


def _note(webhook: Webhook, tried: Tried, now: datetime) -> None:
    if tried.verdict is Verdict.TAKEN:
        webhook.failures, webhook.failing_since, webhook.rests_until = 0, None, None
        return
    webhook.failures += 1
    webhook.failing_since = webhook.failing_since or now
    rest = schedule.rest(webhook.failures, webhook.failing_since, now)
    webhook.rests_until = now + rest if rest is not None else None


def test(session: Session, webhook: Webhook, now: datetime) -> str:
    """Have a test message sent and return its id; raises `Conflict` while the endpoint is disabled."""
    if not webhook.enabled:
        raise Conflict("the endpoint is disabled: enable it first")
    happened = events.row(webhook.tenant_id, payloads.TEST, {"webhook_id": webhook.id}, now)
    return events.write_to(session, webhook.id, happened).message_id


def listing(
    session: Session, webhook: Webhook, *, limit: int, state: DeliveryState | None = None, after: str | None = None
) -> list[WebhookDelivery]:
    """Return messages to an endpoint, the newest first; `after` is the id of the last one of the page before."""
    mine = select(WebhookDelivery).where(col(WebhookDelivery.webhook_id) == webhook.id)
    if state is not None:
        mine = mine.where(col(WebhookDelivery.state) == state)
    if after is not None:
        mine = mine.where(col(WebhookDelivery.number) < _number(session, webhook, after))
    return list(session.execute(mine.order_by(col(WebhookDelivery.number).desc()).limit(limit)).scalars())


def bodies(session: Session, log: Sequence[WebhookDelivery]) -> list[bytes]:
    """Return the body of each message as it would be sent now: what it is about is looked up, and stored nowhere."""
    due = [Due(each.number or 0, each.message_id, each.kind, each.email_id, each.at, each.tries) for each in log]
    return [parcel.body for parcel in messages.put_into_words(session, due)]


def view(message: WebhookDelivery) -> dict[str, object]:
    """Return a message and its last try as JSON shows them."""
    waits = message.state is DeliveryState.WAITING
    return {
        "id": message.message_id,
        "type": message.kind,
        "email_id": message.email_id,
        "state": message.state,
        "at": message.at,
        "tries": message.tries,
        "tried_at": message.tried_at,
        "next_try_at": message.due_at if waits else None,
        "status_code": message.status_code,
        "took_ms": message.took,
        "answer": message.answer,
    }


class Window(NamedTuple):
    """What is sent again: what happened from `since` on and before `until`."""

    since: datetime
    until: datetime
    #: Only what was given up or never told; else also what was delivered.
    missed: bool = False


def replay_one(session: Session, webhook: Webhook, message_id: str, now: datetime) -> None:
    """Send one message again, with its id."""
    _again(session, [_number(session, webhook, message_id)], now)


def replay_failed(session: Session, webhook: Webhook, now: datetime) -> int:
    """Send again what was given up, the oldest first and `MOST_REPLAYED` at most; return how many messages that are."""
    mine = (_delivery.c.webhook_id == webhook.id, _FAILED)
    some = select(_delivery.c.number).where(*mine).order_by(_delivery.c.number).limit(MOST_REPLAYED)
    numbers = list(session.execute(some).scalars())
    _again(session, numbers, now)
    return len(numbers)


def replay(session: Session, webhook: Webhook, window: Window, now: datetime) -> int:
    """Send again what happened in a window, and what was not told in it because the endpoint was disabled or new.

    Returns how many messages that are; what still waits is none of them. Raises `Conflict` where they are too many.
    """
    states = [DeliveryState.FAILED] if window.missed else [DeliveryState.FAILED, DeliveryState.DELIVERED]
    mine = (_delivery.c.webhook_id == webhook.id, _delivery.c.at >= window.since, _delivery.c.at < window.until)
    known = select(_delivery.c.number).where(*mine, _delivery.c.state.in_(states)).limit(MOST_REPLAYED + 1)
    numbers = list(session.execute(known).scalars())
    untold = [Told._make(row) for statement in _untold(webhook, window) for row in session.execute(statement)]
    if len(numbers) + len(untold) > MOST_REPLAYED:
        raise Conflict(f"that are more than {MOST_REPLAYED} messages: choose a shorter time between since and until")
    _again(session, numbers, now)
    if untold:
        rows = [
            {**events.message(webhook.id, each), "due_at": now} for each in sorted(untold, key=lambda each: each.at)
        ]
        session.connection().execute(_delivery.insert(), rows)
    return len(numbers) + len(untold)


def _untold(webhook: Webhook, window: Window) -> Iterable[Select[tuple[str, int, str, datetime, str | None]]]:
    """Return what finds events of a window without a message to an endpoint that wants them."""

    def wanted(kind: str) -> bool:
        return kind in payloads.KINDS if webhook.kinds is None else kind in webhook.kinds

    def told(identifier: ColumnElement[str]) -> ColumnElement[bool]:
        return exists().where(_delivery.c.webhook_id == webhook.id, _delivery.c.message_id == identifier)

    first, last = (ids.first("ev", moment) for moment in (window.since, window.until))
    kinds = [kind for kind in payloads.KINDS if wanted(kind)]
    of_tenant = (_event.c.tenant_id == webhook.tenant_id, _event.c.kind.in_(kinds), ~told(_event.c.id))
    # Ids tell the time: a walk through the part of the table that is the window.
    yield (
        select(_event.c.id, _event.c.tenant_id, _event.c.kind, _event.c.at, _event.c.email_id)
        .where(_event.c.id >= first, _event.c.id < last, *of_tenant)
        .order_by(_event.c.id)
        .limit(MOST_REPLAYED + 1)
    )
    for kind, moment, earlier in (
        (events.QUEUED, _email.c.created_at, timedelta(0)),
        (events.SENT, _email.c.sent_at, _ACCEPTED_BEFORE),
    ):
        if wanted(kind):
            identifier = _email.c.id + literal(f"_{kind.partition('.')[2]}")
            yield (
                select(identifier, _email.c.tenant_id, literal(kind), moment, _email.c.id)
                .where(
                    _email.c.tenant_id == webhook.tenant_id,
                    _email.c.id >= ids.first("em", window.since - earlier),
                    _email.c.id < ids.first("em", window.until),
                    moment >= window.since,
                    moment < window.until,
                    ~told(identifier),
                )
                .limit(MOST_REPLAYED + 1)
            )


def _again(session: Session, numbers: Collection[int], now: datetime) -> None:
    ordered = sorted(numbers)
    for start in range(0, len(ordered), 500):
        some = _delivery.c.number.in_(ordered[start : start + 500])
        fresh = {"state": DeliveryState.WAITING, "due_at": now, "tries": 0, "lease": None}
        session.execute(update(_delivery).where(some, ~_WAITING).values(fresh))


def forget(session: Session, now: datetime) -> int:
    """Delete what is older than 30 days, some thousand at a time, and return how many that were.

    What still waits goes too: its endpoint has been disabled for long.
    """
    oldest = select(_delivery.c.number, _delivery.c.at).order_by(_delivery.c.number).limit(_FORGOTTEN).subquery()
    old = select(oldest.c.number).where(oldest.c.at < now - KEPT)
    gone = session.execute(_delivery.delete().where(_delivery.c.number.in_(old)).returning(_delivery.c.number))
    return len(gone.all())


def _number(session: Session, webhook: Webhook, message_id: str) -> int:
    mine = select(_delivery.c.number).where(_delivery.c.webhook_id == webhook.id, _delivery.c.message_id == message_id)
    number = session.execute(mine).scalar_one_or_none()
    if number is None:
        raise NotFound("there is no such message to this endpoint")
    return int(number)
