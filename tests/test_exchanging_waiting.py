"""A list that somebody uploaded waits for them alone, for a day at most."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlmodel import Session, select

from mailer import exchanging, tenancy
from mailer.database import Database
from mailer.errors import NotFound
from mailer.exchanging import Waiting
from mailer.models import ListUpload

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)

PLAIN = b"email,group_id\r\nann@example.org,14\r\n" * 99
LIST = Waiting("sendgrid-groups", "", "all", ["14=newsletter", "surveys"], exchanging.pack(PLAIN))


def tenants(session: Session) -> None:
    for key in ("acme", "other"):
        tenancy.create_tenant(session, key, sender=f"{key} <hi@{key}.example>", now=NOW)


async def test_a_list_waits_for_whoever_uploaded_it_and_the_next_takes_its_place(database: Database) -> None:
    def verb(session: Session) -> tuple[str, str]:
        tenants(session)
        first = exchanging.keep(session, 1, "us_ann", LIST, NOW)
        exchanging.keep(session, 1, "us_bob", LIST, NOW)
        return first, exchanging.keep(session, 1, "us_ann", LIST._replace(form="list", topics=[]), NOW)

    first, second = await database.run(verb)
    found = await database.read(lambda session: exchanging.find(session, 1, "us_ann", second))
    assert found == LIST._replace(form="list", topics=[])
    assert found.data == PLAIN
    for tenant_id, user_id, upload_id in ((1, "us_ann", first), (1, "us_bob", second), (2, "us_ann", second)):
        with pytest.raises(NotFound, match="choose the file again"):
            await database.read(partial(exchanging.find, tenant_id=tenant_id, user_id=user_id, upload_id=upload_id))
    kept = await database.read(lambda session: session.exec(select(ListUpload)).all())
    assert len(kept) == 2
    assert all(len(row.data) < len(PLAIN) / 2 for row in kept)


async def test_a_list_is_forgotten_once_it_is_brought_in_and_after_a_day(database: Database) -> None:
    def verb(session: Session) -> list[str]:
        tenants(session)
        ids = [exchanging.keep(session, 1, user, LIST, NOW) for user in ("us_ann", "us_bob")]
        exchanging.drop(session, 1, "us_ann")
        exchanging.forget(session, NOW + timedelta(hours=23))
        return ids

    _, kept = await database.run(verb)
    assert (await database.read(lambda session: exchanging.find(session, 1, "us_bob", kept))) == LIST
    await database.run(lambda session: exchanging.forget(session, NOW + timedelta(hours=25)))
    assert await database.read(lambda session: session.exec(select(ListUpload)).all()) == []
