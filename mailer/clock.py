"""What must happen without anybody asking: dead workers' mail comes back, old things expire."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlmodel import Session, SQLModel, col

from mailer import alarms, campaigns, counters, database, exchanging, halts, postmaster, subscribing
from mailer.database import Database
from mailer.delivery import claims
from mailer.feedback import hearing
from mailer.feedback.inbound.providers import tokens
from mailer.feedback.tracking import keeping
from mailer.models import SeenHit, StoredAnswer
from mailer.settings import Limits, Settings
from mailer.submission import Intake
from mailer.users import knocking, signing
from mailer.webhooks import deliveries

logger = logging.getLogger(__name__)

TICK = timedelta(seconds=5)
#: Campaigns that are due start within a second.
SWEEP = timedelta(seconds=0.5)
#: Of two clocks the one that holds this role ticks; it lapses, so that the other takes over.
_HELD = timedelta(seconds=15)
#: How long answers to repeated requests are kept (spec section 6), and marks of aggregate pixels (spec section 9).
_ANSWERS = timedelta(hours=24)
_MARKS = timedelta(days=30)


def take_role(session: Session, name: str, holder: str, now: datetime) -> bool:
    """Return whether `holder` has the role from now on; two at once get one yes."""
    table = SQLModel.metadata.tables["role"]
    statement = database.insert(session, table).values(name=name, holder=holder, until=now + _HELD)
    mine = statement.on_conflict_do_update(
        index_elements=["name"],
        set_={"holder": holder, "until": now + _HELD},
        where=or_(table.c.holder == holder, table.c.until < now),
    ).returning(table.c.name)
    return session.execute(mine).first() is not None


def tick(session: Session, holder: str, now: datetime, give_up: timedelta) -> int:
    """Do what is due, if this clock holds the role; return how many emails came back or ended."""
    if not take_role(session, "clock", holder, now):
        return 0
    halts.forget(session, now)
    subscribing.forget_unanswered(session, now)
    postmaster.forget(session, now)
    changed = claims.recover(session, now) + claims.expire(session, now, give_up)
    answers, marks = (SQLModel.metadata.tables[str(model.__tablename__)] for model in (StoredAnswer, SeenHit))
    old = select(answers.c.id).where(col(StoredAnswer.created_at) < now - _ANSWERS).limit(1000)
    session.execute(answers.delete().where(answers.c.id.in_(old.scalar_subquery())))
    session.execute(marks.delete().where(marks.c.day < (now - _MARKS).date()))
    alarms.forget(session, now)
    exchanging.forget(session, now)
    hearing.give_up(session, now)
    hearing.forget(session, now)
    tokens.forget(session, now)
    keeping.forget(session, now)
    deliveries.forget(session, now)
    signing.forget(session, now)
    knocking.forget(session, now)
    return changed


def fold(session: Session, holder: str, now: datetime) -> bool:
    """Add counted facts to the sums, if this clock holds the role; return whether more wait."""
    return take_role(session, "clock", holder, now) and counters.fold(session) == counters.FOLDED


def brake(session: Session, holder: str, now: datetime, limits: Mapping[str, Limits | None]) -> int:
    """Pause what is past a limit, if this clock holds the role; return how much that was."""
    return campaigns.brake(session, limits, now) if take_role(session, "clock", holder, now) else 0


async def run(database: Database, holder: str, settings: Settings) -> None:
    """Tick until cancelled; a database that is away is asked again at the next tick."""
    give_up, limits = settings.give_up, {"complaints": settings.complaints, "bounces": settings.bounces}
    while True:
        try:
            await database.run(lambda session: tick(session, holder, database.now(), give_up))
            # Before the facts are folded: the fresh ones say whose mail has to be judged.
            await database.run(lambda session: brake(session, holder, database.now(), limits), urgency=2)
            while await database.run(lambda session: fold(session, holder, database.now()), urgency=2):
                pass
            await _look_for_scanners(database)
            await _hear_again(database)
        except Exception as error:  # noqa: BLE001 - the clock outlives everything but its own process
            logger.warning("a tick of the clock failed: %s", type(error).__name__)
        await asyncio.sleep(TICK.total_seconds())


async def _look_for_scanners(database: Database) -> None:
    """Count opt-outs that came soon after their mail; the long look reads beside all writers."""
    if found := await database.read(lambda session: alarms.suspected(session, database.now())):
        await database.run(lambda session: alarms.keep(session, found, database.now()), urgency=2)


async def _hear_again(database: Database) -> None:
    """Do what follows from reports that came before our own outcome; of two clocks, each does it once."""
    while await database.read(hearing.waiting):
        await database.run(lambda session: hearing.hear_again(session, database.now()), conclusive=True)


async def sweep(database: Database, context: Intake) -> None:
    """Start, end and complete campaigns until cancelled; of several clocks each changes what no other has at hand."""
    while True:
        try:
            while await database.run(lambda session: campaigns.sweep(session, context, database.now()), urgency=2):
                pass
        except Exception as error:  # noqa: BLE001 - as in `run`
            logger.warning("a sweep of campaigns failed: %s", type(error).__name__)
        await asyncio.sleep(SWEEP.total_seconds())
