"""An opt-out holds when keys are replaced and addresses change, and what passes by itself ends no later mail."""

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import pytest
from sqlmodel import Session, col, select

from mailer import people, submission
from mailer.database import Database
from mailer.delivery import claims
from mailer.delivery.claims import Ask, Step, Worker
from mailer.drafts import Draft, parse
from mailer.models import Consent, Email, Tenant, Topic, TopicDefault
from mailer.people import Leaving
from mailer.status import Status
from mailer.submission import Accepted, Intake, Submitter
from suppression import address, entries, rules
from suppression.address import Fingerprints
from suppression.entries import Entry, KinKind, NewEntry, Question
from suppression.rules import Origin, Reason, Stream
from tests.delivery import mails
from tests.test_api_world import SETTINGS, intake, news, prepared
from tests.test_submission import NOW

ANN, NEW_ANN = "ann@example.org", "ann@elsewhere.example"
OLD = Fingerprints("k1:" + "a" * 32)
BOTH = Fingerprints("k2:" + "b" * 32 + ",k1:" + "a" * 32)
YOUNG = Fingerprints("k2:" + "b" * 32)
P = Stream.PROMOTIONAL
T = TypeVar("T")


class World:
    """Tenant `default`, whose suppression keys change."""

    def __init__(self, database: Database, tenant_id: int, context: Intake) -> None:
        self.database, self.tenant_id, self.context = database, tenant_id, context

    def named(self, prints: Fingerprints, email: str = ANN) -> dict[bytes, str]:
        return prints.named(self.tenant_id, address.parse(email).canonical)

    def print_of(self, prints: Fingerprints, email: str = ANN) -> bytes:
        return next(iter(self.named(prints, email)))

    async def submit(self, prints: Fingerprints, **asked: object) -> Accepted:
        context = Intake(settings=self.context.settings, fingerprints=prints, links=self.context.links)
        draft = parse(Draft, news(**{"to": ANN, **asked}))
        sender = Submitter.trusted(self.tenant_id)
        return await self.database.run(lambda session: submission.submit(session, sender, draft, context, NOW))

    async def click(self, fingerprint: bytes) -> None:
        leaving = Leaving(tenant_id=self.tenant_id, fingerprint=fingerprint, scope=rules.STREAM_PROMOTIONAL)
        await self.database.run(lambda session: people.leave(session, leaving, NOW), conclusive=True)

    async def add_silently(self, fingerprint: bytes, reason: Reason, scope: str) -> None:
        """Write an entry that stops nothing that waits: only the intent can meet it."""
        new = NewEntry(
            tenant_id=self.tenant_id,
            fingerprint=fingerprint,
            key_id="k1",
            reason=reason,
            scope=rules.parse_scope(scope),
            origin=Origin.RECIPIENT,
        )
        await self.database.run(lambda session: entries.add(session, new, NOW))

    async def go(self) -> list[Email]:
        """Let a worker try everything; return the emails after their intents."""

        def verb(session: Session) -> None:
            worker = Worker(claims.open_lease(session, P, "me", NOW))
            jobs = claims.claim(session, Ask(P, None, worker.lease, 100), NOW)
            mails.commit(session, [Step(intent=job) for job in jobs], worker, NOW)

        await self.database.run(verb)
        return await self.read(lambda session: list(session.exec(select(Email).order_by(col(Email.id)))))

    async def read(self, verb: Callable[[Session], T]) -> T:
        return await self.database.read(verb)

    async def relate(self, group: dict[bytes, str], kind: KinKind) -> None:
        await self.database.run(lambda session: entries.relate(session, self.tenant_id, [group], kind, NOW))

    async def family(self, fingerprint: bytes, *, mailbox: bool = False) -> set[bytes]:
        return set(
            await self.read(lambda session: entries.family(session, self.tenant_id, [fingerprint], mailbox=mailbox))
        )


@pytest.fixture
async def world(database: Database) -> World:
    tenant = await prepared(database, SETTINGS)
    return World(database, tenant.id or 0, intake(SETTINGS))


async def test_a_click_on_an_old_link_stops_mail_accepted_under_a_newer_key(world: World) -> None:
    await world.submit(OLD)
    await world.submit(BOTH)
    await world.click(world.print_of(OLD))
    emails = await world.go()
    assert [email.status for email in emails] == [Status.SUPPRESSED, Status.SUPPRESSED]
    assert [email.intent_at for email in emails] == [None, None]
    entry = (await world.read(lambda session: session.exec(select(Entry)).all()))[0]
    assert entry.key_id == "k1", "the key that made the fingerprint, not the newest"
    assert (await world.submit(BOTH)).status is Status.SUPPRESSED


