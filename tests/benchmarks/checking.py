"""What asking about 500 addresses costs beside a list of ten million, in one statement, with the plan.

python -m tests.benchmarks.checking [ENTRIES] [--embedded]
"""

import asyncio
import secrets
import sys
import time
from datetime import datetime
from statistics import median

from sqlalchemy import text
from sqlmodel import Session, col, select

from mailer import tenancy
from mailer.bench import building
from mailer.service import Service
from suppression import entries
from suppression.entries import Entry, KinKind, Question
from suppression.rules import Stream
from tests import plans
from tests.benchmarks.world import world

#: As many as one request may ask about.
ADDRESSES = 500
#: So many people are known by a second key too.
KIN = 10_000
ROUNDS = 50


async def measure(service: Service, number: int) -> None:
    """Fill the list, then ask; half of those asked about have left."""
    await service.prepare()
    tenant = await service.database.read(lambda session: tenancy.only_tenant(session, tenancy.DEFAULT).id or 0)
    began = time.perf_counter()
    await building.suppress_strangers(service, tenant, number, lambda _done, _of: None)
    now = service.now()
    await service.database.run(lambda session: relate(session, tenant, number, now))
    print(f"{number:,} entries in {time.perf_counter() - began:.0f} s", flush=True)
    print(await service.database.read(lambda session: asked(session, tenant, number, now)))
    await service.stop()


def relate(session: Session, tenant: int, number: int, now: datetime) -> None:
    """Make some of them known by another key too, and let the database look at what it has."""
    groups = [{one: "k1", secrets.token_bytes(16): "k2"} for one in some(session, tenant, number, KIN)]
    entries.relate(session, tenant, groups, KinKind.KEY, now)
    session.execute(text("ANALYZE"))


def asked(session: Session, tenant: int, number: int, now: datetime) -> str:
    """Return the plan of the one statement, and how long it took, the first time and then."""
    left = some(session, tenant, number, ADDRESSES // 2)
    prints = [*left, *(secrets.token_bytes(16) for _ in range(ADDRESSES - len(left)))]
    questions = [Question(one, Stream.PROMOTIONAL) for one in prints]
    took = list[float]()

    def check() -> None:
        began = time.perf_counter()
        answers = entries.check_many(session, tenant, questions, now)
        took.append((time.perf_counter() - began) * 1000)
        assert sum(answer is not None for answer in answers) == len(left)

    (statement,) = plans.statements(session, check)
    told = plans.plan(session, statement)
    for _ in range(ROUNDS):
        check()
    return f"{told}\nfirst {took[0]:.1f} ms, then median {median(took[1:]):.1f} ms, most {max(took[1:]):.1f} ms"


def some(session: Session, tenant: int, number: int, wanted: int) -> list[bytes]:
    """Return so many fingerprints, evenly among all that have left."""
    step = number // wanted
    ids = [f"su_{n:026}" for n in range(0, step * wanted, step)]
    statement = select(Entry.fingerprint).where(col(Entry.tenant_id) == tenant, col(Entry.id).in_(ids))
    return list(session.exec(statement))


def main() -> None:
    """Measure on PostgreSQL, or on SQLite with `--embedded`."""
    numbers = [word for word in sys.argv[1:] if word.isdigit()]
    with world(embedded="--embedded" in sys.argv) as made:
        asyncio.run(measure(Service.build(made.settings), int(numbers[0]) if numbers else 10_000_000))


if __name__ == "__main__":
    main()
