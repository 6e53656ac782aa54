"""The list read a page at a time: by reason, origin, scope and state, by index, never more than a step."""

import secrets
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import insert, text
from sqlmodel import Session, SQLModel

from mailer.database import Database
from suppression import entries, rules
from suppression.entries import STEP, Entry, Wanted
from suppression.rules import Origin, Reason
from tests import plans
from tests.suppression.test_plans import WHOLE

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
NEWSLETTER = rules.topic_scope("newsletter")
#: PostgreSQL takes the ids themselves where nearly all entries are one tenant's.
OF_ALL = {"suppression_listed", "suppression_pkey"}
MANY = STEP + 2000


def row(number: int, **more: object) -> dict[str, object]:
    shared: dict[str, object] = {"tenant_id": 1, "key_id": "k1", "created_at": NOW, "expires_at": None}
    shared |= {"reason": Reason.HARD_BOUNCE, "scope": "all", "origin": Origin.PROVIDER, "lifted_at": None}
    return {**shared, "id": f"su_{number:026}", "fingerprint": secrets.token_bytes(16), **more}


def fill(session: Session) -> None:
    rows = [row(number) for number in range(MANY)]
    rows[3] = row(3, reason=Reason.UNSUBSCRIBE, scope=NEWSLETTER, origin=Origin.RECIPIENT)
    rows[4] = row(4, reason=Reason.MANUAL, origin=Origin.ADMIN, lifted_at=NOW)
    rows[MANY - 1] = row(MANY - 1, reason=Reason.SNOOZE, scope="stream:promotional", expires_at=NOW - timedelta(1))
    rows.append(row(MANY, tenant_id=2))
    session.connection().execute(insert(SQLModel.metadata.tables[str(Entry.__tablename__)]), rows)
    session.connection().execute(text("ANALYZE"))


async def test_a_long_list_is_read_page_by_page_and_what_is_rare_is_found_at_once(database: Database) -> None:
    await database.run(fill)

    async def walk(wanted: Wanted, after: str | None = None) -> tuple[list[int], str | None]:
        page = await database.read(lambda session: entries.walk(session, 1, wanted, limit=1000, now=NOW, after=after))
        return [int(entry.id.removeprefix("su_")) for entry in page.entries], page.after

    seen, after = await walk(Wanted())
    for _ in range(MANY // 1000 + 1):
        if after is None:
            break
        more, after = await walk(Wanted(), after)
        seen += more
    assert seen == list(reversed(range(MANY))), "newest first, each once, and nobody else's"
    for wanted, found in (
        (Wanted(reason=Reason.UNSUBSCRIBE), [3]),
        (Wanted(scope=NEWSLETTER), [3]),
        (Wanted(reason=Reason.MANUAL, live=False), [4]),
        (Wanted(reason=Reason.MANUAL, live=True), []),
        (Wanted(reason=Reason.SNOOZE, live=False), [MANY - 1]),
        (Wanted(scope=NEWSLETTER, reason=Reason.MANUAL), []),
    ):
        assert await walk(wanted) == (found, None), wanted
    # What no index finds is looked for a step at a time, and the page says where it stopped.
    none, after = await walk(Wanted(origin=Origin.ADMIN))
    assert (none, after) == ([], f"su_{MANY - STEP:026}")
    assert await walk(Wanted(origin=Origin.ADMIN), after) == ([4], None)


async def test_every_page_is_read_by_an_index(database: Database) -> None:
    await database.run(fill)

    def ask(session: Session, wanted: Wanted) -> str:
        after = f"su_{MANY - 100:026}"
        asked = plans.statements(session, lambda: entries.walk(session, 1, wanted, limit=50, now=NOW, after=after))
        return "\n".join(plans.plan(session, each) for each in asked)

    for wanted, indexes in (
        (Wanted(live=True), OF_ALL),
        (Wanted(origin=Origin.ADMIN), OF_ALL),
        (Wanted(reason=Reason.MANUAL, live=True), {"suppression_reason"}),
        (Wanted(scope=NEWSLETTER), {"suppression_scope"}),
    ):
        plan = await database.read(partial(ask, wanted=wanted))
        assert not WHOLE.search(plan), plan
        assert any(index in plan for index in indexes), plan
