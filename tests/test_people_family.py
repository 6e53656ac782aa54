"""A person is known as a whole: whatever key is the newest, and whichever of their addresses is asked about."""

import hashlib

import pytest
from sqlalchemy import event
from sqlmodel import Session, select

from mailer import people
from mailer.database import Database
from mailer.exchanging import Import, Order
from mailer.models import Consent, Email
from mailer.status import Status
from suppression import entries
from suppression.entries import KinKind, Question
from suppression.exchange import Options
from suppression.rules import Stream
from tests.test_api_world import SETTINGS, intake, prepared
from tests.test_cli import Quick
from tests.test_cli_operating import inside, quick
from tests.test_people_kin import BOTH, NEW_ANN, OLD, World
from tests.test_submission import NOW

__all__ = ["quick"]

OLD_RING, NEW_RING = "k1:" + "a" * 32, "k2:" + "b" * 32 + ",k1:" + "a" * 32


@pytest.fixture
async def world(database: Database) -> World:
    tenant = await prepared(database, SETTINGS)
    return World(database, tenant.id or 0, intake(SETTINGS))


def test_support_opts_out_whose_mail_was_accepted_under_an_older_key(quick: Quick) -> None:
    mail = ("--stream", "promotional", "--topic", "newsletter", "--subject", "News", "--text", "News.")
    quick.env["MAILER_SUPPRESSION_KEY"] = OLD_RING
    quick.run("send", *mail, "--to", "ann@example.org")
    quick.env["MAILER_SUPPRESSION_KEY"] = NEW_RING
    quick.run("suppression", "optout", "ann@example.org", "--note", "ticket 7")
    [status] = inside(quick, lambda session: list(session.exec(select(Email.status))))
    assert status is Status.SUPPRESSED


async def test_an_imported_opt_out_stops_mail_that_was_accepted_under_an_older_key(world: World) -> None:
    waiting = await world.submit(OLD)
    order = Order(database=world.database, fingerprints=BOTH, tenant_id=world.tenant_id, form="list", now=lambda: NOW)
    lines = b"email,reason\nann@example.org,unsubscribe\nbob@example.org,unsubscribe\n"
    told = await Import(order=order, options=Options(), digest=hashlib.sha256(lines).hexdigest()).lines(
        [lines], lambda _refusal: None
    )
    assert told.counts == {"new": 2, "standing": 0, "nothing": 0, "refused": 0}
    emails = {email.id: email.status for email in await world.go()}
    assert emails[waiting.id] is Status.SUPPRESSED
    # Who had no mail is known by the older key too: that is what a link in their mailbox says.
    question = Question(world.print_of(OLD, "bob@example.org"), Stream.PROMOTIONAL)
    assert await world.read(lambda session: entries.check(session, world.tenant_id, question, NOW)) is not None


async def answer(world: World, number: int, fingerprint: bytes, *, granted: bool) -> None:
    consent = Consent(
        id=f"co_{number:026}",
        tenant_id=world.tenant_id,
        fingerprint=fingerprint,
        key_id="k1",
        purpose=people.TRACKING,
        granted=granted,
        source="page",
        at=NOW,
    )
    await world.database.run(lambda session: session.add(consent))


@pytest.mark.parametrize(
    ("said", "holds"),
    [
        ([], None),
        ([("older key", True)], True),
        ([("older key", True), ("own", False)], False),
        ([("own", False), ("older key", True)], True),
        ([("former address", False)], False),
        ([("former address", False), ("own", True)], True),
        ([("own", True), ("former address", False)], False),
        # A yes is of the mailbox that gave it.
        ([("former address", True)], None),
        ([("own", True), ("former address", False), ("former address", True)], True),
    ],
    ids=str,
)
async def test_the_newest_answer_to_tracking_is_the_persons(
    world: World, said: list[tuple[str, bool]], holds: bool | None
) -> None:
    await world.relate(world.named(BOTH), KinKind.KEY)
    await world.relate({world.print_of(BOTH): "k2", world.print_of(BOTH, NEW_ANN): "k2"}, KinKind.ADDRESS)
    prints = {
        "own": world.print_of(BOTH),
        "older key": world.print_of(OLD),
        "former address": world.print_of(BOTH, NEW_ANN),
    }
    for number, (who, granted) in enumerate(said):
        await answer(world, number, prints[who], granted=granted)

    def verb(session: Session) -> tuple[dict[bytes, bool], bool | None]:
        asked = [prints["own"], world.print_of(BOTH, "bob@example.org")]
        shown = people.preferences(session, world.tenant_id, prints["own"], NOW).tracking
        return people.tracking_choices(session, world.tenant_id, asked), shown

    choices, shown = await world.read(verb)
    assert choices == ({} if holds is None else {prints["own"]: holds})
    assert shown is holds


async def test_an_answer_of_an_older_key_is_found_before_anybody_related_them(world: World) -> None:
    await answer(world, 1, world.print_of(OLD), granted=False)
    own, *others = world.named(BOTH)
    found = await world.read(lambda session: people.preferences(session, world.tenant_id, own, NOW, others).tracking)
    assert found is False


async def test_a_thousand_choices_are_one_statement(world: World) -> None:
    statements: list[str] = []

    def verb(session: Session) -> dict[bytes, bool]:
        def noted(*told: object) -> None:
            statements.append(str(told[2]))

        bind = session.connection()
        event.listen(bind, "before_cursor_execute", noted)
        try:
            return people.tracking_choices(session, world.tenant_id, [number.to_bytes(16) for number in range(1000)])
        finally:
            event.remove(bind, "before_cursor_execute", noted)

    assert await world.read(verb) == {}
    assert len(statements) == 1
