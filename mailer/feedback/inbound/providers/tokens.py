"""What may be heard once only: a signature that covers no body is worth nothing the second time (Mailgun)."""

import hashlib
from datetime import datetime, timedelta

from sqlmodel import Session, SQLModel, col, select

from mailer import database
from mailer.feedback.inbound.providers.mailgun import OLDEST
from mailer.models import HeardToken

#: Longer than any of them is believed, whatever the clocks say.
_KEPT: timedelta = 2 * OLDEST
#: So many are forgotten at once, so that no clock's transaction takes long.
_AT_ONCE = 1000


def take(session: Session, token: bytes, now: datetime) -> bool:
    """Return whether a token was never heard; of two processes at once one gets yes, once its transaction is committed.

    Take it in the transaction that records what came with it: where that fails, the token may come again.
    """
    digest = hashlib.sha256(token).digest()
    table = SQLModel.metadata.tables["heard_token"]
    statement = database.insert(session, table).values(digest=digest, expires_at=now + _KEPT)
    return session.execute(statement.on_conflict_do_nothing().returning(table.c.digest)).first() is not None


def forget(session: Session, now: datetime) -> None:
    """Drop tokens that nobody would believe any more."""
    table = SQLModel.metadata.tables["heard_token"]
    old = select(col(HeardToken.digest)).where(col(HeardToken.expires_at) < now).limit(_AT_ONCE)
    session.execute(table.delete().where(table.c.digest.in_(old)))
