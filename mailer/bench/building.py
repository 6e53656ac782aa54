"""Fills the database of a run: the template, a mail for each reader, and a list of people who have left."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import bindparam, insert, inspect, text
from sqlmodel import Session, SQLModel

from mailer import catalogue, submission, tenancy
from mailer.bench import letters
from mailer.bench.letters import Size
from mailer.database import Database, on_postgresql
from mailer.drafts import MOST_EMAILS
from mailer.errors import Conflict, MailerError
from mailer.service import Service
from mailer.submission import Accepted, Submitter
from suppression import address
from suppression.entries import Entry, new_id
from suppression.rules import STREAM_PROMOTIONAL, Origin, Reason

#: Says how many are done of how many.
Tell = Callable[[int, int], None]

#: How many entries one transaction adds, so that the list is built in flat memory.
_ENTRIES = 50_000
#: How many different beginnings of eight bytes there are.
_BEGINNINGS = 1 << 64

_entry = SQLModel.metadata.tables[str(Entry.__tablename__)]
# In the order of the fingerprints, so that each index grows at one place: ten million take minutes, not hours.
_STRANGERS = text(
    """
    INSERT INTO suppression (id, tenant_id, fingerprint, key_id, reason, scope, origin, created_at)
    SELECT 'su_' || lpad(n::text, 26, '0'), :tenant_id,
           int8send((n - :half) * :step) || substr(decode(md5(n::text), 'hex'), 1, 8),
           :key_id, :reason, :scope, :origin, :created_at
    FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n
    """
).bindparams(bindparam("created_at", type_=_entry.c.created_at.type))


async def check_empty(database: Database) -> None:
    """Raise `Conflict` unless none of our tables is in the database: a benchmark must never mail a real list."""

    def tables(session: Session) -> set[str]:
        return set(inspect(session.connection()).get_table_names()) & set(SQLModel.metadata.tables)

    if await database.read(tables):
        raise Conflict("the database of --database has tables of mailer: name a fresh, empty one, made with createdb")


async def write_template(service: Service, size: Size) -> int:
    """Store the template that is sent, and return the tenant."""

    def write(session: Session) -> int:
        tenant = tenancy.only_tenant(session, tenancy.DEFAULT)
        catalogue.save(session, tenant.id or 0, catalogue.drafted(letters.template(size)), service.now())
        return tenant.id or 0

    return await service.database.run(write)


async def accept(service: Service, tenant_id: int, number: int, tell: Tell) -> list[datetime]:
    """Submit a mail for each reader, a chunk a transaction; return when each chunk became due."""
    moments: list[datetime] = []
    for first in range(0, number, MOST_EMAILS):
        last, now = min(first + MOST_EMAILS, number), service.now()
        await service.database.run(_submission(service, tenant_id, range(first, last), now))
        moments.append(now)
        tell(last, number)
    return moments


def _submission(service: Service, tenant_id: int, numbers: range, now: datetime) -> Callable[[Session], None]:
    drafts = list(letters.drafts(numbers.start, numbers.stop))

    def submit(session: Session) -> None:
        answers = submission.submit_many(session, Submitter.trusted(tenant_id), drafts, service.intake, now)
        for answer in answers:
            if not isinstance(answer, Accepted):
                raise MailerError(f"a mail of the benchmark was refused: {answer}")

    return submit


async def suppress_strangers(service: Service, tenant_id: int, number: int, tell: Tell) -> None:
    """Add so many live entries of people who get no mail; their fingerprints lie evenly among all there can be."""
    for first in range(0, number, _ENTRIES):
        chunk = range(first, min(first + _ENTRIES, number))
        await service.database.run(_strangers(_shared(service, tenant_id), chunk, number))
        tell(chunk.stop, number)


def _strangers(shared: dict[str, object], chunk: range, number: int) -> Callable[[Session], None]:
    half, step = number // 2, _BEGINNINGS // number - 1

    def write(session: Session) -> None:
        if on_postgresql(session):
            bounds = {"first": chunk.start, "last": chunk.stop - 1, "half": half, "step": step}
            session.connection().execute(_STRANGERS, {**shared, **bounds})
            return
        session.execute(insert(_entry), [{**shared, "id": f"su_{n:026}", "fingerprint": of(n)} for n in chunk])

    def of(n: int) -> bytes:
        return ((n - half) * step).to_bytes(8, signed=True) + hashlib.md5(b"%d" % n, usedforsecurity=False).digest()[:8]

    return write


async def suppress_readers(service: Service, tenant_id: int, readers: Sequence[int], tell: Tell) -> None:
    """Let readers leave whose mail was accepted already, so that it is their mail's intent that meets the entry."""
    fingerprints, shared = service.intake.fingerprints, _shared(service, tenant_id)
    for first in range(0, len(readers), _ENTRIES):
        rows = [
            {
                **shared,
                "id": new_id(service.now()),
                "fingerprint": fingerprints.of(tenant_id, address.parse(letters.address(number)).canonical),
            }
            for number in readers[first : first + _ENTRIES]
        ]
        await service.database.run(_insertion(rows))
        tell(first + len(rows), len(readers))


def _insertion(rows: list[dict[str, object]]) -> Callable[[Session], None]:
    def write(session: Session) -> None:
        session.execute(insert(_entry), rows)

    return write


def _shared(service: Service, tenant_id: int) -> dict[str, object]:
    return {
        "tenant_id": tenant_id,
        "key_id": service.intake.fingerprints.primary_id,
        "reason": Reason.UNSUBSCRIBE.value,
        "scope": STREAM_PROMOTIONAL,
        "origin": Origin.RECIPIENT.value,
        "created_at": service.now(),
    }


async def settle(database: Database) -> None:
    """Let PostgreSQL tidy up what was written and learn how large it is: by itself it would do so amid the run."""
    if database.on_postgresql:
        connection = await database.direct()
        try:
            await connection.execute("SET statement_timeout = 0")
            await connection.execute("VACUUM (ANALYZE)")
        finally:
            await connection.close()
