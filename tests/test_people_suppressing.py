"""An entry stops what waits at once, whatever its reason: exactly the mail that it forbids."""

from datetime import timedelta
from itertools import product

from sqlmodel import Session

from mailer import people
from mailer.database import Database
from mailer.people import Left
from mailer.status import Status
from suppression import rules
from suppression.entries import NewEntry
from suppression.rules import Origin, Reason, Scope, Stream, Topic
from tests.delivery import mails
from tests.delivery.mails import NOW, P, T

#: Stream, topic, whether it may be left.
MAIL = [(P, "newsletter", True), (P, "events", True), (T, None, False), (T, "new-lead", True), (T, "billing", False)]
SCOPES = ["all", "stream:promotional", "stream:transactional", "topic:newsletter", "topic:new-lead", "topic:billing"]


def entry(reason: Reason, scope: str, who: str) -> NewEntry:
    passes = reason in {Reason.SOFT_BOUNCE, Reason.SNOOZE}
    return NewEntry(
        tenant_id=1,
        fingerprint=mails.fingerprint(f"{who}0@example.org"),
        key_id=mails.KEY,
        reason=reason,
        scope=rules.parse_scope(scope),
        origin=Origin.API,
        expires_at=NOW + timedelta(days=1) if passes else None,
    )


async def test_an_entry_of_any_reason_and_scope_stops_what_it_forbids_and_nothing_else(database: Database) -> None:
    await database.run(mails.watch_transitions)
    stands = [each for each in product(Reason, SCOPES) if rules.may_stand(each[0], Scope(each[1]))]
    assert len(stands) > len(Reason)

    def verb(session: Session, reason: Reason, scope: str, who: str) -> None:
        waiting = {}
        for number, (stream, topic, leavable) in enumerate(MAIL):
            found = mails.add(session, 1, stream, prefix=who, topic=topic, leavable=leavable)
            mails.move(session, found, campaign_id=f"ca_{number}")
            waiting[found[0]] = (stream, Topic(topic, stream, leavable) if topic else None)
        left = people.suppress(session, entry(reason, scope, who), NOW)
        for identifier, (stream, asked) in waiting.items():
            row = mails.email(session, identifier)
            stopped = rules.blocks(reason, scope, stream, asked)
            expected = (Status.SUPPRESSED, left.entry.id, reason.value) if stopped else (Status.QUEUED, None, None)
            assert (row.status, row.suppression_id, row.suppression_reason) == expected, (reason, scope, asked)

    for number, (reason, scope) in enumerate(stands):
        await database.run(
            lambda session, each=(reason, scope, f"who{number}-"): verb(session, *each)  # type: ignore[misc]
        )
    sums = await database.read(mails.sums)
    statuses = await database.read(mails.statuses)
    assert sum(sums.values()) == statuses[Status.SUPPRESSED]


async def test_an_entry_that_stands_already_stops_what_was_accepted_beside_it(database: Database) -> None:
    def verb(session: Session) -> tuple[Left, Status]:
        people.suppress(session, entry(Reason.MANUAL, "all", "p"), NOW)
        found = mails.add(session, 1, T, prefix="p")
        again = people.suppress(session, entry(Reason.MANUAL, "all", "p"), NOW)
        return again, mails.email(session, found[0]).status

    again, status = await database.run(verb)
    assert (again.created, status) == (False, Status.SUPPRESSED)


async def test_an_entry_whose_time_is_over_stops_nothing(database: Database) -> None:
    def verb(session: Session) -> Status:
        found = mails.add(session, 1, P, prefix="p")
        people.suppress(session, entry(Reason.SNOOZE, "stream:promotional", "p"), NOW + timedelta(days=2))
        return mails.email(session, found[0]).status

    assert await database.run(verb) is Status.QUEUED


async def test_what_carries_an_intent_is_not_touched(database: Database) -> None:
    def verb(session: Session) -> list[Status]:
        going = mails.add(session, 1, T, prefix="p", status=Status.SENDING, lease="le_1", intent_at=NOW)
        claimed = mails.add(session, 1, Stream.TRANSACTIONAL, prefix="p", status=Status.SENDING, lease="le_1")
        people.suppress(session, entry(Reason.MANUAL, "all", "p"), NOW)
        return [mails.email(session, each[0]).status for each in (going, claimed)]

    assert await database.run(verb) == [Status.SENDING, Status.SUPPRESSED]
