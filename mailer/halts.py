"""What does not go at present, and why: paused streams and tenants, relays that rest because they failed."""

import logging
import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import ColumnElement, SQLColumnExpression, String, case, cast, exists, literal, or_, select, update
from sqlmodel import Session, SQLModel

from mailer import database
from mailer.models import Halt
from suppression.rules import Stream

logger = logging.getLogger(__name__)

_halt = SQLModel.metadata.tables[str(Halt.__tablename__)]

#: How long a relay rests after so many failures in a row; the last repeats, each a tenth longer or shorter.
WAITS = tuple(timedelta(seconds=seconds) for seconds in (1, 2, 5, 10, 30, 60))
#: How long a probe has the relay alone; give its connection no more time than that.
PROBE = timedelta(seconds=15)
#: Where mail waits, a relay is probed within a second of its rest: one that was not says nothing after this while ...
_TOLD = timedelta(minutes=1)
#: ... and is forgotten after this one: no process uses it any more.
_KEPT = timedelta(days=1)
_PAUSED, _RESTING, _TENANT = "stream:", "relay:", "tenant:"
_LONGEST_KEY = 200
_UNSAID = "no reason was given"


class Pause(NamedTuple):
    """A stream that an operator paused, or of which one tenant's mail is paused."""

    reason: str
    since: datetime


class Rest(NamedTuple):
    """A relay that failed: when it is tried again, and how often it was in vain."""

    stream: Stream
    relay: str
    reason: str
    since: datetime
    until: datetime
    failures: int


@dataclass(frozen=True, slots=True)
class Halts:
    """What stood in the way at one moment."""

    at: datetime
    paused: Mapping[Stream, Pause]
    rests: Collection[Rest]
    #: Whose mail of a stream is paused.
    tenants: Mapping[tuple[Stream, int], Pause] = field(default_factory=dict)

    def rest(self, stream: Stream, relay: str) -> Rest | None:
        """Return the rest of a relay; once its `until` has passed, one worker `may_probe`, the others wait on."""
        if not self.rests:
            return None
        key = _relay_key(stream, relay)
        return next((each for each in self.rests if _relay_key(each.stream, each.relay) == key), None)

    def silent(self, stream: Stream, relays: Collection[str]) -> bool:
        """Return whether every one of these relays rests, so that no mail of the stream can go."""
        resting = [self.rest(stream, relay) for relay in relays]
        return bool(relays) and all(each is not None and self.at < each.until + _TOLD for each in resting)


def current(session: Session, now: datetime) -> Halts:
    """Return everything that is paused or rests; a table of few rows, cheap to ask twice a second."""
    paused: dict[Stream, Pause] = {}
    tenants: dict[tuple[Stream, int], Pause] = {}
    rests: list[Rest] = []
    for row in session.execute(select(*_halt.c).order_by(_halt.c.key)):
        if row.key.startswith(_PAUSED):
            paused[Stream(row.key.removeprefix(_PAUSED))] = Pause(row.reason, row.since)
        elif row.key.startswith(_TENANT):
            stream, _, number = row.key.removeprefix(_TENANT).partition(":")
            tenants[Stream(stream), int(number)] = Pause(row.reason, row.since)
        elif row.key.startswith(_RESTING) and row.until is not None:
            stream, _, relay = row.key.removeprefix(_RESTING).partition(":")
            rests.append(Rest(Stream(stream), relay, row.reason, row.since, row.until, row.failures))
    return Halts(now, paused, rests, tenants)


def paused_tenants(session: Session, stream: Stream) -> list[int]:
    """Return whose mail of a stream is paused; a look at few rows by their key, cheap enough for every claim."""
    prefix = f"{_TENANT}{stream}:"
    keys = session.execute(select(_halt.c.key).where(_halt.c.key.startswith(prefix))).scalars()
    return [int(key.removeprefix(prefix)) for key in keys]


def stops(stream: SQLColumnExpression[Stream], tenant_id: SQLColumnExpression[int]) -> ColumnElement[bool]:
    """Return EXISTS (this tenant's mail of this stream is paused), to stand in another statement's WHERE."""
    key = literal(_TENANT) + cast(stream, String) + literal(":") + cast(tenant_id, String)
    return exists().where(_halt.c.key == key)


class By(StrEnum):
    """Who paused: a sender ends no pause of the operator's."""

    OPERATOR = "operator"
    #: Too many complaints or bounces.
    BRAKE = "brake"
    SENDER = "sender"


def paused_by(session: Session, stream: Stream, tenant_id: int) -> By | None:
    """Return who paused a tenant's mail of a stream; None where it goes."""
    found = session.execute(select(_halt.c.by).where(_halt.c.key == _pause_key(stream, tenant_id))).scalar_one_or_none()
    return By(found) if found is not None else None


