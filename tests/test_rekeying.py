"""Keys are replaced: older fingerprints get kin, nothing is lost with a key, DKIM keys open with the new one."""

import pytest
from sqlmodel import Session, select

from mailer import keyring, rekeying
from mailer.database import Database
from mailer.errors import Conflict, NotFound
from mailer.keyring import Keyring
from mailer.models import DkimAlgorithm, DkimKey, Person
from mailer.rekeying import Place
from mailer.sealing import SealBroken, Seals
from mailer.status import Status
from suppression import entries
from suppression.address import Fingerprints
from suppression.entries import Entry, WrongKey, check_keys
from suppression.rules import ALL, Origin, Reason
from tests.test_api_world import SETTINGS, intake, prepared
from tests.test_people_kin import ANN, BOTH, OLD, YOUNG, World
from tests.test_submission import NOW


@pytest.fixture
async def world(database: Database) -> World:
    tenant = await prepared(database, SETTINGS)
    world = World(database, tenant.id or 0, intake(SETTINGS))
    await database.run(lambda session: check_keys(session, OLD, NOW))
    return world


BACKWARDS = Fingerprints("k1:" + "a" * 32 + ",k2:" + "b" * 32)


async def walk(world: World, prints: Fingerprints = BOTH) -> int:
    place, read = Place(), 0
    while True:
        done = await world.database.run(lambda session, at=place: rekeying.step(session, prints, at, NOW))  # type: ignore[misc]
        read += done.read
        if done.next is None:
            return read
        place = done.next


async def retire(world: World, prints: Fingerprints = BOTH, key_id: str = "k1") -> None:
    await world.database.run(lambda session: rekeying.retire(session, prints, key_id, NOW))


async def rotate(world: World) -> None:
    await world.database.run(lambda session: check_keys(session, BOTH, NOW))


async def test_an_old_link_stops_new_mail_after_the_old_key_is_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rekeying, "STEP", 2)
    for number in range(5):
        await world.submit(OLD, to=f"p{number}@example.org")
    await world.submit(OLD)
    await rotate(world)
    assert await walk(world) == 6
    await retire(world)
    await world.database.run(lambda session: check_keys(session, YOUNG, NOW))
    waiting = await world.submit(YOUNG)
    assert waiting.status is Status.QUEUED
    await world.click(world.print_of(OLD))
    assert {email.id: email.status for email in await world.go()}[waiting.id] is Status.SUPPRESSED
    [entry] = await world.read(lambda session: session.exec(select(Entry)).all())
    assert entry.key_id == "k1"


async def test_the_walk_reads_entries_and_people_and_mends_what_was_guessed(world: World) -> None:
    await rotate(world)

    def verb(session: Session) -> None:
        new = entries.NewEntry(
            tenant_id=world.tenant_id,
            fingerprint=world.print_of(BOTH),
            key_id="k1",
            reason=Reason.MANUAL,
            scope=ALL,
            origin=Origin.ADMIN,
            address=ANN,
        )
        entries.add(session, new, NOW)
        bob = world.print_of(OLD, "bob@example.org")
        session.add(
            Person(tenant_id=world.tenant_id, fingerprint=bob, key_id="k1", address="bob@example.org", changed_at=NOW)
        )

    await world.database.run(verb)
    assert await walk(world) == 2
    [entry] = await world.read(lambda session: session.exec(select(Entry)).all())
    assert entry.key_id == "k2"
    assert await world.family(world.print_of(BOTH, "bob@example.org")) == set(world.named(BOTH, "bob@example.org"))
    await retire(world)


async def test_a_key_whose_opt_outs_nobody_else_finds_stays(world: World) -> None:
    await world.click(world.print_of(OLD))
    await rotate(world)
    await walk(world)
    with pytest.raises(Conflict, match="1 suppressions"):
        await retire(world)
    with pytest.raises(WrongKey, match="not in the ring"):
        await world.database.run(lambda session: check_keys(session, YOUNG, NOW))
    with pytest.raises(Conflict, match="first key"):
        await retire(world, key_id="k2")
    with pytest.raises(NotFound):
        await retire(world, key_id="k9")


async def test_a_retired_key_signs_nothing_again(world: World) -> None:
    await rotate(world)
    await retire(world)
    with pytest.raises(WrongKey, match="is retired"):
        await world.database.run(lambda session: check_keys(session, BACKWARDS, NOW))


async def test_dkim_keys_are_sealed_anew(world: World) -> None:
    old, both, new = (Keyring(Seals(ring, "dkim")) for ring in (TOKENS_OLD, f"{TOKENS_NEW},{TOKENS_OLD}", TOKENS_NEW))
    pair = keyring.generate(DkimAlgorithm.ED25519)
    await world.database.run(lambda session: old.add(session, world.tenant_id, "ringwise.example", pair, now=NOW))
    with pytest.raises(SealBroken):
        new.signer(await sealed(world))
    assert await world.database.run(both.reseal) == 1
    assert await world.database.run(both.reseal) == 0
    key = await sealed(world)
    assert Seals.key_of(key.private_key) == "n"
    assert new.signer(key).record == both.signer(key).record


TOKENS_OLD, TOKENS_NEW = "o:" + "o" * 32, "n:" + "n" * 32


async def sealed(world: World) -> DkimKey:
    return await world.read(lambda session: session.exec(select(DkimKey)).one())
