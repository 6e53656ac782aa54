"""A long list is asked by its index, for many addresses in one statement."""

import re
import secrets
from datetime import UTC, datetime

from sqlalchemy import insert, text
from sqlmodel import Session, SQLModel

from mailer.database import Database, on_postgresql
from suppression import entries
from suppression.entries import Entry, KinKind, Question
from suppression.rules import Origin, Reason, Stream
from tests import plans

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LEFT = [secrets.token_bytes(16) for _ in range(50_000)]
#: As many as one request may ask about; half of them have left.
ASKED = [*LEFT[:250], *(secrets.token_bytes(16) for _ in range(250))]
#: What reads the whole list, in PostgreSQL's words and in SQLite's.
WHOLE = re.compile(r"Seq Scan on suppression\b|SCAN suppression\b|SEARCH suppression\b.*\(tenant_id=\?\)")


def fill(session: Session) -> None:
    shared = {"tenant_id": 1, "key_id": "k1", "reason": Reason.UNSUBSCRIBE, "scope": "all", "origin": Origin.RECIPIENT}
    table = SQLModel.metadata.tables[str(Entry.__tablename__)]
    rows = [{**shared, "id": f"su_{n:026}", "fingerprint": one, "created_at": NOW} for n, one in enumerate(LEFT)]
    session.connection().execute(insert(table), rows)
    groups = [{one: "k1", secrets.token_bytes(16): "k2"} for one in LEFT[:5000]]
    entries.relate(session, 1, groups, KinKind.KEY, NOW)
    if on_postgresql(session):
        # Autovacuum does that within a minute; SQLite goes by what `mailer.sizes` told it.
        session.connection().execute(text("ANALYZE"))


async def test_five_hundred_addresses_are_asked_in_one_statement_by_index(database: Database) -> None:
    await database.run(fill)
    answers = list[Entry | None]()

    def ask(session: Session) -> str:
        questions = [Question(one, Stream.PROMOTIONAL) for one in ASKED]
        found = plans.statements(session, lambda: answers.extend(entries.check_many(session, 1, questions, NOW)))
        (statement,) = found
        return plans.plan(session, statement)

    plan = await database.read(ask)
    assert [answer is not None for answer in answers] == [True] * 250 + [False] * 250
    assert not WHOLE.search(plan), plan
    assert "suppression_mailbox" in plan
