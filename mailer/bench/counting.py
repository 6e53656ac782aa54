"""What the rows of a run say: how far it is, what became of the mails, and from when to when they went."""

from collections import Counter
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import exists, func, select
from sqlmodel import Session, SQLModel

from mailer.database import Database
from mailer.delivery import claims
from mailer.models import Email
from mailer.status import WAITING, Status
from suppression.rules import Stream

_email = SQLModel.metadata.tables[str(Email.__tablename__)]
_QUEUED = select(exists().where(_email.c.waiting))
_UNSETTLED = select(exists().where(_email.c.status.in_([*WAITING, Status.SENDING])))


class Counts(NamedTuple):
    """The sum over statuses, and how long it took from the first claim to the last outcome."""

    sent: int
    suppressed: int
    uncertain: int
    #: Neither sent nor suppressed, nor in doubt.
    failed: int
    took: timedelta


async def count(database: Database) -> Counts:
    """Return what became of every email."""

    def read(session: Session) -> Counts:
        columns = (_email.c.status, func.count(), func.min(_email.c.dated_at), func.max(_email.c.settled_at))
        rows = session.execute(select(*columns).group_by(_email.c.status)).all()
        first = min((row[2] for row in rows if row[2] is not None), default=None)
        last = max((row[3] for row in rows if row[3] is not None), default=None)
        took = last - first if first is not None and last is not None else timedelta()
        sums = Counter({row[0]: row[1] for row in rows})
        sent, suppressed, uncertain = (sums[each] for each in (Status.SENT, Status.SUPPRESSED, Status.UNCERTAIN))
        return Counts(sent, suppressed, uncertain, sums.total() - sent - suppressed - uncertain, took)

    return await database.read(read)


async def oldest_due(database: Database, now: datetime) -> datetime | None:
    """Return when the mail became due that is the next to be claimed; None where nothing waits any more."""
    return await database.read(lambda session: claims.oldest_due(session, Stream.PROMOTIONAL, now))


async def unsettled(database: Database) -> bool:
    """Return whether any mail is on its way still; asked at the end, since it reads the whole table."""

    def read(session: Session) -> bool:
        return any(session.execute(question).scalar_one() for question in (_QUEUED, _UNSETTLED))

    return await database.read(read)
