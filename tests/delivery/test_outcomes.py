"""What becomes of a mail that our own bug kept from being composed."""

from datetime import timedelta

import pytest
from sqlmodel import Session

from mailer.database import Database
from mailer.delivery import outcomes
from mailer.delivery.claims import Job
from mailer.delivery.outcomes import Retry
from mailer.status import Status
from tests.delivery import mails
from tests.delivery.mails import NOW, P

MINUTE = timedelta(minutes=1)
RETRY = Retry((MINUTE, 10 * MINUTE), timedelta(days=3))


async def job(database: Database) -> Job:
    def verb(session: Session) -> Job:
        mails.found(session)
        mails.add(session, 1, P)
        return mails.claim(session, P)[1][0]

    return await database.run(verb)


@pytest.mark.parametrize(
    ("tried_for", "wait"), [(0, 1), (1, 1), (4, 4), (30, 10)], ids=["at once", "a minute", "four", "half an hour"]
)
async def test_it_waits_as_long_again_as_it_was_tried(sqlite: Database, tried_for: int, wait: int) -> None:
    tried = (await job(sqlite))._replace(dated_at=NOW - tried_for * MINUTE)
    outcome = outcomes.ours(tried, KeyError("ann@example.org"), RETRY, NOW)
    assert (outcome.status, outcome.due_at) == (Status.DEFERRED, NOW + wait * MINUTE)
    assert outcome.reply == "our fault: KeyError"


async def test_it_fails_when_it_was_tried_long_enough(sqlite: Database) -> None:
    tried = (await job(sqlite))._replace(dated_at=NOW - timedelta(days=4))
    assert outcomes.ours(tried, KeyError(), RETRY, NOW).status is Status.FAILED
