"""What follows from reports: status, events, suppression, sums; on both engines."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import Session, col, select

from mailer import ids
from mailer.database import Database
from mailer.delivery import claims
from mailer.delivery.claims import Outcome, Step
from mailer.erasure import erase
from mailer.feedback import hearing
from mailer.feedback.hearing import Fate, Heard, hear, hear_again
from mailer.feedback.inbound.report import Category, Kind, Proof, Report
from mailer.links import Links
from mailer.models import Email, Event, Tenant, Told, ToldState
from mailer.settings import Settings
from mailer.status import Status
from suppression.entries import Entry
from suppression.rules import Reason
from suppression.token import Ring
from tests import plans
from tests.delivery import mails
from tests.delivery.mails import NOW, P, T

HARD = Report(Kind.BOUNCED, Category.INVALID_RECIPIENT, hard=True, status="5.1.1", source="dsn")
FULL = Report(Kind.BOUNCED, Category.MAILBOX_FULL, status="4.2.2", source="dsn")
DELIVERED = Report(Kind.DELIVERED, source="dsn")
LATER = NOW + timedelta(hours=1)


def sent(session: Session, **fields: object) -> str:
    """Add one promotional email that a relay took."""
    (identifier,) = mails.add(session, 1, P, status=Status.SENT, attempts=1)
    mails.move(session, [identifier], sent_at=NOW, settled_at=NOW, **fields)
    return identifier


def told(session: Session, identifier: str, *reports: Report, now: datetime = LATER) -> list[Heard]:
    """Hear reports by the mail's own return path."""
    return hear(session, [(report, Proof("return_path", identifier)) for report in reports], now)


def reasons(session: Session) -> list[tuple[Reason, str]]:
    """Return every entry that stands."""
    found = session.exec(select(Entry).where(col(Entry.lifted_at).is_(None)))
    return sorted((entry.reason, entry.scope) for entry in found)


async def test_a_hard_bounce_an_hour_later_ends_all_mail_to_the_address(database: Database) -> None:
    def story(session: Session) -> None:
        identifier = sent(session)
        (waiting,) = mails.add(session, 1, T, prefix="p")
        assert [each.fate for each in told(session, identifier, HARD)] == [Fate.DONE]
        assert mails.email(session, identifier).status is Status.BOUNCED
        assert mails.kinds(session, identifier) == ["email.bounced"]
        assert reasons(session) == [(Reason.HARD_BOUNCE, "all")]
        assert mails.email(session, waiting).status is Status.SUPPRESSED
        sums = mails.sums(session)
        assert (sums["returned"], sums["hard_bounced"], sums.get("soft_bounced")) == (1, 1, None)

    await database.run(story)


async def test_the_same_report_twice_is_one_bounce(database: Database) -> None:
    def story(session: Session) -> None:
        identifier = sent(session)
        first, second = told(session, identifier, FULL, FULL)
        (third,) = told(session, identifier, FULL, now=LATER + timedelta(minutes=1))
        assert (first.fate, second.fate, third.fate) == (Fate.DONE, Fate.REPEATED, Fate.REPEATED)
        assert first.report_id == second.report_id == third.report_id
        assert mails.kinds(session, identifier) == ["email.bounced"]
        assert mails.sums(session)["returned"] == 1
        assert reasons(session) == []

    await database.run(story)


@pytest.mark.parametrize("proof", [Proof(""), Proof("dkim"), Proof("return_path")], ids=lambda proof: proof.by)
async def test_what_nobody_vouches_for_changes_nothing_and_says_nothing_of_a_person(
    database: Database, proof: Proof
) -> None:
    def story(session: Session) -> None:
        identifier = sent(session)
        forged = HARD._replace(
            message_id=f"<{identifier}@x.example>", recipient="p0@example.org", diagnostic="550 p0@example.org"
        )
        (heard,) = hear(session, [(forged, proof)], LATER)
        assert (heard.fate, heard.email_id) == (Fate.REFUSED, None)
        assert mails.email(session, identifier).status is Status.SENT
        assert reasons(session) == []
        kept = session.exec(select(Told)).one()
        assert (kept.state, kept.why) == (ToldState.UNMATCHED, "nobody vouches for it")
        assert (kept.recipient, kept.message_id, kept.diagnostic) == (None, None, None)

    await database.run(story)


async def test_a_delivery_is_told(database: Database) -> None:
    def story(session: Session) -> None:
        identifier = sent(session)
        assert [each.fate for each in told(session, identifier, DELIVERED)] == [Fate.DONE]
        assert mails.email(session, identifier).status is Status.DELIVERED
        assert mails.sums(session)["delivered"] == 1

    await database.run(story)