def pause(
    session: Session,
    stream: Stream,
    reason: str | None,
    now: datetime,
    *,
    tenant_id: int | None = None,
    by: By = By.OPERATOR,
) -> Pause:
    """Stop a stream, or one tenant's mail of it, until somebody resumes it.

    Pausing again keeps the time, the reason unless a newer is given, and who did unless it is the operator now.
    """
    row = {
        "key": _pause_key(stream, tenant_id),
        "reason": reason or _UNSAID,
        "since": now,
        "until": None,
        "failures": 0,
        "by": by,
    }
    fresh = database.insert(session, _halt).values(row)
    newer = {"reason": reason or _halt.c.reason, **({"by": by} if by is By.OPERATOR else {})}
    held = fresh.on_conflict_do_update(index_elements=["key"], set_=newer)
    found = session.execute(held.returning(_halt.c.reason, _halt.c.since)).one()
    logger.info("the %s stream is paused%s", stream, "" if tenant_id is None else f" for tenant {tenant_id}")
    return Pause(found.reason, found.since)


def resume(session: Session, stream: Stream, now: datetime, *, tenant_id: int | None = None) -> bool:
    """Let a stream, or one tenant's mail of it, go on and return whether it was paused."""
    since = _removed(session, _pause_key(stream, tenant_id))
    if since is not None:
        logger.info("the %s stream goes on; it was paused for %d s", stream, (now - since).total_seconds())
    return since is not None


def failed(
    session: Session, stream: Stream, relay: str, reason: str, now: datetime, *, began: datetime | None = None
) -> Rest:
    """Let a relay that failed rest, longer each time, and return its rest.

    `began` is when the attempt began (of a probe: the `now` that `may_probe` was given). Only an attempt that began
    while nobody knew of the failure counts, or a probe: workers that fail together are one failure, and one that hung
    for a minute says nothing new.
    """
    key, tried = _relay_key(stream, relay), began or now
    news = or_(_halt.c.until <= tried, _halt.c.until == tried + PROBE)
    spread = random.uniform(0.9, 1.1)
    row = {"key": key, "reason": reason, "since": now, "until": now + WAITS[0] * spread, "failures": 1, "by": ""}
    fresh = database.insert(session, _halt).values(row)
    longer = fresh.on_conflict_do_update(
        index_elements=["key"],
        set_={
            "reason": case((news, reason), else_=_halt.c.reason),
            "until": case((news, _next(now, spread)), else_=_halt.c.until),
            "failures": case((news, _halt.c.failures + 1), else_=_halt.c.failures),
        },
    )
    found = session.execute(longer.returning(*_halt.c)).one()
    return Rest(stream, relay, found.reason, found.since, found.until, found.failures)


def _next(now: datetime, spread: float) -> ColumnElement[datetime]:
    """Return when a relay is tried again, by how often it failed before."""
    ends = [literal(now + wait * spread, type_=_halt.c.until.type) for wait in WAITS]
    return case(*((_halt.c.failures < failures, end) for failures, end in enumerate(ends, 1)), else_=ends[-1])


def may_probe(session: Session, stream: Stream, relay: str, now: datetime) -> bool:
    """Return whether this worker may try a relay whose rest is over: one may, and has it alone for `PROBE`.

    It then says `recovered`, or `failed` with this `now` as `began`; where it says neither, another one may.
    """
    ours = update(_halt).where(_halt.c.key == _relay_key(stream, relay), _halt.c.until <= now)
    return session.execute(ours.values(until=now + PROBE).returning(_halt.c.key)).first() is not None


def recovered(session: Session, stream: Stream, relay: str, now: datetime) -> bool:
    """End the rest of a relay that took a mail, and return whether it rested."""
    since = _removed(session, _relay_key(stream, relay))
    if since is not None:
        logger.info("%s takes %s mail again, after %d s", relay, stream, (now - since).total_seconds())
    return since is not None


def forget(session: Session, now: datetime) -> int:
    """Forget the rests of relays that nobody has tried for a day: the settings name others now."""
    old = _halt.delete().where(_halt.c.key.startswith(_RESTING), _halt.c.until < now - _KEPT)
    return len(session.execute(old.returning(_halt.c.key)).all())


def _removed(session: Session, key: str) -> datetime | None:
    """Take a halt away and return since when it stood."""
    gone = _halt.delete().where(_halt.c.key == key).returning(_halt.c.since)
    since: datetime | None = session.execute(gone).scalar_one_or_none()
    return since


def _pause_key(stream: Stream, tenant_id: int | None) -> str:
    return f"{_PAUSED}{stream}" if tenant_id is None else f"{_TENANT}{stream}:{tenant_id}"


def _relay_key(stream: Stream, relay: str) -> str:
    return f"{_RESTING}{stream}:{relay}"[:_LONGEST_KEY]
