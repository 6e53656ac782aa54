"""Suppression lists in and out of a database: nothing is lifted, nothing is lost, and a cut-off import goes on."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import col, select

from mailer import people, tenancy
from mailer.database import Database
from mailer.drafts import TopicDraft, parse
from mailer.errors import Invalid
from mailer.exchanging import Export, Import, Imported, Order, options_of
from mailer.models import Event, SuppressionImport
from suppression import address, entries
from suppression.address import Fingerprints
from suppression.entries import Entry, KinKind, NewEntry, Question
from suppression.exchange import Options, Syntax
from suppression.lines import Refusal
from suppression.rules import ALL, STREAM_PROMOTIONAL, Origin, Reason, Scope, Stream
from tests.campaigns.world import World as Campaigns
from tests.campaigns.world import world_of

NOW = datetime(2027, 3, 1, 9, 30, tzinfo=UTC)
RING = "k1:" + "secret" * 6


@dataclass
class World:
    """Tenant `default` and its lists."""

    database: Database
    campaigns: Campaigns
    tenant_id: int
    prints: Fingerprints
    now: datetime = NOW

    def order(self, form: str = "list", *, dry_run: bool = False, tenant_id: int | None = None) -> Order:
        return Order(
            database=self.database,
            fingerprints=self.prints,
            tenant_id=tenant_id or self.tenant_id,
            form=form,
            now=lambda: self.now,
            dry_run=dry_run,
        )

    async def bring(
        self, data: bytes, form: str = "list", options: Options | None = None, *, dry_run: bool = False
    ) -> tuple[Imported, list[Refusal]]:
        lines: list[Refusal] = []
        asked = Import(order=self.order(form, dry_run=dry_run), options=options or Options())
        return await asked.lines([data], lines.append), lines

    async def all(self) -> list[Entry]:
        return await self.database.read(
            lambda session: list(session.exec(select(Entry).order_by(col(Entry.address), col(Entry.id))))
        )

    async def carried(self, syntax: Syntax, *, past: bool = False, reason: Reason | None = None) -> bytes:
        asked = Export(
            database=self.database,
            tenant_id=self.tenant_id,
            syntax=syntax,
            now=lambda: self.now,
            past=past,
            reason=reason,
        )
        return b"".join([piece async for piece in asked.pieces()])

    def new(self, email: str, reason: Reason, scope: Scope, expires_at: datetime | None = None) -> NewEntry:
        return NewEntry(
            tenant_id=self.tenant_id,
            fingerprint=self.prints.of(self.tenant_id, address.parse(email).canonical),
            key_id=self.prints.primary_id,
            reason=reason,
            scope=scope,
            origin=Origin.RECIPIENT,
            address=email,
            expires_at=expires_at,
        )

    async def suppress(self, new: NewEntry) -> Entry:
        return (await self.database.run(lambda session: people.suppress(session, new, self.now))).entry

    async def told(self) -> list[str]:
        return await self.database.read(lambda s: [event.kind for event in s.exec(select(Event))])


@pytest.fixture
async def world(database: Database) -> World:
    found = await world_of(database)
    assert found.tenant.id is not None
    return World(database, found, found.tenant.id, Fingerprints(RING))


LIST = b"""email,reason,scope,created_at,expires_at,note
ann@example.org,unsubscribe,stream:promotional,2024-05-06T07:08:09Z,,
Ann@Example.org,unsubscribe,stream:promotional,2025-05-06T07:08:09Z,,named twice
bob@example.org,hard_bounce,,2024-01-01,,550 no such user
cid@example.org,snooze,,2027-02-20,2027-03-20T00:00:00Z,
dan@example.org,snooze,,2027-01-01,2027-02-01T00:00:00Z,over
eve@example.org,complaint,,2030-01-01,,from the future
nobody,unsubscribe,,,,
"""


async def test_reason_and_date_are_kept_and_each_line_counts_once(world: World) -> None:
    told, lines = await world.bring(LIST)
    assert told.counts == {"new": 4, "standing": 1, "nothing": 1, "refused": 1}
    assert told.kinds["hard_bounce all"] == 1
    assert lines == [Refusal(8, "the address has no @")]
    found = {entry.address: entry for entry in await world.all()}
    ann = found["ann@example.org"]
    assert (ann.origin, ann.created_at) == (Origin.IMPORT, datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC))
    assert (found["bob@example.org"].reason, found["bob@example.org"].note) == (Reason.HARD_BOUNCE, "550 no such user")
    assert found["cid@example.org"].expires_at == datetime(2027, 3, 20, tzinfo=UTC)
    assert found["eve@example.org"].created_at == NOW
    assert sorted(await world.told()) == ["suppression.created"] * 4
    again, _ = await world.bring(LIST)
    assert again.counts == {"new": 0, "standing": 5, "nothing": 1, "refused": 1}
    assert len(await world.all()) == 4


async def test_a_preview_says_the_same_and_writes_nothing(world: World) -> None:
    await world.suppress(world.new("bob@example.org", Reason.HARD_BOUNCE, ALL))
    told, lines = await world.bring(LIST, dry_run=True)
    assert told.counts == {"new": 3, "standing": 2, "nothing": 1, "refused": 1}
    assert (told.dry_run, len(lines), len(await world.all())) == (True, 1, 1)
    real, _ = await world.bring(LIST)
    assert (real.counts, real.kinds) == (told.counts, told.kinds)


async def test_an_import_lifts_and_shortens_nothing(world: World) -> None:
    end = NOW + timedelta(days=90)
    snooze = await world.suppress(world.new("cid@example.org", Reason.SNOOZE, STREAM_PROMOTIONAL, expires_at=end))
    left = await world.suppress(world.new("ann@example.org", Reason.UNSUBSCRIBE, STREAM_PROMOTIONAL))
    listed = (
        b"email,reason,scope,lifted_at,expires_at\nann@example.org,unsubscribe,stream:promotional,2026-01-01,\n"
        b"ann@example.org,unsubscribe,topic:newsletter,,\ncid@example.org,snooze,,,2027-03-05\n"
    )
    told, _ = await world.bring(listed)
    assert told.counts == {"new": 1, "standing": 1, "nothing": 1, "refused": 0}
    found = {entry.id: entry for entry in await world.all()}
    assert found[left.id] == left
    assert found[snooze.id].expires_at == end
    longer = b"email,reason,expires_at\ncid@example.org,snooze,2028-01-01\n"
    await world.bring(longer)
    assert {entry.id: entry for entry in await world.all()}[snooze.id].expires_at == datetime(2028, 1, 1, tzinfo=UTC)
    await world.bring(b'{"email": "ann@example.org", "status": "enabled"}', "listmonk")
    assert all(entry.lifted_at is None for entry in await world.all())


async def test_an_entry_that_time_ended_makes_room_for_one_that_is_brought_in(world: World) -> None:
    ends = NOW - timedelta(days=1)
    new = world.new("cid@example.org", Reason.SNOOZE, STREAM_PROMOTIONAL, expires_at=ends)
    await world.database.run(lambda session: entries.add(session, new, NOW - timedelta(days=9)))
    told, _ = await world.bring(b"email,reason,expires_at\ncid@example.org,snooze,2027-04-01\n")
    assert told.new == 1
    old, fresh = sorted(await world.all(), key=lambda entry: entry.id)
    assert (old.lifted_at, old.lifted_by) == (ends, "time")
    assert fresh.live(NOW)


async def test_mail_that_waits_is_stopped_at_once(world: World) -> None:
    sender = world.campaigns
    world.prints = sender.context.fingerprints
    campaign = await sender.create()
    await sender.add(campaign, [f"p{place}@example.org" for place in range(60)])
    await sender.start(campaign)
    listed = b"".join(b"p%d@example.org\n" % place for place in range(50))
    told, _ = await world.bring(listed, options=Options(reason=Reason.UNSUBSCRIBE))
    assert told.new == 50
    assert await sender.statuses(campaign) == {"suppressed": 50, "held": 10}
    await sender.check_sums(campaign)
    kinds = await world.told()
    assert kinds.count("email.suppressed") == kinds.count("suppression.created") == 50


@pytest.mark.parametrize("related", [False, True], ids=["by-the-hundred", "one-by-one"])
async def test_a_list_brings_back_no_address_of_who_was_erased(world: World, related: bool) -> None:
    if related:
        # Who has older fingerprints is stopped alone; either way leaves the address out.
        world.prints = Fingerprints(f"k2:{'other' * 8},{RING}")
        named = world.prints.named(world.tenant_id, address.parse("ann@example.org").canonical)
        await world.database.run(
            lambda session: entries.relate(session, world.tenant_id, [named], KinKind.KEY, world.now)
        )
    print_ = world.prints.of(world.tenant_id, address.parse("ann@example.org").canonical)
    gone = NewEntry(
        tenant_id=world.tenant_id,
        fingerprint=print_,
        key_id=world.prints.primary_id,
        reason=Reason.UNSUBSCRIBE,
        scope=ALL,
        origin=Origin.ERASURE,
    )
    await world.database.run(lambda session: people.suppress(session, gone, world.now))
    listed = b"email,reason,note\nann@example.org,complaint,Ann called\nbob@example.org,complaint,\n"
    told, _ = await world.bring(listed)
    assert told.new == 2
    entry = next(each for each in await world.all() if each.fingerprint == print_ and each.reason is Reason.COMPLAINT)
    assert (entry.address, entry.note, entry.evidence) == (None, None, {"list": "list"})
    assert "bob@example.org" in [each.address for each in await world.all()]


async def test_an_entry_by_an_older_key_stands(world: World) -> None:
    await world.bring(b"email,reason\nann@example.org,complaint\n")
    world.prints = Fingerprints("k2:" + "another" * 6 + "," + RING)
    told, _ = await world.bring(b"email,reason\nann@example.org,complaint\nbob@example.org,complaint\n")
    assert told.counts == {"new": 1, "standing": 1, "nothing": 0, "refused": 0}
    assert [entry.key_id for entry in await world.all()] == ["k1", "k2"]


async def test_a_list_belongs_to_its_tenant(world: World) -> None:
    other = await world.database.run(lambda s: tenancy.create_tenant(s, "other", sender="a@other.example", now=NOW))
    assert other.id is not None
    asked = Import(order=world.order(tenant_id=other.id), options=Options())
    await asked.lines([LIST], lambda _refusal: None)
    assert {entry.tenant_id for entry in await world.all()} == {other.id}
    assert await world.carried(Syntax.NDJSON) == b""
    ann = world.prints.of(world.tenant_id, "ann@example.org")
    allowed = await world.database.read(
        lambda session: entries.check(session, world.tenant_id, Question(ann, Stream.PROMOTIONAL), NOW)
    )
    assert allowed is None


@pytest.mark.parametrize("syntax", Syntax)
async def test_what_goes_out_comes_back_in(world: World, syntax: Syntax) -> None:
    await world.suppress(world.new("=cmd|x@example.org", Reason.UNSUBSCRIBE, ALL))
    await world.suppress(world.new("bob@example.org", Reason.UNSUBSCRIBE, Scope("topic:newsletter")))
    ends = NOW + timedelta(days=5)
    await world.suppress(world.new("cid@example.org", Reason.SOFT_BOUNCE, STREAM_PROMOTIONAL, expires_at=ends))
    lifted = await world.suppress(world.new("dan@example.org", Reason.HARD_BOUNCE, ALL))
    await world.database.run(
        lambda s: people.lift(s, world.tenant_id, lifted.id, "operator:eve", "a typo, said eve@example.org", NOW)
    )
    assert (await world.carried(syntax, reason=Reason.SOFT_BOUNCE)).count(b"example.org") == 1
    carried, history = await world.carried(syntax), await world.carried(syntax, past=True)
    assert (b"dan@" in carried, b"dan@" in history) == (False, True)
    before = [(each.address, each.reason, each.scope, each.created_at, each.expires_at) for each in await world.all()]
    other = await world.database.run(lambda s: tenancy.create_tenant(s, "other", sender="a@other.example", now=NOW))
    assert other.id is not None
    world.tenant_id = other.id
    told, lines = await world.bring(history)
    assert (told.new, told.nothing, lines) == (3, 1, [])
    mine = [each for each in await world.all() if each.tenant_id == other.id]
    assert [(each.address, each.reason, each.scope, each.created_at, each.expires_at) for each in mine] == [
        each for each in before if each[0] != "dan@example.org"
    ]
    assert [each.evidence and each.evidence["origin"] for each in mine] == ["recipient"] * 3


async def test_an_export_reads_on_page_after_page(world: World) -> None:
    listed = b"".join(b"p%d@example.org\n" % place for place in range(2345))
    await world.bring(listed, options=Options(reason=Reason.COMPLAINT))
    assert (await world.carried(Syntax.CSV)).count(b"\r\n") == 2346


class _Cut(Exception):
    """The connection broke."""


async def test_an_import_that_was_cut_off_goes_on_where_it_stopped(world: World) -> None:
    lines = [b"p%d@example.org,complaint\n" % place for place in range(5000)]
    data = b"email,reason\n" + b"".join(lines)
    asked = Import(order=world.order(), options=Options(), digest=hashlib.sha256(data).hexdigest(), resume=True)

    async def broken() -> AsyncIterator[bytes]:
        for start in range(0, len(data) * 3 // 4, 999):
            yield data[start : start + 999]
        raise _Cut

    with pytest.raises(_Cut):
        await asked.lines(broken(), lambda _refusal: None)
    kept = len(await world.all())
    assert 2000 < kept < 5000
    told = await asked.lines([data], lambda _refusal: None)
    assert told.counts == {"new": 5000, "standing": 0, "nothing": 0, "refused": 0}
    assert told.resumed_at > len(data) // 3
    assert len(await world.all()) == 5000
    row = await world.database.read(lambda session: session.exec(select(SuppressionImport)).one())
    assert (row.position, row.counts["new"], row.ended_at) == (len(data), 5000, NOW)
    again = await asked.lines([data], lambda _refusal: None)
    assert (again.standing, again.resumed_at) == (5000, 0)


async def test_a_wrong_digest_never_hides_lines(world: World) -> None:
    data = b"email,reason\n" + b"".join(b"p%d@example.org,complaint\n" % place for place in range(3000))
    asked = Import(order=world.order(), options=Options(), digest="0" * 64, resume=True)

    def broken() -> Iterator[bytes]:
        yield data[:50_000]
        raise _Cut

    with pytest.raises(_Cut):
        await asked.lines(broken(), lambda _refusal: None)
    other = data.replace(b"@example.org", b"@example.net")
    with pytest.raises(Invalid, match="is not the SHA-256 of this list"):
        await asked.lines([other], lambda _refusal: None)
    assert await world.database.read(lambda session: session.exec(select(SuppressionImport)).all()) == []
    told, _ = await world.bring(other)
    assert told.counts["new"] + told.counts["standing"] == 3000
    assert len([entry for entry in await world.all() if (entry.address or "").endswith("net")]) == 3000


async def test_two_imports_of_one_list_at_once_make_each_entry_once(world: World) -> None:
    data = b"email,reason\n" + b"".join(b"p%d@example.org,complaint\n" % place for place in range(3000))
    told = await asyncio.gather(world.bring(data), world.bring(data))
    assert sum(each.new for each, _ in told) == 3000
    assert len(await world.all()) == 3000


@pytest.mark.parametrize(
    ("topics", "why"),
    [
        (["weekly=nothing"], "there is no topic nothing"),
        (["weekly=terms"], "nobody may leave the topic terms"),
        (["weekly=UPPER"], "GROUP=KEY"),
    ],
)
async def test_topics_are_looked_at_before_anything_is_written(world: World, topics: list[str], why: str) -> None:
    terms = parse(TopicDraft, {"key": "terms", "stream": "transactional", "opt_out": "never"})
    await world.database.run(lambda session: tenancy.create_topic(session, world.tenant_id, terms))
    with pytest.raises(Invalid, match=why):
        await world.bring(b"email,created\nann@example.org,1\n", "sendgrid-groups", options_of(None, None, topics))
    assert await world.all() == []


async def test_an_entry_for_a_topic_that_is_not_there_would_forbid_nothing_and_is_refused(world: World) -> None:
    told, (refusal,) = await world.bring(b"email,reason,scope\nann@example.org,unsubscribe,topic:nothing\n")
    assert (told.new, told.refused) == (0, 1)
    assert "there is no topic nothing" in refusal.reason


def test_a_scope_that_its_reason_cannot_have_is_refused() -> None:
    with pytest.raises(Invalid, match="cannot have the scope"):
        options_of(Reason.HARD_BOUNCE, "stream:promotional", ())
    with pytest.raises(Invalid, match="a scope is all"):
        options_of(None, "everything", ())