async def test_a_delivery_after_a_bounce_and_a_bounce_after_a_delivery_keep_the_sums_whole(database: Database) -> None:
    def story(session: Session) -> None:
        identifier = sent(session)
        for report, status, kept in (
            (FULL, Status.BOUNCED, (0, 1, 1)),
            (DELIVERED, Status.DELIVERED, (1, 0, 0)),
            (HARD, Status.BOUNCED, (0, 1, 0)),
        ):
            told(session, identifier, report)
            assert mails.email(session, identifier).status is status
            sums = mails.sums(session)
            assert (sums.get("delivered", 0), sums["returned"], sums["soft_bounced"]) == kept
        assert mails.sums(session)["hard_bounced"] == 1
        assert mails.kinds(session, identifier) == ["email.bounced", "email.delivered", "email.bounced"]

    await database.run(story)


async def test_an_older_report_that_comes_late_is_told_and_changes_no_status(database: Database) -> None:
    def story(session: Session) -> None:
        identifier = sent(session)
        at = NOW + timedelta(minutes=10)
        told(session, identifier, FULL._replace(at=at))
        (late,) = told(session, identifier, DELIVERED._replace(at=at - timedelta(minutes=5)))
        assert late.fate is Fate.DONE
        assert mails.email(session, identifier).status is Status.BOUNCED
        assert mails.kinds(session, identifier) == ["email.bounced", "email.delivered"]
        assert "delivered" not in mails.sums(session)

    await database.run(story)


async def test_a_batch_in_any_order_ends_as_it_happened(database: Database) -> None:
    def story(session: Session) -> None:
        identifier = sent(session)
        at = NOW + timedelta(minutes=10)
        late, early = DELIVERED._replace(at=at), FULL._replace(at=at - timedelta(minutes=5))
        heard = told(session, identifier, late, early)
        assert [each.fate for each in heard] == [Fate.DONE, Fate.DONE]
        assert mails.email(session, identifier).status is Status.DELIVERED
        assert mails.kinds(session, identifier) == ["email.bounced", "email.delivered"]

    await database.run(story)


async def test_a_delay_is_an_event_and_no_other_status(database: Database) -> None:
    def story(session: Session) -> None:
        identifier = sent(session)
        told(session, identifier, Report(Kind.DEFERRED, Category.MAILBOX_FULL, status="4.2.2", source="dsn"))
        assert mails.email(session, identifier).status is Status.SENT
        event = session.exec(select(Event)).one()
        assert (event.kind, (event.data or {})["category"]) == ("email.deferred", "mailbox_full")
        assert reasons(session) == []

    await database.run(story)


@pytest.mark.parametrize("kind", [Kind.COMPLAINED, Kind.UNSUBSCRIBED])
async def test_who_complains_or_leaves_at_the_provider_gets_no_promotional_mail(database: Database, kind: Kind) -> None:
    reason = {Kind.COMPLAINED: Reason.COMPLAINT, Kind.UNSUBSCRIBED: Reason.UNSUBSCRIBE}[kind]

    def story(session: Session) -> None:
        identifier = sent(session)
        (waiting,) = mails.add(session, 1, P, prefix="p", status=Status.HELD)
        report = Report(kind, Category.COMPLAINT, source="ses", event_id="1")
        assert [each.fate for each in told(session, identifier, report, report)] == [Fate.DONE, Fate.REPEATED]
        assert reasons(session) == [(reason, "stream:promotional")]
        assert mails.email(session, waiting).status is Status.SUPPRESSED
        assert mails.email(session, identifier).status is Status.SENT
        assert mails.kinds(session, identifier) == [f"email.{kind}"]
        assert mails.sums(session)[kind] == 1

    await database.run(story)


async def test_a_report_before_our_own_outcome_is_done_once_it_is_there(database: Database) -> None:
    def before(session: Session) -> str:
        identifier = sent(session)
        mails.move(session, [identifier], status=Status.SENDING, sent_at=None, intent_at=NOW)
        assert [each.fate for each in told(session, identifier, HARD)] == [Fate.EARLY]
        assert not hearing.waiting(session)
        assert hear_again(session, LATER) == 0
        assert reasons(session) == []
        mails.move(session, [identifier], status=Status.SENT, sent_at=NOW)
        return identifier

    identifier = await database.run(before)
    assert await database.read(hearing.waiting)
    assert await database.run(lambda session: hear_again(session, LATER)) == 1

    def after(session: Session) -> None:
        assert mails.email(session, identifier).status is Status.BOUNCED
        assert reasons(session) == [(Reason.HARD_BOUNCE, "all")]
        assert hear_again(session, LATER) == 0
        assert [each.fate for each in told(session, identifier, HARD)] == [Fate.REPEATED]

    await database.run(after)


