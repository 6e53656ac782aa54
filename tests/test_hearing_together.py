"""However many reports come at once, what comes out is what comes out of one after the other; on both engines."""

import random
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from sqlalchemy import event
from sqlmodel import Session, col, select

from mailer.database import Database
from mailer.feedback.hearing import Fate, Heard, hear, hear_again
from mailer.feedback.inbound.report import Category, Kind, Proof, Report
from mailer.models import Email, Event, Told, ToldState
from mailer.status import Status
from suppression.entries import Entry
from tests.delivery import mails
from tests.delivery.mails import NOW, P, T

LATER = NOW + timedelta(hours=1)
_SAID = (
    Report(Kind.BOUNCED, Category.INVALID_RECIPIENT, hard=True, status="5.1.1", source="sendgrid"),
    Report(Kind.BOUNCED, Category.MAILBOX_FULL, status="4.2.2", source="sendgrid"),
    Report(Kind.BOUNCED, Category.SPAM_BLOCK, status="5.7.1", source="sendgrid"),
    Report(Kind.DELIVERED, source="sendgrid"),
    Report(Kind.DEFERRED, Category.TRANSIENT, source="sendgrid"),
    Report(Kind.COMPLAINED, Category.COMPLAINT, source="sendgrid"),
    Report(Kind.UNSUBSCRIBED, Category.UNSUBSCRIBE, source="sendgrid"),
)
_BEGIN = (Status.SENT, Status.SENT, Status.SENT, Status.DELIVERED, Status.BOUNCED, Status.UNCERTAIN, Status.SENDING)

Heards = Sequence[tuple[Report, Proof]]


def world(session: Session, chance: random.Random) -> list[str]:
    """Add mails of three people in states of all kinds, each of whom has another mail waiting."""
    found: list[str] = []
    for number in range(3):
        states = [chance.choice(_BEGIN) for _ in range(3)]
        for state in states:
            (one,) = mails.add(session, 1, chance.choice((P, T)), prefix=f"person{number}", status=state, attempts=1)
            values = {} if state is Status.SENDING else {"settled_at": NOW}
            sent = state in (Status.SENT, Status.DELIVERED, Status.BOUNCED)
            mails.move(session, [one], intent_at=NOW, sent_at=NOW if sent else None, **values)
            found.append(one)
        found += mails.add(session, 1, P, prefix=f"person{number}")
    return found


def reports(chance: random.Random, identifiers: Sequence[str], number: int) -> list[tuple[Report, Proof]]:
    """Return reports in the order in which a mail's are followed, some of them twice, some with no time or mail."""
    found = []
    for place in range(number):
        at = NOW + timedelta(minutes=chance.randrange(1, 50)) if chance.random() < 0.7 else None
        report = chance.choice(_SAID)._replace(at=at, event_id=f"event-{place}")
        identifier = chance.choice((*identifiers, None))
        proof = Proof("provider:sendgrid" if chance.random() < 0.9 else "", identifier)
        found += [(report, proof)] * chance.choice((1, 1, 1, 2))

    def order(said: tuple[Report, Proof]) -> tuple[str, object, int]:
        return (said[1].email_id or "", said[0].at or LATER, list(Kind).index(said[0].kind))

    return sorted(found, key=order)


