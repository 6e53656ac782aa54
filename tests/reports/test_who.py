"""Who did what: a page of it costs the same in an old campaign among much mail."""

from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlmodel import Session

from mailer import reports
from mailer.database import Database
from mailer.models import Campaign, Email
from mailer.reports import Did, people
from mailer.status import Status
from tests.campaigns.world import asked, world_of


async def test_a_page_looks_at_few_emails_and_at_none_after_the_campaign_has_ended(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "LOOKED_AT", 20)
    world = await world_of(database)
    small, other = await world.create(**asked()), await world.create(**asked(name="Other"))
    # One of the campaign among many others, and after its end many more.
    await world.add(small, ["a@example.org"])
    await world.add(other, [f"p{number}@example.org" for number in range(50)])
    await world.add(small, ["z@example.org"])
    world.now += timedelta(minutes=1)
    await world.cancel(small)
    world.now += timedelta(hours=1)
    await world.add(other, [f"q{number}@example.org" for number in range(50)])

    def bounce(session: Session) -> None:
        session.execute(update(Email).values(status=Status.BOUNCED, settled_at=world.now))

    await database.run(bounce)
    pages: list[list[str]] = []
    after = None
    for _ in range(10):
        told = await database.read(
            lambda session, after=after: reports.doers(  # type: ignore[misc]
                session, session.get_one(Campaign, small), Did.BOUNCED, limit=3, after=after
            )
        )
        pages.append([each.address for each in told.people])
        after = told.after
        if not told.has_more:
            break
    assert pages == [["a@example.org"], [], ["z@example.org"]]