async def test_a_report_whose_mail_never_gets_an_outcome_is_shown_after_three_days(database: Database) -> None:
    def story(session: Session) -> None:
        identifier = sent(session)
        mails.move(session, [identifier], status=Status.DEFERRED, sent_at=None)
        told(session, identifier, FULL)
        for days, state in ((2, ToldState.EARLY), (4, ToldState.UNMATCHED)):
            hearing.give_up(session, LATER + timedelta(days=days))
            assert session.exec(select(col(Told.state))).one() is state

    await database.run(story)


async def test_an_uncertain_email_is_resolved_by_what_others_tell(database: Database) -> None:
    def story(session: Session) -> None:
        for report, status in ((FULL, Status.BOUNCED), (DELIVERED, Status.DELIVERED)):
            identifier = sent(session)
            mails.move(session, [identifier], status=Status.UNCERTAIN, sent_at=None, intent_at=NOW)
            told(session, identifier, report)
            email = mails.email(session, identifier)
            assert (email.status, email.sent_at) == (status, NOW)
        sums = mails.sums(session)
        assert (sums["sent"], sums["uncertain"], sums["returned"], sums["delivered"]) == (2, -2, 1, 1)

    await database.run(story)


async def test_of_mail_that_never_left_nobody_can_tell_anything(database: Database) -> None:
    def story(session: Session) -> None:
        (identifier,) = mails.add(session, 1, P)
        (heard,) = told(session, identifier, HARD)
        assert (heard.fate, heard.why) == (Fate.UNMATCHED, "the mail that it names was never sent")
        assert reasons(session) == []

    await database.run(story)


def provider(report: Report, session: Session, by: str = "provider:mailgun") -> Heard:
    """Hear one report that a provider signed."""
    (heard,) = hear(session, [(report, Proof(by))], LATER)
    return heard


async def test_a_message_id_needs_its_recipient(database: Database) -> None:
    def story(session: Session) -> None:
        identifier = sent(session)
        named = FULL._replace(message_id=f"<{identifier.upper()}@x.example>", source="mailgun")
        other = provider(named._replace(recipient="victim@example.org"), session)
        assert (other.fate, other.why) == (Fate.UNMATCHED, "it names another recipient than the mail had")
        assert provider(named, session).fate is Fate.UNMATCHED
        # A server that forwarded the mail names its own mailbox.
        assert provider(named._replace(recipient="x@forward.example"), session, "dkim:a.example").fate is Fate.DONE
        assert provider(named._replace(recipient="P0@Example.org", event_id="2"), session).email_id == identifier

    await database.run(story)


async def test_recipients_of_one_request_share_a_message_id_and_the_recipient_decides(database: Database) -> None:
    def story(session: Session) -> None:
        both = mails.add(session, 2, T, status=Status.SENT, attempts=1)
        for identifier in both:
            session.get_one(Email, identifier).details = {"message_key": both[0]}
        session.flush()
        named = HARD._replace(message_id=f"<{both[0]}@x.example>", source="ses", recipient="t1@example.org")
        assert provider(named, session).email_id == both[1]
        assert provider(named._replace(recipient=None), session, "dkim:a.example").fate is Fate.UNMATCHED
        assert mails.email(session, both[0]).status is Status.SENT

    await database.run(story)


@pytest.mark.parametrize(
    "message_id",
    [None, "<1@elsewhere.example>", "<em_00000000000000000000000000@x.example>"],
    ids=["address alone", "another's", "unknown"],
)
async def test_what_names_no_mail_of_ours_is_kept_and_shown(database: Database, message_id: str | None) -> None:
    def story(session: Session) -> None:
        sent(session)
        said = "550 <p0@example.org> unknown\0"
        report = HARD._replace(recipient="p0@example.org", diagnostic=said, message_id=message_id)
        assert provider(report, session).fate is Fate.UNMATCHED
        assert reasons(session) == []
        (shown,) = hearing.listing(session, ToldState.UNMATCHED, limit=10).reports
        assert (shown.recipient, shown.diagnostic) == ("p0@example.org", "550 <<address>> unknown")
        assert hearing.forget(session, LATER + timedelta(days=29)) == 0
        assert hearing.forget(session, LATER + timedelta(days=31)) == 1

    await database.run(story)


def test_a_token_of_ours_in_a_report_says_which_mail_it_was() -> None:
    links, identifier = Links(Settings(return_path_domain="b.example"), Ring("k1:" + "s" * 32)), ids.new("em", NOW)
    path = links.return_path(identifier) or ""
    own = HARD._replace(return_path=f"<{path.upper()}>")
    for report in (own, HARD._replace(envelope_id=path[2:].partition("@")[0])):
        found = hearing.vouched(links.read_return_path, report, Proof("provider:ses"))
        assert found == Proof("provider:ses", identifier)
    assert hearing.vouched(links.read_return_path, own, Proof("")) == Proof("return_path", identifier)
    assert hearing.vouched(links.read_return_path, own, Proof("return_path", "em_1")) == Proof("return_path", "em_1")
    changed = f"{path[:9]}{'a' if path[9] != 'a' else 'b'}{path[10:]}"
    assert hearing.vouched(links.read_return_path, HARD._replace(return_path=changed), Proof("")) == Proof("")