async def test_a_click_on_a_new_link_stops_mail_accepted_under_an_older_key(world: World) -> None:
    await world.submit(OLD)
    await world.submit(BOTH, to="bob@example.org")
    await world.relate(world.named(BOTH), KinKind.KEY)
    await world.click(world.print_of(BOTH))
    assert [email.status for email in await world.go()] == [Status.SUPPRESSED, Status.SENDING]
    entry = (await world.read(lambda session: session.exec(select(Entry)).all()))[0]
    assert entry.key_id == "k2"


async def test_the_intent_meets_an_entry_of_another_fingerprint_by_itself(world: World) -> None:
    accepted = await world.submit(BOTH)
    await world.add_silently(world.print_of(OLD), Reason.UNSUBSCRIBE, "stream:promotional")
    [email] = await world.go()
    assert (email.id, email.status, email.intent_at) == (accepted.id, Status.SUPPRESSED, None)
    assert email.suppression_reason == "unsubscribe"


async def test_an_opt_out_outlives_the_retirement_of_its_key(world: World) -> None:
    await world.submit(BOTH)
    await world.click(world.print_of(OLD))
    assert (await world.submit(YOUNG)).status is Status.SUPPRESSED
    third = Fingerprints("k3:" + "c" * 32 + ",k2:" + "b" * 32)
    await world.submit(third, to="someone@example.org")
    assert (await world.submit(third)).status is Status.SUPPRESSED
    # By k3 alone the oldest entry is found in one step: kin of one are kin of all.
    assert (await world.submit(Fingerprints("k3:" + "c" * 32))).status is Status.SUPPRESSED


async def test_a_former_address_binds_the_present_one_but_its_bounces_do_not(world: World) -> None:
    old, new = world.print_of(OLD), world.print_of(OLD, NEW_ANN)
    await world.relate({old: "k1", new: "k1"}, KinKind.ADDRESS)
    await world.submit(OLD, to=NEW_ANN)
    await world.add_silently(old, Reason.HARD_BOUNCE, "all")
    [email] = await world.go()
    assert (email.status, email.intent_at) == (Status.SENDING, NOW)
    assert (await world.submit(OLD, to=ANN)).status is Status.SUPPRESSED
    waiting = await world.submit(OLD, to=NEW_ANN)
    assert waiting.status is Status.QUEUED
    await world.click(old)
    by_id = {email.id: email for email in await world.go()}
    assert by_id[waiting.id].status is Status.SUPPRESSED
    assert by_id[waiting.id].suppression_reason == "unsubscribe"
    assert (await world.submit(OLD, to=NEW_ANN)).status is Status.SUPPRESSED
    assert await world.family(new, mailbox=True) == {new}
    assert await world.family(new) == {old, new}


async def test_a_change_of_address_and_of_keys_joins_everybody(world: World) -> None:
    await world.relate(world.named(BOTH), KinKind.KEY)
    await world.relate(world.named(BOTH, NEW_ANN), KinKind.KEY)
    await world.relate({world.print_of(BOTH): "k2", world.print_of(BOTH, NEW_ANN): "k2"}, KinKind.ADDRESS)
    everybody = {*world.named(BOTH), *world.named(BOTH, NEW_ANN)}
    for one in everybody:
        assert await world.family(one) == everybody
    assert await world.family(world.print_of(OLD), mailbox=True) == set(world.named(BOTH))


async def test_kin_never_cross_tenants(world: World) -> None:
    await world.relate(world.named(BOTH), KinKind.KEY)
    await world.add_silently(world.print_of(OLD), Reason.UNSUBSCRIBE, "all")
    question = Question(world.print_of(BOTH), P)
    assert await world.read(lambda session: entries.check(session, world.tenant_id, question, NOW)) is not None
    assert await world.read(lambda session: entries.check(session, world.tenant_id + 1, question, NOW)) is None


async def snooze(world: World, until: timedelta) -> None:
    new = NewEntry(
        tenant_id=world.tenant_id,
        fingerprint=world.print_of(OLD),
        key_id="k1",
        reason=Reason.SNOOZE,
        scope=rules.STREAM_PROMOTIONAL,
        origin=Origin.RECIPIENT,
        expires_at=NOW + until,
    )
    await world.database.run(lambda session: people.suppress(session, new, NOW))


