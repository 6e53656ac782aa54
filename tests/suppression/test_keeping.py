from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, func, select
from sqlalchemy.orm import Session
from sqlmodel import SQLModel

from suppression import entries, rules
from suppression.entries import Entry, EntryError, LiftError, NewEntry, Question, UnknownEntry
from suppression.rules import Origin, Reason, Scope, ScopeError, Stream

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ANN, BOB = b"a" * 16, b"b" * 16


def new(
    reason: Reason = Reason.UNSUBSCRIBE,
    scope: Scope = rules.STREAM_PROMOTIONAL,
    *,
    fingerprint: bytes = ANN,
    expires_at: datetime | None = None,
    note: str | None = None,
    evidence: Mapping[str, object] | None = None,
) -> NewEntry:
    return NewEntry(
        tenant_id=1,
        fingerprint=fingerprint,
        key_id="k",
        reason=reason,
        scope=scope,
        origin=Origin.RECIPIENT,
        address="Ann@example.org",
        expires_at=expires_at,
        note=note,
        evidence=evidence,
    )


BOUNCE = new(Reason.HARD_BOUNCE, rules.ALL)


def snooze(until: datetime) -> NewEntry:
    return new(Reason.SNOOZE, expires_at=until)


def test_adding_keeps_everything_that_was_given(session: Session) -> None:
    entry, created = entries.add(session, new(note="by link", evidence={"email_id": "em_1", "hits": 2}), NOW)
    assert created
    assert (entry.reason, entry.scope, entry.origin) == (Reason.UNSUBSCRIBE, "stream:promotional", Origin.RECIPIENT)
    assert (entry.address, entry.note, entry.created_at) == ("Ann@example.org", "by link", NOW)
    assert entry.evidence == {"email_id": "em_1", "hits": 2}


def test_adding_twice_keeps_the_first(session: Session) -> None:
    first, _ = entries.add(session, new(note="first"), NOW)
    again, created = entries.add(session, new(note="second"), NOW + DAY)
    assert again is first
    assert not created
    assert first.note == "first"


