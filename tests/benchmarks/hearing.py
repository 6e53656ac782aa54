"""What it costs to take in what a provider tells: CPU of ours a report and statements a batch, by what is told.

python -m tests.benchmarks.hearing [--postgresql] [REPORTS] (1,000)
"""

import asyncio
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from itertools import cycle, islice
from typing import Any

import orjson
from sqlalchemy import Engine, event
from sqlmodel import Session

from mailer.database import Database
from mailer.feedback import hearing
from mailer.feedback.inbound.report import Category, Kind, Proof, Report
from mailer.status import Status
from tests.benchmarks.world import fresh_database
from tests.delivery import mails
from tests.delivery.mails import NOW, P

_LATER = NOW + timedelta(hours=1)
_DELIVERED = Report(Kind.DELIVERED, at=_LATER, source="sendgrid")
_HARD = Report(Kind.BOUNCED, Category.INVALID_RECIPIENT, hard=True, status="5.1.1", at=_LATER, source="sendgrid")
_FULL = Report(Kind.BOUNCED, Category.MAILBOX_FULL, status="4.2.2", at=_LATER, source="sendgrid")
_DEFERRED = Report(Kind.DEFERRED, Category.TRANSIENT, status="4.2.0", at=_LATER, source="sendgrid")
_COMPLAINED = Report(Kind.COMPLAINED, Category.COMPLAINT, at=_LATER, source="sendgrid")
#: What a batch is made of; `usual` is a newsletter's: of a hundred three bounce, and in a thousand one complains.
_BATCHES: Mapping[str, Sequence[Report]] = {
    "delivered": (_DELIVERED,),
    "hard": (_HARD,),
    "soft": (_FULL,),
    "deferred": (_DEFERRED,),
    "usual": (*(_DELIVERED,) * 940, *(_HARD,) * 20, *(_FULL,) * 10, *(_DEFERRED,) * 29, _COMPLAINED),
}


class _Statements:
    """Counts what is sent to the database."""

    def __init__(self) -> None:
        self.number = 0
        event.listen(Engine, "before_cursor_execute", self._count)

    def _count(self, *_: object) -> None:
        self.number += 1


def batch(identifiers: Sequence[str], pattern: Sequence[Report]) -> Iterator[tuple[Report, Proof]]:
    """Return a report of each mail, each with its provider's own id of it."""
    for identifier, report in zip(identifiers, islice(cycle(pattern), len(identifiers)), strict=True):
        yield report._replace(event_id=f"event-{identifier}"), Proof("provider:sendgrid", identifier)


async def measure(database: Database, number: int) -> list[dict[str, object]]:
    """Hear one batch of each kind, and the usual one again, in one transaction each."""
    counted, figures = _Statements(), []
    for name, pattern in _BATCHES.items():

        def make(session: Session, name: str = name) -> list[str]:
            found = mails.add(session, number, P, prefix=name, status=Status.SENT, attempts=1)
            mails.move(session, found, sent_at=NOW, settled_at=NOW)
            return found

        told = list(batch(await database.run(make), pattern))
        for said in (name, *(("usual, again",) if name == "usual" else ())):
            before, cpu, began = counted.number, time.process_time(), time.perf_counter()
            await database.run(partial(hearing.hear, heard=told, now=_LATER), conclusive=True)
            figures.append(
                {
                    "told": said,
                    "cpu_ms_a_report": round((time.process_time() - cpu) * 1000 / number, 3),
                    "ms_a_report": round((time.perf_counter() - began) * 1000 / number, 3),
                    "statements": counted.number - before,
                }
            )
    return figures


async def run(url: str, number: int) -> None:
    """Measure and print JSON."""
    database = Database(url)
    result: dict[str, Any] = {"database": "postgresql" if database.on_postgresql else "sqlite", "reports": number}
    result["batches"] = await measure(database, number)
    await database.close()
    sys.stdout.write(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode() + "\n")


def main(words: list[str]) -> None:
    """Run it."""
    numbers = [int(word) for word in words if word.isdigit()]
    with ExitStack() as stack:
        url = stack.enter_context(fresh_database(postgresql="--postgresql" in words))
        asyncio.run(run(url, numbers[0] if numbers else 1_000))


if __name__ == "__main__":
    main(sys.argv[1:])
