"""A person has another address: each binds the other, and mail for later goes to the present one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import Session, col, select

from mailer import emails as mails
from mailer import erasure, moving, people
from mailer.database import Database
from mailer.models import Email
from mailer.moving import Moved
from mailer.people import Leaving
from mailer.status import Status
from mailer.submission import Intake
from suppression import address, entries, rules
from suppression.entries import Entry, NewEntry, Question
from suppression.rules import Origin, Reason, Stream
from tests.campaigns.world import asked, world_of
from tests.test_api_world import SETTINGS, Json, data, intake, paths, prepared
from tests.test_api_world import world as api_world
from tests.test_cli import Quick
from tests.test_cli_operating import inside, quick
from tests.test_people_kin import ANN, BOTH, NEW_ANN, OLD, World
from tests.test_submission import NOW

__all__ = ["quick"]

SOON = (NOW + timedelta(days=2)).isoformat()
PROOF = {"source": "profile page", "wording": "v7"}


@pytest.fixture
async def world(database: Database) -> World:
    tenant = await prepared(database, SETTINGS)
    return World(database, tenant.id or 0, intake(SETTINGS))


async def move(world: World, context: Intake | None = None) -> Moved:
    context = context or replace(world.context, fingerprints=BOTH)
    pair = address.parse(ANN), address.parse(NEW_ANN)
    return await world.database.run(
        lambda session: moving.move(session, world.tenant_id, *pair, context, NOW), conclusive=True
    )


async def blocked(world: World, fingerprint: bytes) -> bool:
    question = Question(fingerprint, Stream.PROMOTIONAL)
    return await world.read(lambda session: entries.check(session, world.tenant_id, question, NOW)) is not None


async def emails(world: World) -> dict[str, Email]:
    return await world.read(lambda session: {each.id: each for each in session.exec(select(Email))})


@pytest.mark.parametrize("left", [ANN, NEW_ANN])
@pytest.mark.parametrize("before", [True, False])
async def test_an_opt_out_of_either_address_holds_for_both(world: World, left: str, before: bool) -> None:
    for act in ("click", "move") if before else ("move", "click"):
        await (world.click(world.print_of(OLD, left)) if act == "click" else move(world))
    for prints in (OLD, BOTH):
        for email in (ANN, NEW_ANN):
            assert await blocked(world, world.print_of(prints, email))


async def test_mail_for_later_goes_to_the_present_address_and_what_is_due_to_the_former(world: World) -> None:
    later = await world.submit(OLD, to={"email": ANN, "name": "Ann"}, scheduled_at=SOON)
    due = await world.submit(OLD)
    shared = await world.submit(
        OLD,
        stream="transactional",
        to=[ANN, "bob@example.org"],
        template=None,
        variables={},
        subject="Hi",
        text="Hi",
        scheduled_at=SOON,
    )
    other = await world.submit(OLD, to="bob@example.org", scheduled_at=SOON)
    assert await move(world) == Moved(emails=1, cancelled=0)
    found = await emails(world)
    moved = found[later.id]
    assert (moved.address, moved.name, moved.fingerprint) == (NEW_ANN, "Ann", world.print_of(BOTH, NEW_ANN))
    assert (moved.status, moved.captured) == (Status.SCHEDULED, False)
    assert found[due.id].address == found[shared.id].address == ANN
    assert found[other.id].address == "bob@example.org"
    assert await move(world) == Moved(), "twice is once"


async def test_what_the_present_address_forbids_stops_the_mail_that_comes_to_it(world: World) -> None:
    later = await world.submit(OLD, scheduled_at=SOON)
    await world.add_silently(world.print_of(BOTH, NEW_ANN), Reason.HARD_BOUNCE, "all")
    await move(world)
    [email] = (await emails(world)).values()
    assert (email.id, email.status, email.suppression_reason) == (later.id, Status.SUPPRESSED, "hard_bounce")


async def test_a_bounce_of_the_former_address_does_not_follow(world: World) -> None:
    await world.add_silently(world.print_of(OLD), Reason.HARD_BOUNCE, "all")
    await move(world)
    assert await blocked(world, world.print_of(OLD))
    assert not await blocked(world, world.print_of(BOTH, NEW_ANN))


async def test_staging_sends_nothing_to_an_address_that_it_may_not_mail(world: World) -> None:
    later = await world.submit(OLD, scheduled_at=SOON)
    staging = replace(world.context, settings=replace(SETTINGS, only_to="*@example.org"), fingerprints=BOTH)
    await move(world, staging)
    assert (await emails(world))[later.id].captured


async def test_the_chosen_language_follows_and_a_language_of_the_new_address_stays(world: World) -> None:
    async def choose(email: str, locale: str) -> None:
        fingerprint = world.print_of(BOTH, email)
        await world.database.run(
            lambda session: people.choose_language(
                session, world.tenant_id, fingerprint, locale, address=email, now=NOW
            )
        )

    async def chosen() -> str | None:
        own, *others = world.named(BOTH, NEW_ANN)
        return await world.read(lambda session: people.preferences(session, world.tenant_id, own, NOW, others).locale)

    await choose(ANN, "uk")
    await move(world)
    assert await chosen() == "uk"
    assert (await world.submit(BOTH, to=NEW_ANN)).status is Status.QUEUED
    assert {each.locale for each in (await emails(world)).values()} == {"uk"}
    await choose(NEW_ANN, "en")
    await move(world)
    assert await chosen() == "en"


async def test_a_campaign_that_has_both_addresses_keeps_one(database: Database) -> None:
    campaigns = await world_of(database)
    campaign = await campaigns.create()
    only = await campaigns.create(**asked(name="Only one"))
    await campaigns.add(campaign, [{"email": ANN}, {"email": NEW_ANN}, {"email": "bob@example.org"}])
    await campaigns.add(only, [{"email": ANN}])
    pair = address.parse(ANN), address.parse(NEW_ANN)
    tenant_id, context = campaigns.sender.tenant_id, campaigns.context
    moved = await database.run(lambda session: moving.move(session, tenant_id, *pair, context, NOW), conclusive=True)
    assert moved == Moved(emails=1, cancelled=1)
    assert await campaigns.statuses(campaign) == {"held": 2, "cancelled": 1}
    assert {each.address for each in await campaigns.emails(campaign) if each.status is Status.HELD} == {
        NEW_ANN,
        "bob@example.org",
    }
    assert [each.address for each in await campaigns.emails(only)] == [NEW_ANN]


async def test_erasure_of_the_present_address_forgets_the_former_too(world: World) -> None:
    await world.submit(OLD)
    leaving = Leaving(
        tenant_id=world.tenant_id, fingerprint=world.print_of(OLD), scope=rules.STREAM_PROMOTIONAL, address=ANN
    )
    await world.database.run(lambda session: people.leave(session, leaving, NOW))
    await move(world)
    prints = tuple(world.named(BOTH, NEW_ANN))
    erased = await world.database.run(
        lambda session: erasure.erase(session, world.tenant_id, prints, NOW, None), conclusive=True
    )
    assert (erased.emails, ANN in erased.addresses) == (1, True)

    def known(session: Session) -> list[str | None]:
        return [*session.exec(select(Email.address)), *session.exec(select(Entry.address))]

    assert set(await world.read(known)) == {None}
    assert await blocked(world, world.print_of(OLD))


async def test_a_profile_page_tells_a_new_address_and_a_fresh_yes_in_one_request(database: Database) -> None:
    async with api_world(database) as service:
        api = await service.with_key("people", "admin", "send:promotional")
        await api.call("PATCH", "/v1/topics/surveys", {"default": "opt_out"})
        await api.call("PATCH", f"/v1/people/{ANN}", {"topics": {"surveys": True, "events": False}, **PROOF})

        def gets(answer: Json) -> dict[str, bool]:
            topics = answer["topics"]
            assert isinstance(topics, list)
            return {each["key"]: each["gets"] for each in topics}

        moved = data(await api.call("PATCH", f"/v1/people/{ANN}", {"email": NEW_ANN}))
        assert moved["email"] == NEW_ANN
        # What was left stays left; what was permitted is asked anew.
        assert (gets(moved)["events"], gets(moved)["surveys"]) == (False, False)
        again = {"email": NEW_ANN, "topics": {"surveys": True}}
        assert paths(await api.call("PATCH", f"/v1/people/{ANN}", again)) == ["source", "wording"]
        assert gets(data(await api.call("PATCH", f"/v1/people/{ANN}", {**again, **PROOF})))["surveys"]
        assert not gets(data(await api.get(f"/v1/people/{ANN}")))["events"]


@pytest.mark.parametrize(
    ("body", "path"),
    [({"email": "nobody"}, "email"), ({"email": None}, "email"), ({"email": NEW_ANN, "undo": True}, "undo")],
    ids=["no address", "null", "undo"],
)
async def test_a_new_address_that_cannot_be_is_one_sentence(sqlite: Database, body: Json, path: str) -> None:
    async with api_world(sqlite, scopes=["people"]) as api:
        answer = await api.call("PATCH", f"/v1/people/{ANN}", body)
        assert (answer.status_code, paths(answer)) == (422, [path])


async def test_tenants_keep_their_own_addresses(world: World) -> None:
    await move(world)
    new = NewEntry(
        tenant_id=world.tenant_id + 1,
        fingerprint=world.print_of(OLD),
        key_id="k1",
        reason=Reason.UNSUBSCRIBE,
        scope=rules.ALL,
        origin=Origin.RECIPIENT,
    )
    await world.database.run(lambda session: people.suppress(session, new, NOW))
    assert not await blocked(world, world.print_of(BOTH, NEW_ANN))


def test_support_corrects_an_address_and_a_language(quick: Quick) -> None:
    mail = ("--stream", "promotional", "--topic", "newsletter", "--subject", "News", "--text", "News.")
    sent, now = str(quick.json("send", *mail, "--to", ANN)["id"]), datetime.now(UTC)
    inside(quick, lambda session: mails.reschedule(session, 1, sent, now + timedelta(days=1), now))
    quick.run("suppression", "optout", ANN, "--topic", "events", "--note", "ticket 7")
    done = quick.json("people", "correct", ANN, "--email", NEW_ANN, "--locale", "uk")
    assert done == {"email": NEW_ANN, "emails": 1, "cancelled": 0}
    assert inside(quick, lambda session: list(session.exec(select(col(Email.address))))) == [NEW_ANN]
    told = quick.json("suppression", "why", NEW_ANN, "--stream", "promotional", "--topic", "events")
    assert told["allowed"] is False
    quick.run("send", *mail, "--to", NEW_ANN)
    assert set(inside(quick, lambda session: list(session.exec(select(col(Email.locale)))))) == {"en", "uk"}
    assert "corrected: 0 mails" in quick.run("people", "correct", NEW_ANN, "--no-locale").stdout
    for words, said in (
        ((), "--email, --locale or --no-locale"),
        (("--email", "nobody"), "has no @"),
        (("--locale", "uk", "--no-locale"), "leave one of them out"),
    ):
        assert said in quick.run("people", "correct", ANN, *words, code=2).stderr