def test_many_at_once_make_one(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'list.db'}", connect_args={"timeout": 30})
    SQLModel.metadata.create_all(engine, tables=[SQLModel.metadata.tables["suppression"]])

    def opt_out(place: int) -> tuple[str, bool]:
        with Session(engine) as session, session.begin():
            entry, created = entries.add(session, new(note=str(place)), NOW)
            return entry.id, created

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(opt_out, range(40)))
    assert len({entry_id for entry_id, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1
    engine.dispose()


def test_a_later_end_extends_and_an_earlier_one_shortens_nothing(session: Session) -> None:
    first, _ = entries.add(session, snooze(NOW + 7 * DAY), NOW)
    longer, created = entries.add(session, snooze(NOW + 30 * DAY), NOW)
    assert (longer.id, longer.expires_at, created) == (first.id, NOW + 30 * DAY, False)
    shorter, _ = entries.add(session, snooze(NOW + DAY), NOW)
    assert (shorter.id, shorter.expires_at) == (first.id, NOW + 30 * DAY)


def test_an_expired_snooze_becomes_history_when_a_new_one_begins(session: Session) -> None:
    first, _ = entries.add(session, snooze(NOW + DAY), NOW)
    second, created = entries.add(session, snooze(NOW + 9 * DAY), NOW + 2 * DAY)
    assert created
    assert second.id != first.id
    assert (first.lifted_at, first.lifted_by) == (NOW + DAY, "time")


def test_a_lifted_entry_leaves_room_for_a_new_one(session: Session) -> None:
    first, _ = entries.add(session, new(), NOW)
    entries.lift(session, 1, first.id, "person", None, NOW)
    second, created = entries.add(session, new(), NOW)
    assert created
    assert second.id != first.id


def test_adding_in_bulk_counts_what_is_new(session: Session) -> None:
    entries.add(session, new(fingerprint=(7).to_bytes(16, "big")), NOW)
    people = [number.to_bytes(16, "big") for number in range(1000)]
    bulk = [new(fingerprint=person) for person in people] + [new(fingerprint=people[3])]
    assert entries.add_many(session, (one for one in bulk), NOW) == 999
    assert entries.add_many(session, bulk, NOW) == 0
    assert session.scalar(select(func.count()).select_from(Entry)) == 1000
    assert entries.add_many(session, [snooze(NOW + DAY), snooze(NOW + 2 * DAY), new()], NOW) == 2
    assert entries.add_many(session, [], NOW) == 0


@pytest.mark.parametrize(
    ("reason", "scope", "expires_at"),
    [
        (Reason.HARD_BOUNCE, rules.STREAM_PROMOTIONAL, None),
        (Reason.COMPLAINT, rules.ALL, None),
        (Reason.UNSUBSCRIBE, rules.STREAM_TRANSACTIONAL, None),
        (Reason.UNSUBSCRIBE, rules.ALL, NOW),
        (Reason.SNOOZE, rules.STREAM_PROMOTIONAL, None),
        (Reason.SOFT_BOUNCE, rules.topic_scope("surveys"), NOW),
    ],
)
def test_what_the_policy_does_not_know_is_refused(reason: Reason, scope: Scope, expires_at: datetime | None) -> None:
    with pytest.raises(EntryError):
        new(reason, scope, expires_at=expires_at)


def test_a_malformed_entry_is_refused() -> None:
    with pytest.raises(EntryError):
        new(fingerprint=b"short")
    with pytest.raises(ScopeError):
        new(scope=Scope("everything"))


@pytest.mark.parametrize(
    ("added", "by", "may"),
    [
        (new(), "person", True),
        (new(), Origin.RECIPIENT, True),
        (new(), "operator:bea", False),
        (new(), Origin.API, False),
        (new(), Origin.IMPORT, False),
        (new(Reason.COMPLAINT), "person", True),
        (new(Reason.COMPLAINT), Origin.ADMIN, False),
        (new(Reason.COMPLAINT), Origin.API, False),
        (BOUNCE, "person", False),
        (BOUNCE, "operator:bea", True),
        (BOUNCE, Origin.ADMIN, True),
        (BOUNCE, "delivery", False),
        (new(Reason.INVALID, rules.ALL), Origin.ADMIN, True),
        (new(Reason.MANUAL), "operator", True),
        (new(Reason.MANUAL), "person", False),
        (snooze(NOW + DAY), "person", True),
        (snooze(NOW + DAY), "operator", False),
        (new(Reason.SOFT_BOUNCE, expires_at=NOW + DAY), "delivery", True),
        (new(Reason.SOFT_BOUNCE, expires_at=NOW + DAY), "person", False),
        (new(), "", False),
        (new(), "time", False),
    ],
)
def test_only_whom_the_policy_names_lifts(session: Session, added: NewEntry, by: str, may: bool) -> None:
    entry, _ = entries.add(session, added, NOW)
    if may:
        lifted = entries.lift(session, 1, entry.id, by, "a reason", NOW + DAY / 2)
        assert (lifted.lifted_at, lifted.lifted_by, lifted.lift_note) == (NOW + DAY / 2, str(by), "a reason")
    else:
        with pytest.raises(LiftError, match="is ended by"):
            entries.lift(session, 1, entry.id, by, "a reason", NOW)
        assert entry.live(NOW)


@pytest.mark.parametrize("note", [None, "", "  "])
def test_an_operator_says_why(session: Session, note: str | None) -> None:
    entry, _ = entries.add(session, BOUNCE, NOW)
    with pytest.raises(LiftError, match="note"):
        entries.lift(session, 1, entry.id, "operator", note, NOW)


def test_lifting_twice_is_lifting_once(session: Session) -> None:
    entry, _ = entries.add(session, new(), NOW)
    entries.lift(session, 1, entry.id, "person", "first", NOW)
    assert entries.lift(session, 1, entry.id, "person", "second", NOW + DAY).lifted_at == NOW
    assert entry.lift_note == "first"
    assert entries.check(session, 1, Question(ANN, Stream.PROMOTIONAL), NOW) is None


def test_the_entry_of_another_tenant_is_unknown(session: Session) -> None:
    entry, _ = entries.add(session, new(), NOW)
    with pytest.raises(UnknownEntry):
        entries.lift(session, 2, entry.id, "person", None, NOW)


def test_forgetting_takes_the_person_out_and_keeps_the_bar(session: Session) -> None:
    told = {"email_id": "em_1", "token": "abc", "ip": "192.0.2.1", "from": "ann@example.org", "code": "for a@x.org"}
    gone, _ = entries.add(session, new(note="<ann@example.org> wrote to us", evidence=told), NOW)
    lifted, _ = entries.add(session, BOUNCE, NOW)
    entries.lift(session, 1, lifted.id, "operator", "ann@example.org is back", NOW)
    other, _ = entries.add(session, new(fingerprint=BOB), NOW)
    assert entries.forget(session, 1, ANN) == 2
    session.expire_all()
    assert (gone.address, gone.note) == (None, "<[erased]> wrote to us")
    assert gone.evidence == {"email_id": "em_1", "token": "abc"}
    assert (lifted.address, lifted.lift_note) == (None, "[erased] is back")
    assert other.address == "Ann@example.org"
    deciding = entries.check(session, 1, Question(ANN, Stream.PROMOTIONAL), NOW)
    assert deciding is not None
    assert deciding.id == gone.id
    assert entries.forget(session, 1, ANN) == 2


def test_lists_are_paged_newest_first(session: Session) -> None:
    made = [
        entries.add(session, new(fingerprint=place.to_bytes(16, "big")), NOW + place * DAY)[0].id for place in range(5)
    ]
    first = entries.list_entries(session, 1, limit=3, now=NOW)
    rest = entries.list_entries(session, 1, limit=3, now=NOW, after=first[-1].id)
    assert [entry.id for entry in first + rest] == made[::-1]
    assert entries.list_entries(session, 2, limit=3, now=NOW) == []


def test_lists_are_narrowed_by_mailbox_reason_and_force(session: Session) -> None:
    bounce, _ = entries.add(session, BOUNCE, NOW)
    quiet, _ = entries.add(session, snooze(NOW + DAY), NOW)
    entries.add(session, new(fingerprint=BOB), NOW)
    later = NOW + 2 * DAY
    assert entries.list_entries(session, 1, limit=9, now=later, fingerprints=[ANN], live=True) == [bounce]
    assert entries.list_entries(session, 1, limit=9, now=later, live=False) == [quiet]
    assert entries.list_entries(session, 1, limit=9, now=NOW, reason=Reason.SNOOZE) == [quiet]
    assert len(entries.list_entries(session, 1, limit=9, now=NOW, live=True)) == 3
