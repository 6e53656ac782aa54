"""The usual commit on PostgreSQL as one round trip: mails were sent, the next ones are intended, facts are counted."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache

import asyncpg
from sqlalchemy.dialects.postgresql import asyncpg as dialects

from mailer.counters import Key, Tally
from mailer.database import INTENTS, Database
from mailer.delivery.claims.counting import count_sent
from mailer.delivery.claims.rows import Outcome, Step, Worker
from mailer.delivery.claims.statements import Prepared, prepare, together
from mailer.status import Status

#: An opt-out waits for this many seconds, for ten milliseconds more where a commit waits for company, and for the
#: statement that is on its way.
_SHARED_FOR = 0.02
_SHARE = f"SELECT pg_advisory_lock_shared({INTENTS})"
_GIVE_BACK = f"SELECT pg_advisory_unlock_shared({INTENTS})"
_RENEW = f"SELECT pg_advisory_unlock_shared({INTENTS}), pg_advisory_lock_shared({INTENTS})"


class NotOurs(Exception):
    """A row is no longer what its worker takes it for; nothing was written."""


def usual(step: Step) -> bool:
    """Return whether a step may be committed here: its last mail was sent, or there was none."""
    outcome = step.outcome
    return outcome is None or (outcome.status is Status.SENT and not outcome.maybe_duplicate)


@lru_cache(maxsize=1)
def _statement() -> Prepared:
    return prepare(together(), dialects.dialect())  # type: ignore[no-untyped-call]


class Together:
    """One connection that commits for many."""

    def __init__(self, database: Database) -> None:
        """Connect to nothing yet."""
        self._database = database
        self._connection: asyncpg.Connection | None = None
        #: Since when the right to write intents has been held.
        self._since = 0.0

    async def commit(self, steps: Sequence[Step], worker: Worker, now: datetime) -> None:
        """Commit usual steps; raises `NotOurs` where a settled row was taken away, and nothing is written then."""
        await self._share()
        assert self._connection is not None
        outcomes = [step.outcome for step in steps if step.outcome is not None]
        intents = {step.intent.id: step for step in steps if step.intent is not None}
        arguments = _statement().arguments(_values(outcomes, list(intents), worker, now))
        try:
            row = await self._connection.fetchrow(_statement().text, *arguments)
        except asyncpg.DivisionByZeroError as error:
            raise NotOurs from error
        granted = set(row[1])
        for identifier, step in intents.items():
            step.granted = identifier in granted

    async def _share(self) -> None:
        """Hold the right to write intents, and let opt-outs that wait for it have their turn (`Database.run`)."""
        now = asyncio.get_running_loop().time()
        if self._connection is None or self._connection.is_closed():
            self._connection, self._since = await self._database.direct(), 0.0
        if not self._since:
            await self._connection.execute(_SHARE)
        elif now - self._since > _SHARED_FOR:
            await self._connection.execute(_RENEW)
        else:
            return
        self._since = asyncio.get_running_loop().time()

    @property
    def shares_until(self) -> float | None:
        """Return when the right should be given back if nothing is to be committed, as the loop's time."""
        return self._since + _SHARED_FOR if self._since else None

    async def rest(self) -> None:
        """Give the right back: nothing is to be committed now."""
        if self._since and self._connection is not None:
            self._since = 0.0
            await self._connection.execute(_GIVE_BACK)

    async def drop(self) -> None:
        """Forget the connection after an error; the server gives its rights back."""
        connection, self._connection, self._since = self._connection, None, 0.0
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection, self._since = self._connection, None, 0.0
        if connection is not None:
            with suppress(OSError, asyncpg.PostgresError, TimeoutError):
                await connection.close(timeout=2)


def _values(outcomes: Sequence[Outcome], intents: list[str], worker: Worker, now: datetime) -> dict[str, object]:
    tally = Tally()
    count_sent(tally, outcomes, now)
    columns = list(zip(*((*key, amount) for key, amount in tally.sums.items()), strict=True)) or [()] * 7
    return {
        "b_now": now,
        "b_lease": worker.lease,
        "b_sent": [outcome.job.id for outcome in outcomes],
        "b_replies": [outcome.reply for outcome in outcomes],
        "b_tracked": [outcome.tracked for outcome in outcomes],
        "b_tracked_links": [outcome.tracked_links for outcome in outcomes],
        "b_expected": len(outcomes),
        "b_ids": intents,
        **{f"b_tally_{name}": list(column) for name, column in zip((*Key._fields, "amount"), columns, strict=True)},
    }