def everything(session: Session, heard: Sequence[Heard]) -> dict[str, object]:
    """Return all that reports leave, without the ids that are new each time."""
    session.expire_all()
    names = {told.id: told.digest for told in session.exec(select(Told))}
    new = ("report_id", "suppression_id", "act")

    def plain(data: dict[str, object] | None) -> dict[str, object]:
        return {name: value for name, value in (data or {}).items() if name not in new}

    entries = session.exec(select(Entry))
    return {
        "fates": [(each.fate, names.get(each.report_id), each.email_id, each.why) for each in heard],
        "mails": sorted((m.id, m.status, m.sent_at, str(m.suppression_reason)) for m in session.exec(select(Email))),
        "events": sorted(
            (
                (each.email_id or "", each.kind, str(sorted(plain(each.data).items())))
                for each in session.exec(select(Event).order_by(col(Event.id)))
            ),
            # Of one mail in their order, and what is about no mail in any.
            key=lambda each: (each[0], "" if each[0] else each[1:]),
        ),
        "entries": sorted(
            (e.fingerprint, e.reason, e.scope, e.lifted_at, e.expires_at, str(sorted(plain(e.evidence).items())))
            for e in entries
        ),
        "sums": {metric: amount for metric, amount in mails.sums(session).items() if amount},
        "told": sorted((t.digest, t.state, t.email_id, t.fingerprint, t.hard) for t in session.exec(select(Told))),
    }


def undone(session: Session, story: Callable[[], Sequence[Heard]]) -> dict[str, object]:
    """Return what a story leaves, and take it back."""
    with session.begin_nested() as point:
        left = everything(session, story())
        point.rollback()
    session.expire_all()
    return left


@pytest.mark.parametrize("seed", range(6))
async def test_a_batch_leaves_what_one_after_the_other_leaves(database: Database, seed: int) -> None:
    chance = random.Random(seed)

    def story(session: Session) -> None:
        identifiers = world(session, chance)
        said = reports(chance, identifiers, 40)
        session.flush()
        one_by_one = undone(session, lambda: [hear(session, [each], LATER)[0] for each in said])
        together = undone(session, lambda: hear(session, said, LATER))
        for name, left in one_by_one.items():
            assert together[name] == left, name
        # In whatever order a batch has them, of one mail they are followed as they happened.
        mixed = chance.sample(said, len(said))
        shuffled = undone(session, lambda: hear(session, mixed, LATER))
        for name in ("mails", "sums"):
            assert shuffled[name] == together[name], name

    await database.run(story)


async def test_a_batch_that_comes_before_our_own_outcome_is_done_together_afterwards(database: Database) -> None:
    hard, delivered = _SAID[0], _SAID[3]

    def story(session: Session) -> None:
        early = mails.add(session, 3, P, status=Status.SENDING, attempts=1)
        mails.move(session, early, intent_at=NOW)
        told = [
            (hard._replace(at=NOW + timedelta(minutes=2)), Proof("provider:sendgrid", early[0])),
            (delivered._replace(at=NOW + timedelta(minutes=1)), Proof("provider:sendgrid", early[0])),
            (delivered, Proof("provider:sendgrid", early[1])),
            (delivered, Proof("provider:sendgrid", early[2])),
        ]
        assert {each.fate for each in hear(session, told, LATER)} == {Fate.EARLY}
        mails.move(session, early[:2], status=Status.SENT, sent_at=NOW, settled_at=NOW)
        assert hear_again(session, LATER) == 3
        states = [mails.email(session, identifier).status for identifier in early]
        assert states == [Status.BOUNCED, Status.DELIVERED, Status.SENDING]
        assert mails.kinds(session, early[0]) == ["email.delivered", "email.bounced"]
        assert sorted(session.exec(select(Told.state))) == [ToldState.DONE] * 3 + [ToldState.EARLY]

    await database.run(story)


async def test_ten_times_as_many_reports_take_no_more_statements(database: Database) -> None:
    def cost(session: Session, number: int) -> int:
        sent = mails.add(session, number, P, prefix=f"n{number}-", status=Status.SENT, attempts=1)
        mails.move(session, sent, sent_at=NOW, settled_at=NOW)
        said = [(_SAID[place % 5], Proof("provider:sendgrid", one)) for place, one in enumerate(sent)]
        session.flush()
        counted: list[object] = []
        engine = session.get_bind().engine
        event.listen(engine, "before_cursor_execute", lambda *found: counted.append(found))
        hear(session, said, LATER)
        return len(counted)

    few = await database.run(lambda session: cost(session, 20))
    many = await database.run(lambda session: cost(session, 200))
    assert few == many