async def test_a_snooze_ends_no_mail_that_is_due_after_it(world: World) -> None:
    before = await world.submit(OLD, scheduled_at=(NOW + timedelta(days=29)).isoformat())
    after = await world.submit(OLD, scheduled_at=(NOW + timedelta(days=31)).isoformat())
    await snooze(world, timedelta(days=30))
    later = await world.submit(OLD, scheduled_at=(NOW + timedelta(days=30)).isoformat())
    now = await world.submit(OLD)
    found = {email.id: email.status for email in await world.go()}
    assert found == {
        before.id: Status.SUPPRESSED,
        after.id: Status.SCHEDULED,
        later.id: Status.SCHEDULED,
        now.id: Status.SUPPRESSED,
    }


async def ask_for_a_yes(world: World) -> None:
    def verb(session: Session) -> None:
        topic = session.exec(
            select(Topic).where(col(Topic.tenant_id) == world.tenant_id, col(Topic.key) == "newsletter")
        ).one()
        topic.default = TopicDefault.OPT_OUT

    await world.database.run(verb)


async def say(world: World, prints: Fingerprints, number: int, *, granted: bool, hours: int | None = None) -> None:
    consent = Consent(
        id=f"co_{number:026}",
        tenant_id=world.tenant_id,
        fingerprint=world.print_of(prints),
        key_id=prints.primary_id,
        purpose=people.purpose_of("newsletter"),
        granted=granted,
        source="form",
        at=NOW,
        expires_at=NOW + timedelta(hours=hours) if hours is not None else None,
    )
    await world.database.run(lambda session: session.add(consent))


async def test_a_topic_that_needs_a_yes_goes_to_nobody_else(world: World) -> None:
    waiting = await world.submit(OLD)
    await ask_for_a_yes(world)
    refused = await world.submit(OLD)
    assert (refused.status, refused.emails[0].suppression) == (Status.SUPPRESSED, None)
    found = {email.id: email for email in await world.go()}
    assert {email.status for email in found.values()} == {Status.SUPPRESSED}
    assert found[waiting.id].suppression_reason == found[refused.id].suppression_reason == people.NOT_OPTED_IN
    assert found[waiting.id].intent_at is None


@pytest.mark.parametrize(
    ("answers", "goes"),
    [
        ([(OLD, True, None)], True),
        ([(OLD, True, None), (OLD, False, None)], False),
        ([(OLD, False, None), (OLD, True, None)], True),
        ([(OLD, True, None), (BOTH, False, None)], False),
        ([(BOTH, False, None), (OLD, True, None)], True),
        ([(OLD, True, 0)], False),
        ([(OLD, True, 1)], True),
    ],
)
async def test_the_newest_answer_holds_under_whichever_key(
    world: World, answers: list[tuple[Fingerprints, bool, int | None]], goes: bool
) -> None:
    waiting = await world.submit(BOTH)
    await ask_for_a_yes(world)
    for number, (prints, granted, hours) in enumerate(answers):
        await say(world, prints, number, granted=granted, hours=hours)
    accepted = await world.submit(BOTH)
    assert (accepted.status is Status.QUEUED) is goes
    found = {email.id: email for email in await world.go()}
    assert (found[waiting.id].intent_at is not None) is goes


@pytest.mark.parametrize("policy", [True, False])
async def test_a_complaint_stops_transactional_mail_only_where_the_tenant_says_so(world: World, policy: bool) -> None:
    def verb(session: Session) -> None:
        session.get_one(Tenant, world.tenant_id).complaints_block = policy
        new = NewEntry(
            tenant_id=world.tenant_id,
            fingerprint=world.print_of(OLD),
            key_id="k1",
            reason=Reason.COMPLAINT,
            scope=rules.STREAM_PROMOTIONAL,
            origin=Origin.PROVIDER,
            evidence={"email_id": "em_1"},
        )
        for _ in range(2):
            people.suppress(session, new, NOW)

    await world.database.run(verb)
    found = await world.read(lambda session: session.exec(select(Entry).order_by(col(Entry.scope))).all())
    expected = [("complaint", "stream:promotional")] + [("manual", "stream:transactional")] * policy
    assert [(entry.reason, entry.scope) for entry in found] == expected
    question = Question(world.print_of(OLD), Stream.TRANSACTIONAL)
    deciding = await world.read(lambda session: entries.check(session, world.tenant_id, question, NOW))
    assert (deciding is not None) is policy
    if policy:
        assert found[1].evidence == {"email_id": "em_1", "complaint": found[0].id}
