"""A list of any length, read a page at a time by what is asked for; no page looks at more than so many entries."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session, aliased
from sqlmodel import col

from suppression.entries.decision import in_force
from suppression.entries.table import Entry
from suppression.rules import Origin, Reason

#: How many entries one page looks at: of what is rare among them it finds fewer, and says where it stopped.
STEP = 5000


class Wanted(NamedTuple):
    """Which entries are asked for; what is None does not matter."""

    reason: Reason | None = None
    origin: Origin | None = None
    scope: str | None = None
    #: In force, or over.
    live: bool | None = None


class Walked(NamedTuple):
    """Some entries, the newest first, and where the next page goes on; None where there is no more."""

    entries: Sequence[Entry]
    after: str | None


def walk(
    session: Session, tenant_id: int, wanted: Wanted, *, limit: int, now: datetime, after: str | None = None
) -> Walked:
    """Return a page of entries, the newest first, found by index whatever the length of the list.

    A page may hold fewer than `limit`, even none, and yet not be the last: `after` then is the last id looked at.
    """
    near: list[ColumnElement[bool]] = [col(Entry.tenant_id) == tenant_id]
    if after is not None:
        near.append(col(Entry.id) < after)
    # A topic is the rarest, and one index is walked.
    if wanted.scope is not None:
        near.append(col(Entry.scope) == wanted.scope)
    elif wanted.reason is not None:
        near.append(col(Entry.reason) == wanted.reason)
    step = select(Entry).where(*near).order_by(col(Entry.id).desc()).limit(STEP).subquery()
    each = aliased(Entry, step)
    statement = select(each).order_by(col(each.id).desc()).limit(limit + 1)
    if wanted.reason is not None:
        statement = statement.where(col(each.reason) == wanted.reason)
    if wanted.origin is not None:
        statement = statement.where(col(each.origin) == wanted.origin)
    if wanted.live is not None:
        statement = statement.where(in_force(each, now) if wanted.live else ~in_force(each, now))
    found = session.scalars(statement).all()
    if len(found) > limit:
        return Walked(found[:limit], found[limit - 1].id)
    last = select(col(Entry.id)).where(*near).order_by(col(Entry.id).desc()).offset(STEP - 1).limit(1)
    return Walked(found, session.scalars(last).first())