def bounce_softly(session: Session, number: int, now: datetime, first: int = 0) -> None:
    """Bounce so many mails to one mailbox, one a day."""
    for place in range(number):
        told(session, sent(session), FULL, now=now + timedelta(days=first + place))


async def test_five_soft_bounces_in_fourteen_days_end_promotional_mail_for_a_while(database: Database) -> None:
    def story(session: Session) -> None:
        bounce_softly(session, 4, LATER)
        assert reasons(session) == []
        bounce_softly(session, 1, LATER, first=4)
        entry = session.exec(select(Entry)).one()
        assert (entry.reason, entry.scope) == (Reason.SOFT_BOUNCE, "stream:promotional")
        assert entry.expires_at == LATER + timedelta(days=4 + 14)

    await database.run(story)


async def test_soft_bounces_far_apart_or_for_our_own_sake_do_not_count(database: Database) -> None:
    def story(session: Session) -> None:
        bounce_softly(session, 3, LATER)
        bounce_softly(session, 3, LATER, first=20)
        for _ in range(6):
            told(session, sent(session), Report(Kind.BOUNCED, Category.SPAM_BLOCK, status="5.7.1", source="dsn"))
        assert reasons(session) == []

    await database.run(story)


async def test_a_tenant_sets_how_many_soft_bounces_are_enough(database: Database) -> None:
    def story(session: Session) -> None:
        mails.found(session)
        session.get_one(Tenant, 1).soft_bounces = 2
        bounce_softly(session, 2, LATER)
        assert reasons(session) == [(Reason.SOFT_BOUNCE, "stream:promotional")]

    await database.run(story)


async def test_a_delivery_ends_the_entry_and_the_count(database: Database) -> None:
    def story(session: Session) -> None:
        bounce_softly(session, 5, LATER)
        now = LATER + timedelta(days=5)
        told(session, sent(session), DELIVERED, now=now)
        assert reasons(session) == []
        lifted = session.exec(select(Entry)).one()
        assert (lifted.lifted_by, lifted.lifted_at) == ("delivery", now)
        bounce_softly(session, 4, now + timedelta(hours=1))
        assert reasons(session) == []

    await database.run(story)


async def test_a_full_mailbox_at_rcpt_counts_like_one_that_is_told_later(database: Database) -> None:
    def story(session: Session) -> None:
        bounce_softly(session, 4, LATER)
        mails.add(session, 1, P)
        worker, (job,) = mails.claim(session, P, LATER)
        step = Step(intent=job)
        claims.commit(session, [step], worker, LATER)
        assert step.granted
        full = Outcome(job, Status.BOUNCED, reply="552 5.2.2 mailbox full", category="mailbox_full")
        claims.commit(session, [Step(full)], worker, LATER + timedelta(days=4))
        assert reasons(session) == [(Reason.SOFT_BOUNCE, "stream:promotional")]
        sums = mails.sums(session)
        assert (sums["bounced"], sums["returned"], sums["soft_bounced"]) == (1, 4, 5)

    await database.run(story)


async def test_after_erasure_a_report_moves_the_mail_and_names_nobody(database: Database) -> None:
    def story(session: Session) -> None:
        identifier = sent(session)
        told(session, sent(session), FULL._replace(diagnostic="ann is full"))
        lost = HARD._replace(message_id="<1@x.example>", recipient="P0@example.org")
        provider(lost, session)
        erase(session, 1, (mails.fingerprint("p0@example.org"),), LATER, None)
        session.expire_all()
        for kept in session.exec(select(Told)):
            assert (kept.recipient, kept.message_id, kept.diagnostic, kept.fingerprint) == (None, None, None, None)
        told(session, identifier, HARD)
        assert mails.email(session, identifier).status is Status.BOUNCED
        assert [reason for reason, _scope in reasons(session)] == [Reason.UNSUBSCRIBE]

    await database.run(story)


async def test_what_is_not_done_is_looked_for_by_its_own_index(sqlite: Database) -> None:
    """The clock asks every five seconds, beside a month of reports; PostgreSQL knows how few they are by itself."""

    def story(session: Session) -> None:
        works = (
            lambda: hearing.waiting(session),
            lambda: hearing.give_up(session, NOW),
            lambda: hearing.listing(session, ToldState.UNMATCHED, limit=9),
        )
        for work in works:
            (asked, *_others) = plans.statements(session, work)
            assert "told_open" in plans.plan(session, asked), asked.sql

    await sqlite.run(story)
